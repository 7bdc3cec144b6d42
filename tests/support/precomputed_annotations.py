"""A reader of Neuroglancer's precomputed annotations, written from the description alone."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorstore as ts

_FORMATS = {"uint8": "B", "uint16": "H", "uint32": "I", "int32": "i"}


@dataclass(frozen=True)
class AnnotationLayer:
    """A layer of boxes in a folder."""

    folder: Path
    info: dict[str, Any]

    @property
    def _format(self) -> struct.Struct:
        letters = "".join(_FORMATS[each["type"]] for each in self.info["properties"])
        padding = -struct.calcsize(f"<{letters}") % 4
        return struct.Struct(f"<6f{letters}{padding}x")

    def by_id(self, number: int) -> dict[str, Any]:
        """Return an annotation from the index by id."""
        index = self.info["by_id"]
        spec = {
            "driver": "neuroglancer_uint64_sharded",
            "metadata": index["sharding"],
            "base": (self.folder / index["key"]).as_uri() + "/",
        }
        return self._decoded(ts.KvStore.open(spec).result()[number.to_bytes(8, "big")])

    def spatial(self) -> dict[int, dict[str, Any]]:
        """Return all annotations of the spatial index by id."""
        found = {}
        for level in self.info["spatial"]:
            for cell in (self.folder / level["key"]).iterdir():
                data = cell.read_bytes()
                (count,) = struct.unpack_from("<Q", data)
                size = self._format.size
                ids = struct.unpack_from(f"<{count}Q", data, 8 + count * size)
                assert len(data) == 8 + count * (size + 8)
                assert count <= level["limit"]
                for place, number in enumerate(ids):
                    start = 8 + place * size
                    found[number] = self._decoded(data[start : start + size])
        return found

    def _decoded(self, data: bytes) -> dict[str, Any]:
        assert len(data) == self._format.size
        numbers = self._format.unpack(data)
        found: dict[str, Any] = {"corners": [[*numbers[:3]], [*numbers[3:6]]]}
        for each, number in zip(self.info["properties"], numbers[6:], strict=True):
            words = dict(zip(each.get("enum_values", ()), each.get("enum_labels", ()), strict=True))
            found[each["id"]] = words.get(number, number)
        return found


def read_layer(folder: Path) -> AnnotationLayer:
    """Return the layer in a folder."""
    info = json.loads((folder / "info").read_text())
    assert info["@type"] == "neuroglancer_annotations_v1"
    assert info["annotation_type"] == "axis_aligned_bounding_box"
    return AnnotationLayer(folder, info)
