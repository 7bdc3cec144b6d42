"""How the C library's allocator treats large buffers."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_large_buffers() -> None:
    """Have large buffers come from memory that the process has already.

    glibc maps a buffer of some size anew each time, and gives it back when it is freed; filling one
    then costs more in page faults than in copying. A process that has called this stays as
    large as it ever was. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, 256 << 20)
    mallopt(_TRIM_THRESHOLD, 1 << 30)
