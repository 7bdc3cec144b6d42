from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from bioimageio.spec import load_description
from onnx import TensorProto

from onnx_graphs import WINDOW, base_model, base_model_card, encoder, identity
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.card_yaml import CardFiles, read_card, sha256, write_card
from parfocal_runtime.models.cards import CardFields, base_card, encoder_card
from parfocal_runtime.models.publish import card_of
from parfocal_runtime.models.sessions import open_session


def files(card: CardFields, model: bytes = b"model") -> CardFiles:
    return write_card("vnc-base.1", card, model, opset=20)


def encoder_fields() -> CardFields:
    patch = np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4)
    return encoder_card(
        "Pixels as a vector.",
        "image",
        test_input=patch,
        test_output=patch.reshape(2, 16).astype(np.float32),
    )


# bioimageio.spec leaves the files that it reads to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("card", [base_model_card(), encoder_fields()], ids=["base", "encoder"])
def test_bioimageio_accepts_the_card_and_the_files_it_names(
    card: CardFields, tmp_path: Path
) -> None:
    model = base_model() if card.kind == "base" else encoder()
    written = files(card, model)
    (tmp_path / "model.onnx").write_bytes(model)
    (tmp_path / "rdf.yaml").write_bytes(written.rdf)
    for name, content in written.tensors.items():
        (tmp_path / name).write_bytes(content)

    loaded = load_description(tmp_path / "rdf.yaml")

    assert loaded.validation_summary.status in ("passed", "valid-format")


def test_no_voxel_size_and_halo_are_refused_for_how_they_round() -> None:
    image = np.zeros((1, 1, 4, 32, 32), np.uint8)
    card = base_card(
        "Nothing.",
        test_input=image,
        test_output=image.astype(np.float32),
        halo=(1, 12, 12),
        voxel_size_nm=(40.0, 2.7, 2.7),
    )
    assert 12 * 2.7 / 2.7 != 12

    written = files(card)

    read = read_card(written.rdf, written.tensors.__getitem__).card
    assert (read.halo, read.voxel_size_nm) == ((1, 12, 12), (40.0, 2.7, 2.7))


def test_a_base_card_comes_back_as_it_was() -> None:
    card = replace(base_model_card(), license="CC-BY-4.0", authors=("The Vesicle Club",))
    written = files(card)

    read = read_card(written.rdf, written.tensors.__getitem__)

    assert read.card.kind == "base"
    assert read.card.window == WINDOW
    assert read.card.halo == (0, 2, 2)
    assert read.card.voxel_size_nm == (50.0, 4.6, 4.6)
    assert read.card.license == "CC-BY-4.0"
    assert read.card.authors == ("The Vesicle Club",)
    assert read.card.inputs[0].axes == card.inputs[0].axes
    np.testing.assert_array_equal(read.card.outputs[0].test, card.outputs[0].test)
    assert read.model_sha256 == sha256(b"model")


def test_an_encoder_card_says_which_stream_it_reads() -> None:
    written = files(encoder_fields())

    read = read_card(written.rdf, written.tensors.__getitem__).card

    assert (read.kind, read.stream) == ("encoder", "image")
    assert read.inputs[0].name == "patch"
    assert read.outputs[0].test.shape == (2, 16)


@pytest.mark.parametrize("element", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.BOOL])
def test_element_types_outside_the_format_are_described_by_one_inside_it(element: int) -> None:
    card = card_of(open_session(identity(element)), description="Equal.")

    written = files(card)

    described = yaml.safe_load(written.rdf)["inputs"][0]["data"]["type"]
    assert described == ("bool" if element == TensorProto.BOOL else "float32")


def test_names_of_the_graph_survive_although_the_format_has_narrower_ids() -> None:
    card = base_model_card()
    odd = replace(card, inputs=(replace(card.inputs[0], name="Model/In.1"),))
    written = files(odd)

    read = read_card(written.rdf, written.tensors.__getitem__).card

    assert read.inputs[0].name == "Model/In.1"


def test_a_test_tensor_that_was_changed_is_refused() -> None:
    written = files(base_model_card())
    changed = {name: content + b" " for name, content in written.tensors.items()}

    with pytest.raises(InvalidInput, match=r"test_input_0\.npy is not the file"):
        read_card(written.rdf, changed.__getitem__)


def test_a_test_tensor_that_is_a_pickle_is_refused() -> None:
    written = files(base_model_card())
    rdf = yaml.safe_load(written.rdf)
    for described in (*rdf["inputs"], *rdf["outputs"]):
        described["test_tensor"]["sha256"] = sha256(b"\x80\x04N.")

    with pytest.raises(InvalidInput, match="is not an array"):
        read_card(yaml.safe_dump(rdf).encode(), lambda _: b"\x80\x04N.")


@pytest.mark.parametrize(
    "rdf",
    [b"", b"- 1", b"type: model", b"{", b"\xff\xfe\x00"],
    ids=["empty", "list", "bare", "{", "binary"],
)
def test_what_is_no_card_is_refused(rdf: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_card(rdf, lambda _: b"")

    assert caught.value.reason == "ERROR_REASON_INVALID_MODEL"


def test_a_card_that_bioimageio_refuses_is_not_written() -> None:
    card = replace(base_model_card(), license="free for friends")

    with pytest.raises(InvalidInput, match="license"):
        files(card)
