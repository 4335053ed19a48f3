"""A homeserver of either kind, for tests that must not notice which: the one in memory, or the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx

from tests.servers import running_homeserver
from tricord.clients import Bot
from tricord.clients.testing import PASSWORD, Homeserver, Person, homeserver, running

SERVER_NAME = "localhost"


class EitherServer(Protocol):
    """What both kinds have."""

    url: str

    @property
    def transport(self) -> httpx.AsyncBaseTransport | None:
        """What replaces the network, if anything does."""

    async def user(self, name: str, *, refresh_token: bool = False) -> Person:
        """Register somebody."""

    def running(self, bot: Bot) -> AbstractAsyncContextManager[Bot]:
        """Let a bot answer here."""


class RealServer:
    """The homeserver, over sockets."""

    transport = None

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self.url = url
        self._stack = stack

    async def user(self, name: str, *, refresh_token: bool = False) -> Person:
        person = await self._stack.enter_async_context(Person(self.url))
        await person.register(name, PASSWORD, refresh_token=refresh_token)
        return person

    @asynccontextmanager
    async def running(self, bot: Bot) -> AsyncIterator[Bot]:
        bot.move_to(self.url)
        await bot.register()
        async with running(bot):
            yield bot


@asynccontextmanager
async def real_server(database_url: str, folder: Path, **changed: Any) -> AsyncIterator[RealServer]:
    """Run the real homeserver in this process."""
    async with (
        running_homeserver(database_url, folder, server_name=SERVER_NAME, **changed) as real,
        AsyncExitStack() as stack,
    ):
        yield RealServer(real.urls[0], stack)


@asynccontextmanager
async def server_in_memory() -> AsyncIterator[Homeserver]:
    """Run the one in memory."""
    async with homeserver(SERVER_NAME) as in_memory:
        yield in_memory
