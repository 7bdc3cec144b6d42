"""The client of Parfocal: human-in-the-loop active learning on microscopy images, over gRPC.

Importing this package imports neither gRPC nor an image library; the first use of a name does.

Example:
    >>> from parfocal import Client  # doctest: +SKIP
    >>> with Client() as client:  # doctest: +SKIP
    ...     print([project.name for project in client.projects.list()])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from parfocal._errors import (
    AccessError,
    ConflictError,
    ImageError,
    InvalidRequestError,
    NotFoundError,
    ParfocalError,
    ServerError,
    UnavailableError,
    Violation,
)

if TYPE_CHECKING:
    from parfocal._client import Client
    from parfocal._constraints import constraints
    from parfocal._exchange.reading import FoundLabels, read_labels
    from parfocal._images import ImportedImage, describe_image, import_image, open_source
    from parfocal._rounds import round_spec

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "Client",
    "ConflictError",
    "FoundLabels",
    "ImageError",
    "ImportedImage",
    "InvalidRequestError",
    "NotFoundError",
    "ParfocalError",
    "ServerError",
    "UnavailableError",
    "Violation",
    "constraints",
    "describe_image",
    "import_image",
    "open_source",
    "read_labels",
    "round_spec",
]

# Loaded on first use, so that `import parfocal` stays quick and needs no extra.
_LATER = {
    "Client": "parfocal._client",
    "FoundLabels": "parfocal._exchange.reading",
    "ImportedImage": "parfocal._images",
    "constraints": "parfocal._constraints",
    "describe_image": "parfocal._images",
    "import_image": "parfocal._images",
    "open_source": "parfocal._images",
    "read_labels": "parfocal._exchange.reading",
    "round_spec": "parfocal._rounds",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'parfocal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
