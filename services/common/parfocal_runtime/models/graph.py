"""What an ONNX file says before it is run."""

from __future__ import annotations

from typing import Any

from parfocal_runtime.models.sessions import invalid_model


def opset_of(model: bytes) -> int:
    """Return the version of the standard operator set that a graph uses.

    Raises:
        InvalidInput: If the bytes are no self-contained ONNX model (`ERROR_REASON_INVALID_MODEL`).
    """
    versions = [
        entry.version for entry in parsed(model).opset_import if entry.domain in ("", "ai.onnx")
    ]
    if not versions:
        raise invalid_model("it names no operator set")
    return int(max(versions))


def parsed(model: bytes) -> Any:
    """Return an ONNX file as its message.

    Raises:
        InvalidInput: If the bytes are no self-contained ONNX model (`ERROR_REASON_INVALID_MODEL`).
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        message = onnx.load_model_from_string(model)
    except (DecodeError, ValueError) as error:
        raise invalid_model("the file is truncated or no ONNX file") from error
    if any(
        tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in message.graph.initializer
    ):
        # It would be read from whatever path the file names.
        raise invalid_model("its weights lie in another file; save them inside the model")
    return message
