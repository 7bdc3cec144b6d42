"""Hashes of what a selection was made from, so that a replay can say what changed."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from parfocal_suggestion.pool import Pool


def pool_digests(pool: Pool) -> dict[str, str]:
    """SHA-256 of each input by name, over exactly the values that a strategy sees.

    Names are `candidates`, `probabilities`, `predictions`, `labelled`, `verdicts`, `excluded`,
    `features[<stream>]`, `measures[<name>]`, `groups[<column>]`, `positions`, `seconds` and
    `regions[<mask>]`; absent inputs are left out.
    """
    arrays: dict[str, NDArray[np.generic]] = {
        "candidates": pool.candidates,
        "labelled": pool.labelled,
        "verdicts": pool.verdicts,
        "excluded": pool.excluded,
        **{f"features[{name}]": features for name, features in pool.streams.items()},
        **{f"measures[{name}]": measure for name, measure in pool.measures.items()},
        **{f"groups[{name}]": column for name, column in pool.groups.items()},
        **{f"regions[{name}]": inside for name, inside in pool.inside.items()},
    }
    for name in ("probabilities", "predictions", "positions", "seconds"):
        if (values := getattr(pool, name)) is not None:
            arrays[name] = values
    return {
        name: pool.memory.sha256(array, partial(_array_sha256, array))
        for name, array in arrays.items()
    }


def json_sha256(document: Mapping[str, object]) -> str:
    """SHA-256 of a JSON document, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def environment() -> dict[str, str]:
    """What may move the last bit of a sum: libraries, processor, and the kernels for it."""
    kernels = {
        f"{library.get('internal_api')} {library.get('version')} {library.get('architecture', '')}"
        for library in threadpool_info()
        if library.get("user_api") == "blas"
    }
    return {
        "numpy": np.__version__,
        "scikit-learn": version("scikit-learn"),
        "machine": platform.machine(),
        "blas": ", ".join(sorted(kernels)),
    }


def _array_sha256(array: NDArray[np.generic]) -> str:
    head = f"{array.dtype.str} {array.shape} ".encode()
    digest = hashlib.sha256(head)
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
