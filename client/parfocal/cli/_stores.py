"""Which object store a command means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from parfocal._connection import endpoint
from parfocal._errors import InvalidRequestError
from parfocal._local import local_data

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Object store: file:///folder or s3://bucket/prefix. Default: that of this machine.",
    ),
]


def store_uri(store: str | None, data_dir: Path | None, *, server: str | None = None) -> str:
    """Return the URI of the object store to use.

    Args:
        store: URI or folder that was given.
        data_dir: Data folder that was given; else the usual one.
        server: Address or link that was given instead, or else, without a data folder, that of
            `PARFOCAL_SERVER`; it must be the data folder's `up`.

    Raises:
        InvalidRequestError: If the store of a server elsewhere is not known here.
    """
    if store is not None:
        return store if "://" in store else Path(os.path.abspath(store)).as_uri()
    local = local_data(data_dir)
    named = server or (os.environ.get("PARFOCAL_SERVER") if data_dir is None else None)
    if named and (address := endpoint(named).address) != local.address():
        raise InvalidRequestError(
            f"the object store of {address} is not known on this machine; name it by --store, "
            "such as s3://bucket/prefix"
        )
    return local.store_uri()
