from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from parfocal import import_image
from parfocal_runtime.arrays import open_array, read_box
from parfocal_runtime.box import Box
from parfocal_runtime.store import S3Settings, open_store

pytestmark = pytest.mark.s3


def test_an_image_is_imported_into_s3_and_read_by_the_services(
    s3_settings: S3Settings, s3_store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("endpoint", "access_key", "secret_key", "region"):
        monkeypatch.setenv(f"PARFOCAL_S3_{name.upper()}", getattr(s3_settings, name))
    monkeypatch.setenv("PARFOCAL_S3_SECURE", "false")
    data = np.random.default_rng(0).integers(0, 256, (18, 200, 300)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", data)
    tifffile.imwrite(tmp_path / "truth.tif", data // 2)

    imported = import_image(
        tmp_path / "image.tif",
        truth=tmp_path / "truth.tif",
        project="p",
        image="i",
        store=s3_store_uri,
    )
    again = import_image(
        f"{s3_store_uri}/{imported.group}", project="p", image="copy", store=tmp_path / "store"
    )

    store = open_store(s3_store_uri, s3=s3_settings)
    np.testing.assert_array_equal(
        read_box(open_array(store, imported.path), Box.whole(data.shape)), data
    )
    np.testing.assert_array_equal(
        read_box(open_array(store, imported.truth), Box.whole(data.shape)), data // 2
    )
    assert again.shape == data.shape
