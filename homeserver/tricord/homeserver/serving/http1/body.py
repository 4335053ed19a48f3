"""A long body, which can be put straight into a buffer of who wants it."""

from __future__ import annotations

from tricord.homeserver.serving.asgi import Body
from tricord.homeserver.serving.http1.exchange import Exchange

LEAST_LONG = 1 << 17
"""A shorter one is mostly here already, or soon."""


class LongBody(Body):
    """The body of a request that says how long it is. Raises ClientDisconnected and Refused."""

    __slots__ = ("_exchange", "_left")

    def __init__(self, exchange: Exchange, length: int) -> None:
        super().__init__(exchange.receive)
        self._exchange = exchange
        # How much has not been asked for.
        self._left = length

    async def __anext__(self) -> bytes:
        """Return the next part."""
        part = await super().__anext__()
        self._left -= len(part)
        return part

    async def more(self) -> bool:
        """Whether something is left: it may be waited for."""
        return self._left > 0

    async def into(self, buffer: memoryview) -> int:
        """Put what comes next, if something is left, into a buffer that is not empty; return how much that is."""
        count = await self._exchange.receive_into(buffer)
        self._left -= count
        if not self._left:
            self.ended.set()
        return count
