"""Neuroglancer's sharded index (`neuroglancer_uint64_sharded_v1`) of entries of equal length.

Ids are 0, 1, 2 ..., so that a shard holds consecutive ones: the lowest bits of an id are its place
in a minishard, the next ones its minishard, the rest its shard.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_PRESHIFT_BITS = 9
_MINISHARD_BITS = 7
ENTRIES_PER_SHARD = 1 << (_PRESHIFT_BITS + _MINISHARD_BITS)


def sharding(entries: int) -> dict[str, Any]:
    """Return how an index of so many entries is sharded, as `info` says it."""
    return {
        "@type": "neuroglancer_uint64_sharded_v1",
        "preshift_bits": _PRESHIFT_BITS,
        "hash": "identity",
        "minishard_bits": _MINISHARD_BITS,
        "shard_bits": _shard_bits(entries),
        "minishard_index_encoding": "raw",
        "data_encoding": "raw",
    }


def shard_name(shard: int, *, entries: int) -> str:
    """Return the file of a shard in an index of so many entries."""
    digits = -(-_shard_bits(entries) // 4)
    return f"{shard:0{digits}x}.shard" if digits else "0.shard"


def shard_bytes(data: bytes, *, first: int, count: int) -> bytes:
    """Return a shard: where its minishards are, the entries, and what is in each minishard.

    Args:
        data: `count` entries of equal length, one after the other.
        first: Id of the first, a multiple of `ENTRIES_PER_SHARD`.
        count: Number of entries.
    """
    size = len(data) // count
    index = np.zeros((1 << _MINISHARD_BITS, 2), "<u8")
    minishards: list[bytes] = []
    end = len(data)
    for number, start in enumerate(range(0, count, 1 << _PRESHIFT_BITS)):
        members = min(1 << _PRESHIFT_BITS, count - start)
        table = np.zeros((3, members), "<u8")
        table[0] = 1
        table[0, 0] = first + start
        table[1, 0] = start * size
        table[2] = size
        minishards.append(table.tobytes())
        index[number] = end, end + table.nbytes
        end += table.nbytes
    return index.tobytes() + data + b"".join(minishards)


def _shard_bits(entries: int) -> int:
    shards = -(-entries // ENTRIES_PER_SHARD)
    return max(shards - 1, 0).bit_length()
