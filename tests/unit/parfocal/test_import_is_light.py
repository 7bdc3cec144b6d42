from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = ["grpc", "h5py", "numpy", "onnxruntime", "rich", "sklearn", "tensorstore", "torch", "typer"]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.stdout


def loaded_by(statement: str) -> list[str]:
    loaded = json.loads(run(f"import sys, json; {statement}; print(json.dumps([*sys.modules]))"))
    return sorted({name.partition(".")[0] for name in loaded})


def test_importing_the_client_imports_nothing_heavy() -> None:
    loaded = loaded_by("import parfocal")

    assert not set(HEAVY) & set(loaded)
    assert not [name for name in loaded if name.startswith("parfocal_")]


def test_the_client_itself_needs_grpc_and_numpy_only() -> None:
    loaded = loaded_by("from parfocal import Client")

    assert not (set(HEAVY) - {"grpc", "numpy"}) & set(loaded)
    assert not [name for name in loaded if name.startswith("parfocal_")]


def test_importing_the_client_takes_less_than_a_fifth_of_a_second() -> None:
    code = "import time; t = time.perf_counter(); import parfocal; print(time.perf_counter() - t)"

    # The best of a few: other programs on the machine only ever add.
    assert min(float(run(code)) for _ in range(3)) < 0.2


@pytest.mark.parametrize("name", ["Client", "import_image", "round_spec", "NotFoundError"])
def test_every_exported_name_can_be_imported(name: str) -> None:
    import parfocal

    assert getattr(parfocal, name).__name__ == name
    assert name in dir(parfocal)
    assert set(parfocal.__all__) <= set(dir(parfocal))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    import parfocal

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = parfocal.nothing
