"""Whether a loaded model computes what its card says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parfocal_runtime.models.cards import CardFields, TensorCard
from parfocal_runtime.models.datatypes import (
    BF16,
    BYTES,
    Array,
    from_bf16_bits,
    from_codes,
    to_bf16_bits,
)
from parfocal_runtime.models.sessions import ModelSession, TensorSpec

RELATIVE_TOLERANCE = 1e-3
"""Largest difference of a floating output, as a share of the value in the card."""
ABSOLUTE_TOLERANCE = 1e-4
"""Largest difference of a floating output near zero; execution providers differ by less."""
HALF_TOLERANCE = 1e-2
"""Both tolerances where a tensor has 16-bit floats, a GPU was told to round, or the model is a
variant with fewer bits. A variant may further be as far from its card as it was from its original:
where it rounds is the device's choice."""


def disagreement(session: ModelSession, card: CardFields) -> str | None:
    """Return how the outputs for the test inputs differ from the card's, or None if they agree.

    Floating outputs agree within `RELATIVE_TOLERANCE` of the expected value plus
    `ABSOLUTE_TOLERANCE`, all others exactly; NaN agrees with NaN.

    Raises:
        InvalidInput: If the model cannot run on the test inputs.
    """
    cause = _mismatch("input", session.inputs, card.inputs) or _mismatch(
        "output", session.outputs, card.outputs
    )
    if cause:
        return cause
    found = session.run(fed(session, card))
    for spec, tensor in zip(session.outputs, card.outputs, strict=True):
        tolerances = _tolerances(spec, card, rounds=session.rounds)
        cause = _difference(spec, found[spec.name], tensor.test, *tolerances)
        if cause:
            return cause
    return None


def fed(session: ModelSession, card: CardFields) -> dict[str, Array]:
    """Return the test inputs of a card as a session of its graph takes them, by name."""
    return {
        spec.name: _as_fed(tensor.test, spec)
        for spec, tensor in zip(session.inputs, card.inputs, strict=True)
    }


def _mismatch(role: str, specs: Sequence[TensorSpec], tensors: Sequence[TensorCard]) -> str | None:
    if len(specs) != len(tensors):
        return f"the graph has {len(specs)} {role}s, the card {len(tensors)}"
    return None


def _as_fed(test: Array, spec: TensorSpec) -> Array:
    if spec.datatype == BYTES:
        return from_codes(test)
    shaped = test.reshape(()) if not spec.shape and test.shape == (1,) else test
    if spec.datatype == BF16:
        return to_bf16_bits(shaped)
    return shaped.astype(spec.dtype, copy=False) if _is_half(spec) else shaped


def _tolerances(spec: TensorSpec, card: CardFields, *, rounds: bool) -> tuple[float, float]:
    """Return the relative and the absolute difference that a floating output may have."""
    if card.variant is not None:
        return HALF_TOLERANCE, HALF_TOLERANCE + card.variant.max_difference
    if rounds or _is_half(spec):
        return HALF_TOLERANCE, HALF_TOLERANCE
    return RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE


def _difference(
    spec: TensorSpec, found: Array, expected: Array, relative: float, absolute: float
) -> str | None:
    values = from_bf16_bits(found) if spec.datatype == BF16 else found
    expected = from_codes(expected) if spec.datatype == BYTES else expected
    # The format of cards has no tensors without axes: a single value is kept as one row.
    values = values.reshape(1) if not values.shape and expected.shape else values
    if values.shape != expected.shape:
        return f"output {spec.name} has shape {values.shape}, the card says {expected.shape}"
    if values.dtype.kind != "f":
        wrong = int(np.count_nonzero(values != expected))
        return f"output {spec.name} differs in {wrong} of {values.size} elements" if wrong else None
    close = np.isclose(values, expected, rtol=relative, atol=absolute, equal_nan=True)
    if close.all():
        return None
    with np.errstate(invalid="ignore"):
        worst = np.nanmax(
            np.abs(values.astype(np.float64) - expected.astype(np.float64))[~close], initial=0.0
        )
    return (
        f"output {spec.name} differs from the card in {int((~close).sum())} of {close.size} "
        f"elements, by up to {worst:.3g}"
    )


def _is_half(spec: TensorSpec) -> bool:
    return spec.datatype in ("FP16", BF16)
