"""A verification as a program takes part in it: it awaits what the other side does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from tricord.clients.encryption.verification.keys import Proven
from tricord.clients.encryption.verification.messages import Code, VerificationFailed
from tricord.clients.encryption.verification.sas import ShortString
from tricord.clients.encryption.verification.verification import State, Verification
from tricord.protocol.identifiers import DeviceId, UserId

Compare = Callable[[ShortString], Awaitable[bool]]
"""Shows pictures and numbers, and returns whether the other side shows the same."""

# How often it is looked whether time is up, while nothing comes.
_TICK_SECONDS = 10.0


class Carrier(Protocol):
    """What carries messages of verifications."""

    async def carry(self) -> None:
        """Send what is to be sent."""
        ...

    async def until_something_happens(self) -> None:
        """Wait until a verification has come further."""
        ...


class Conversation:
    """One verification.

    Nothing happens unless somebody follows: `Client.follow` runs beside, as it does in a bot. Whatever ends it without
    success is raised as VerificationFailed, with the code and the words of whoever ended it.
    """

    def __init__(self, carrier: Carrier, verification: Verification) -> None:
        self._carrier = carrier
        self.verification = verification

    @property
    def other_user(self) -> UserId:
        """With whom."""
        return self.verification.other_user

    @property
    def other_device(self) -> DeviceId | None:
        """With which device, once that is certain."""
        return self.verification.other_device

    @property
    def state(self) -> State:
        """How far it has come."""
        return self.verification.state

    async def accept(self) -> None:
        """Say that we want it too."""
        self.verification.accept()
        await self._carrier.carry()

    async def ready(self) -> None:
        """Wait until both sides want it."""
        await self._until(lambda: self.state is not State.REQUESTED)

    async def short_string(self) -> ShortString:
        """Begin to compare, unless the other side has begun; return what to show once it is there."""
        await self.ready()
        self.verification.compare()
        await self._carrier.carry()
        await self._until(lambda: self.verification.short_string is not None)
        assert self.verification.short_string is not None  # noqa: S101  # this is what was waited for
        return self.verification.short_string

    async def confirm(self, *, trust: bool = True) -> None:
        """Say that both sides show the same; or that the other side, which has scanned our code, says it fits.

        Without `trust` only the other side gets to trust us: for programs, which cannot see what the other side shows.
        """
        try:
            self.verification.confirm(trust=trust)
        finally:
            await self._carrier.carry()

    async def mismatch(self) -> None:
        """Say that the sides show different things."""
        self.verification.mismatch()
        await self._carrier.carry()

    async def cancel(self) -> None:
        """End it."""
        self.verification.cancel()
        await self._carrier.carry()

    async def scan(self, code: bytes) -> None:
        """Take in what was scanned from the other side's screen."""
        try:
            self.verification.scan(code)
        finally:
            await self._carrier.carry()

    async def scanned(self) -> None:
        """Wait until the other side has scanned the code of `verification.show_code()`; then `confirm` is due."""
        await self._until(lambda: self.state in {State.SCANNED, State.DONE})

    async def finished(self) -> Proven | None:
        """Wait for the end, and return what was proven; None if we trust nobody for it."""
        await self._until(lambda: self.state is State.DONE)
        return self.verification.proven

    async def compared(self, compare: Compare, *, trust: bool = True) -> Proven | None:
        """Do it all: show the short string to whoever compares, and say what they say."""
        shown = await self.short_string()
        if await compare(shown):
            await self.confirm(trust=trust)
        else:
            await self.mismatch()
        return await self.finished()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self.state is State.CANCELLED:
                code = self.verification.code
                known = code if isinstance(code, Code) else Code.USER
                raise VerificationFailed(known, self.verification.reason or str(code))
            with trio.move_on_after(_TICK_SECONDS):
                await self._carrier.until_something_happens()
                continue
            # Nothing comes: time may be up.
            await self._carrier.carry()
