"""Whether other processes listen to what is committed here: who is alone on a database need not tell anybody.

To tell is a transaction for each commit, which waits for the disk as the commit did. So a process says once that it is
there, when it begins to listen, and so do those who hear that. Who learns that it is not alone has the others look for
what it has not told until then, and tells all from then on. However two processes begin, one of them listens when the
other says that it is there.
"""

from __future__ import annotations

import orjson

LOOK_AT_EVERYTHING = ""


class Company:
    """What one process, by the name of `origin`, knows of the others on its database."""

    def __init__(self, origin: str, *, alone: bool) -> None:
        self.is_alone = alone
        """Whether nobody listens, as far as is known."""
        self.unsaid: set[str] = set()
        """What all processes are to be told."""
        self._hello = orjson.dumps([origin]).decode()
        self._met: set[str] = set()
        self.greet()

    def meet(self, origin: str) -> bool:
        """Take notice of who has said something; return whether that is somebody new, who is to be greeted."""
        if origin in self._met:
            return False
        self._met.add(origin)
        if self.is_alone:
            self.is_alone = False
            self.unsaid.add(LOOK_AT_EVERYTHING)
        self.greet()
        return True

    def greet(self) -> None:
        """Say that this process is there, to who may have come and not been heard."""
        self.unsaid.add(self._hello)
