from __future__ import annotations

import pytest

from parfocal_runtime import layout
from parfocal_runtime.errors import InvalidInput


@pytest.mark.parametrize("name", ["a", "a-b_c.d", "0", "a" * 63])
def test_a_good_name_passes(name: str) -> None:
    assert layout.checked_name(name, field="project") == name


@pytest.mark.parametrize(
    "name", ["", "A", ".a", "a.", "-a", "a..b", "a/b", "../a", "a b", "ü", "a" * 64, "a\n"]
)
def test_a_name_that_cannot_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        layout.checked_name(name, field="project")

    assert caught.value.reason == "ERROR_REASON_INVALID_NAME"
    assert caught.value.metadata["field"] == "project"


def test_artifacts_lie_where_the_design_says() -> None:
    assert layout.model_version_folder("unet", 3) == "models/unet/3"
    assert layout.image_level("p", "vnc", 0) == "projects/p/images/vnc.ome.zarr/0"
    assert (
        layout.prediction_group("p", "vnc", "unet", 3)
        == "projects/p/predictions/vnc/unet-3.ome.zarr"
    )
    assert layout.candidate_table("p", "s") == "projects/p/candidates/s/table.parquet"
    assert layout.candidate_patches("p", "s") == "projects/p/candidates/s/patches.zarr"
    assert layout.embedding_array("p", "s", "enc", 1) == "projects/p/embeddings/s/enc-1.zarr"
    assert layout.selection_table("p", "r1") == "projects/p/selections/r1.parquet"
    assert layout.snapshot_table("p", "ab") == "projects/p/snapshots/ab.parquet"
    assert layout.export_path("p", "ab", "csv") == "projects/p/exports/ab/csv.csv"
    assert (
        layout.export_path("p", "ab", "ome-zarr", candidate_set="s")
        == "projects/p/exports/ab/ome-zarr-s.zarr"
    )
