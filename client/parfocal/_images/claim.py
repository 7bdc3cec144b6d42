"""The right to write an image: of any number of processes one has it at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

from parfocal._errors import UnavailableError
from parfocal._images.place import Place

_BEAT_SECONDS = 5.0
_LOOK_SECONDS = 0.5
# A holder that writes nothing for so long is dead, and may have been killed in the middle.
_SILENCE_SECONDS = 30.0


class Claim:
    """A file that its holder makes if there is none, and writes again and again while it lives.

    Clocks of several machines need not agree: who finds a claim looks whether it changes.

    Args:
        folder: Where the file lies.
        name: Its name.
    """

    def __init__(self, folder: Place, name: str) -> None:
        self._folder = folder
        self._name = name
        self._own = uuid4().hex.encode()
        self._beats = 0
        self._over = threading.Event()
        self._lost = threading.Event()

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Try to hold it inside the block; yield whether it is held, after seconds if not."""
        if not self._take():
            yield False
            return
        beating = threading.Thread(target=self._beat_on, name="claim", daemon=True)
        beating.start()
        try:
            yield True
        finally:
            self._over.set()
            beating.join()
            with suppress(UnavailableError):
                self._give_back()

    def is_lost(self, *, ask: bool = False) -> bool:
        """Return whether another process took it over, as far as is known or by asking now."""
        if ask and not self._is_own(self._folder.read(self._name)):
            self._lost.set()
        return self._lost.is_set()

    def _take(self) -> bool:
        seen, since = None, 0.0
        while not self._folder.create(self._name, self._content()):
            found = self._folder.read(self._name)
            if found is not None and seen is not None and found != seen:
                return False
            if found != seen:
                seen, since = found, time.monotonic()
            elif found is not None and time.monotonic() > since + _SILENCE_SECONDS:
                self._folder.delete(self._name, holding=found)
            time.sleep(_LOOK_SECONDS)
        return True

    def _give_back(self) -> None:
        found = self._folder.read(self._name)
        if found is not None and self._is_own(found):
            self._folder.delete(self._name, holding=found)

    def _beat_on(self) -> None:
        while not self._over.wait(_BEAT_SECONDS):
            # A store that is away for a moment may be back in time.
            with suppress(UnavailableError):
                if self.is_lost(ask=True):
                    return
                self._beats += 1
                self._folder.write(self._name, self._content())

    def _content(self) -> bytes:
        return b"%s %d" % (self._own, self._beats)

    def _is_own(self, content: bytes | None) -> bool:
        return content is not None and content.startswith(self._own)
