"""Model versions in a store, made wrong as only a hand at the files can."""

from __future__ import annotations

import io

import numpy as np
import yaml

from parfocal_runtime.models.card_yaml import sha256
from parfocal_runtime.store import ObjectStore


def spoil_test_output(store: ObjectStore, name: str, version: int = 1) -> None:
    """Make the card of a version expect a first output that its graph does not give."""
    folder = f"models/{name}/{version}"
    expected = np.load(io.BytesIO(store.read(f"{folder}/test_output_0.npy")))
    changed = io.BytesIO()
    np.save(changed, expected + np.ones_like(expected), allow_pickle=False)
    store.write(f"{folder}/test_output_0.npy", changed.getvalue())
    card = yaml.safe_load(store.read(f"{folder}/rdf.yaml"))
    card["outputs"][0]["test_tensor"]["sha256"] = sha256(changed.getvalue())
    store.write(f"{folder}/rdf.yaml", yaml.safe_dump(card).encode())
