"""The command `parfocal`. Needs the extra `cli`."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line; say how to get it where its libraries are missing."""
    missing = [name for name in ("typer", "rich") if find_spec(name) is None]
    if missing:
        sys.exit(f'the command line needs {" and ".join(missing)}: pip install "parfocal[cli]"')
    # gRPC's own log is for its developers; what fails is said in words here.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from parfocal.cli._app import app

    app()
