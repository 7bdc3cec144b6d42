"""Generated stubs of a package, without the package around them."""

import importlib
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

_SITE = Path(sysconfig.get_path("purelib"))


def stubs(name: str) -> ModuleType:
    """Return a module; the packages that it lies in are not run, and need nothing installed."""
    parts = name.split(".")[:-1]
    for count in range(1, len(parts) + 1):
        path = ".".join(parts[:count])
        if path not in sys.modules:
            package = ModuleType(path)
            package.__path__ = [str(_SITE.joinpath(*parts[:count]))]
            sys.modules[path] = package
    return importlib.import_module(name)
