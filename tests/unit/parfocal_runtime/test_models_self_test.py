from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto

from onnx_graphs import base_model, base_model_card, identity
from parfocal_runtime.models.cards import CardFields, VariantCard
from parfocal_runtime.models.publish import card_of
from parfocal_runtime.models.self_test import disagreement
from parfocal_runtime.models.sessions import open_session


def off_by(card: CardFields, difference: float) -> CardFields:
    output = card.outputs[0]
    changed = (output.test.astype(np.float64) + difference).astype(output.test.dtype)
    return replace(card, outputs=(replace(output, test=changed),))


def test_what_the_card_says_is_agreed() -> None:
    assert disagreement(open_session(base_model()), base_model_card()) is None


@pytest.mark.parametrize(("difference", "agrees"), [(5e-5, True), (5e-3, False)])
def test_floats_may_differ_within_the_tolerance(difference: float, agrees: bool) -> None:
    cause = disagreement(open_session(base_model()), off_by(base_model_card(), difference))

    assert (cause is None) == agrees


def test_a_model_with_fewer_bits_may_differ_as_far_as_devices_do() -> None:
    card = off_by(base_model_card(), 5e-3)
    variant = replace(card, variant=VariantCard(precision="fp16", of="base/1"))

    assert disagreement(open_session(base_model()), card) is not None
    assert disagreement(open_session(base_model()), variant) is None


@pytest.mark.parametrize(("difference", "agrees"), [(5e-3, True), (5e-2, False)])
def test_half_floats_may_differ_more(difference: float, agrees: bool) -> None:
    session = open_session(identity(TensorProto.FLOAT16))

    cause = disagreement(session, off_by(card_of(session, description="Equal."), difference))

    assert (cause is None) == agrees


def test_whole_numbers_must_be_equal() -> None:
    session = open_session(identity(TensorProto.INT64))

    cause = disagreement(session, off_by(card_of(session, description="Equal."), 1))

    assert cause == "output y differs in 4 of 4 elements"


def test_nan_agrees_with_nan_and_with_nothing_else() -> None:
    session = open_session(identity())
    card = card_of(session, description="Equal.")
    undefined = np.full_like(card.inputs[0].test, np.nan)
    given = replace(card, inputs=(replace(card.inputs[0], test=undefined),))

    assert disagreement(session, given) is not None
    agreed = replace(given, outputs=(replace(card.outputs[0], test=undefined),))
    assert disagreement(session, agreed) is None


def test_another_shape_than_the_card_says_is_told() -> None:
    card = base_model_card()
    cut = replace(card, outputs=(replace(card.outputs[0], test=card.outputs[0].test[:1]),))

    cause = disagreement(open_session(base_model()), cut)

    assert cause is not None
    assert "has shape" in cause


def test_another_number_of_outputs_than_the_card_says_is_told() -> None:
    card = base_model_card()

    cause = disagreement(open_session(base_model()), replace(card, outputs=card.outputs * 2))

    assert cause == "the graph has 1 outputs, the card 2"
