"""Processes that import one image at the same time, into a folder and into a bucket."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from parfocal import describe_image
from parfocal._images.omezarr import OmeZarrSource
from parfocal._images.place import place
from parfocal_runtime.store import S3Settings

_IMPORT = """
import sys
from parfocal import ConflictError, import_image
print("ready", flush=True)
sys.stdin.readline()
try:
    import_image(sys.argv[1], store=sys.argv[2], project="p", image="i")
    print("imported")
except ConflictError as error:
    print(error.reason)
"""
_MANY = 3


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.s3)])
def store_uri(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    settings: S3Settings = request.getfixturevalue("s3_settings")
    for name in ("endpoint", "access_key", "secret_key", "region"):
        monkeypatch.setenv(f"PARFOCAL_S3_{name.upper()}", getattr(settings, name))
    monkeypatch.setenv("PARFOCAL_S3_SECURE", "false")
    uri: str = request.getfixturevalue("s3_store_uri")
    return f"{uri}/together"


def test_of_imports_at_the_same_time_one_is_there_whole_and_the_others_are_told(
    store_uri: str, tmp_path: Path
) -> None:
    shape = (17, 700, 600)
    for number in range(_MANY):
        tifffile.imwrite(tmp_path / f"{number}.tif", np.full(shape, 10 + number, np.uint8))

    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _IMPORT, str(tmp_path / f"{number}.tif"), store_uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(_MANY)
    ]
    for each in processes:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    # All are up; what is left to do is the import itself.
    told = []
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    for each in processes:
        told.append(each.communicate(timeout=60)[0].strip())

    assert sorted(told) == ["ERROR_REASON_ARTIFACT_EXISTS"] * (_MANY - 1) + ["imported"]
    imported = describe_image(store_uri, project="p", image="i")
    winner = told.index("imported")
    assert imported.record["source"]["name"] == f"{winner}.tif"
    group = place(store_uri).below(imported.group)
    with OmeZarrSource(group) as source:
        data = source.read(slice(0, shape[0]), slice(0, shape[1]))
    assert set(np.unique(data)) == {10 + winner}
    assert [name for name in place(store_uri).names() if "claim" in name] == []
