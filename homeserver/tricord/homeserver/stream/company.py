"""Whether other processes listen to what is committed here: who is alone on a database need not tell anybody.

To tell is a transaction for each commit, which waits for the disk as the commit did. So a process says once that it is
there, when it begins to listen, and so do those who hear that. Who learns that it is not alone has the others look for
what it has not told until then, and tells all from then on. However two processes begin, one of them listens when the
other says that it is there.

Siblings, which have a family in common, are no company in this sense: they are told directly (`siblings.py`).
"""

from __future__ import annotations

import secrets

import orjson

LOOK_AT_EVERYTHING = ""


class Company:
    """What one process knows of the others on its database."""

    def __init__(self, family: str | None = None) -> None:
        self._family = family or secrets.token_hex(8)
        self.origin = f"{self._family}/{secrets.token_hex(8)}"
        """The name of this process."""
        self.is_alone = True
        """Whether nobody listens but siblings, as far as is known."""
        self.unsaid: set[str] = set()
        """What all processes are to be told."""
        self._hello = orjson.dumps([self.origin]).decode()
        self._met: set[str] = set()
        self.greet()

    def meet(self, origin: str) -> bool:
        """Take notice of who has said something; return whether that is somebody new, who is to be greeted."""
        if origin in self._met or origin.startswith(f"{self._family}/"):
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
