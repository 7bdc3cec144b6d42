"""Units of length, as image files write them."""

from __future__ import annotations

_NANOMETRES = {
    "angstrom": 0.1,
    "å": 0.1,
    "nanometer": 1.0,
    "nm": 1.0,
    "micrometer": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "um": 1e3,
    "µm": 1e3,
    "μm": 1e3,
    "\\u00b5m": 1e3,
    "millimeter": 1e6,
    "mm": 1e6,
    "meter": 1e9,
    "m": 1e9,
}


def nanometres(value: object, unit: str | None) -> float | None:
    """Return `value` in nanometres; None where it is no positive number or the unit is unknown."""
    factor = _NANOMETRES.get((unit or "").strip().lower())
    if factor is None or value is None:
        return None
    try:
        length = float(str(value)) * factor
    except ValueError:
        return None
    return length if 0 < length < float("inf") else None
