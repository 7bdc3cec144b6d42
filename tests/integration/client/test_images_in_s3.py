from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from parfocal import ImageError, ImportedImage, import_image
from parfocal._images.place import place
from parfocal_runtime.arrays import open_array, read_box
from parfocal_runtime.box import Box
from parfocal_runtime.store import S3Settings, open_store

pytestmark = pytest.mark.s3


@pytest.fixture
def store_uri(s3_settings: S3Settings, s3_store_uri: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("endpoint", "access_key", "secret_key", "region"):
        monkeypatch.setenv(f"PARFOCAL_S3_{name.upper()}", getattr(s3_settings, name))
    monkeypatch.setenv("PARFOCAL_S3_SECURE", "false")
    return s3_store_uri


def test_an_image_is_imported_into_s3_and_read_by_the_services(
    s3_settings: S3Settings, store_uri: str, tmp_path: Path
) -> None:
    data = np.random.default_rng(0).integers(0, 256, (18, 200, 300)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", data)
    tifffile.imwrite(tmp_path / "truth.tif", data // 2)

    imported = import_image(
        tmp_path / "image.tif",
        truth=tmp_path / "truth.tif",
        project="p",
        image="i",
        store=store_uri,
    )
    again = import_image(
        f"{store_uri}/{imported.group}", project="p", image="copy", store=tmp_path / "store"
    )

    store = open_store(store_uri, s3=s3_settings)
    np.testing.assert_array_equal(
        read_box(open_array(store, imported.path), Box.whole(data.shape)), data
    )
    np.testing.assert_array_equal(
        read_box(open_array(store, imported.truth), Box.whole(data.shape)), data // 2
    )
    assert again.shape == data.shape


def test_an_image_in_s3_is_replaced_when_the_new_one_is_complete(
    s3_settings: S3Settings, store_uri: str, tmp_path: Path
) -> None:
    old = np.random.default_rng(0).integers(0, 256, (18, 200, 300)).astype(np.uint8)
    new = 255 - old
    tifffile.imwrite(tmp_path / "old.tif", old)
    tifffile.imwrite(tmp_path / "new.tif", new)
    tifffile.imwrite(tmp_path / "wrong.tif", np.full(old.shape, -1, np.int16))
    store = open_store(store_uri, s3=s3_settings)

    def replaced(truth: str) -> ImportedImage:
        return import_image(
            tmp_path / "new.tif",
            truth=tmp_path / truth,
            project="p",
            image="replaced",
            store=store_uri,
            overwrite=True,
        )

    first = import_image(
        tmp_path / "old.tif",
        truth=tmp_path / "old.tif",
        project="p",
        image="replaced",
        store=store_uri,
    )
    with pytest.raises(ImageError, match="whole and not negative"):
        replaced("wrong.tif")
    kept = read_box(open_array(store, first.truth), Box.whole(old.shape))
    second = replaced("new.tif")

    np.testing.assert_array_equal(kept, old)
    for path in (second.path, second.truth):
        np.testing.assert_array_equal(read_box(open_array(store, path), Box.whole(new.shape)), new)
    assert place(f"{store_uri}/{second.group}.new").names() == []
