"""The description of a package, from YAML to what either format version means."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from parfocal_runtime.models.packages import format_0_4, format_0_5
from parfocal_runtime.models.packages.description import Description
from parfocal_runtime.models.packages.refusals import refused

# Aliases let a short text stand for a huge one.
_MOST_NODES = 200_000
_DEEPEST = 64


def read_description(file: str, content: bytes) -> Description:
    """Return what a description says.

    Args:
        file: Its name, for errors.
        content: YAML of a bioimage.io model, `format_version` 0.4 or 0.5.

    Raises:
        InvalidInput: If it describes no model with ONNX weights, or processing that cannot be
            part of a graph (`ERROR_REASON_INVALID_MODEL`).
    """
    written = _parsed(file, content)
    if written.get("type") != "model":
        raise refused("type", "it describes no model")
    if any("output_of" in tensor for tensor in _mappings(written.get("inputs"))):
        # The library would fetch the other model to compare.
        raise refused("inputs", "an input that is the output of another model is not supported")
    version = str(written.get("format_version", ""))
    if not version.startswith(("0.4.", "0.5.")):
        raise refused("format_version", f"{version!r} is neither 0.4.x nor 0.5.x")
    described = _validated(written)
    if described.weights.onnx is None:
        raise refused("weights.onnx", "the package has no ONNX weights")
    read = format_0_4.description if version.startswith("0.4.") else format_0_5.description
    return read(described, written)


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _parsed(file: str, content: bytes) -> dict[str, Any]:
    try:
        parsed = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise refused(file, "it is not YAML") from error
    if not isinstance(parsed, dict):
        raise refused(file, "it is not a mapping")
    for count, (depth, value) in enumerate(_walk(parsed)):
        if count > _MOST_NODES or depth > _DEEPEST:
            raise refused(file, "it has too many values")
        if isinstance(value, float) and not math.isfinite(value):
            raise refused(file, f"{value} is not a finite number")
    return parsed


def _walk(value: Any) -> Iterator[tuple[int, Any]]:
    waiting = [(0, value)]
    while waiting:
        depth, each = waiting.pop()
        yield depth, each
        if isinstance(each, dict):
            waiting += ((depth + 1, item) for item in each.values())
        elif isinstance(each, list):
            waiting += ((depth + 1, item) for item in each)


def _validated(written: dict[str, Any]) -> Any:
    # Takes a second to import, and only who meets a package needs it.
    from bioimageio.spec import InvalidDescr, ValidationContext, build_description

    # Files are read and checked here, from inside the package alone, and nothing is downloaded.
    context = ValidationContext(root=Path("/nowhere"), perform_io_checks=False)
    described = build_description(written, context=context)
    if isinstance(described, InvalidDescr):
        errors = [
            (".".join(map(str, error.loc)) or "description", error.msg)
            for detail in described.validation_summary.details
            for error in detail.errors
        ]
        raise refused(*errors[0]) if errors else refused("type", "it describes no model")
    return described
