"""How tensorstore gets the S3 keys: it reads them from a profile file only."""

from __future__ import annotations

import atexit
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

_PROFILE = "parfocal"


def credentials_spec(access_key: str, secret_key: str) -> dict[str, Any]:
    """Return tensorstore's `aws_credentials` for a key pair; an empty pair is AWS's own search."""
    if not access_key:
        return {"type": "default"}
    file = _profile_file(access_key, secret_key)
    return {
        "type": "profile",
        "profile": _PROFILE,
        "credentials_file": file,
        "config_file": os.devnull,
    }


@cache
def _profile_file(access_key: str, secret_key: str) -> str:
    text = (
        f"[{_PROFILE}]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n"
    ).encode()
    if hasattr(os, "memfd_create"):
        # In memory, so that the secret is never on a disk and a read-only container will do.
        handle = os.memfd_create("parfocal-s3-profile")
        os.write(handle, text)
        return f"/proc/self/fd/{handle}"
    handle, name = tempfile.mkstemp(prefix="parfocal-s3-")
    with os.fdopen(handle, "wb") as stream:
        stream.write(text)
    atexit.register(Path(name).unlink, missing_ok=True)
    return name
