"""A homeserver in memory, in the tests' own process: no socket, no database, nothing left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import trio

from tricord.clients.bot import Bot
from tricord.clients.encryption.encryptor import Encryption
from tricord.clients.testing.account_routes import AccountRoutes
from tricord.clients.testing.accounts import Accounts
from tricord.clients.testing.call import Transport
from tricord.clients.testing.key_backup_routes import KeyBackupRoutes
from tricord.clients.testing.key_routes import KeyRoutes
from tricord.clients.testing.message_routes import MessageRoutes
from tricord.clients.testing.person import Person
from tricord.clients.testing.room_routes import RoomRoutes
from tricord.clients.testing.rooms import Rooms
from tricord.clients.testing.syncing import Syncing
from tricord.clients.testing.world import World
from tricord.protocol.identifiers import UserId, parse_server_name

PASSWORD = "correct horse battery staple"  # noqa: S105  # everybody's, in tests


class Homeserver:
    """What bots and apps use of a homeserver: accounts, rooms, messages, keys, sync; with the rules of the real one.

    `url` and `transport` are for a Client or a Bot of your own. Presence, push rules, search and the like are
    answered with M_UNRECOGNIZED.
    """

    url = "http://homeserver.test"

    def __init__(self, world: World, stack: AsyncExitStack) -> None:
        self._world = world
        self._stack = stack
        self._accounts = Accounts(world)
        rooms = Rooms(world, self._accounts)
        parts = (
            AccountRoutes(world, self._accounts, rooms),
            RoomRoutes(world, rooms),
            MessageRoutes(world, rooms),
            KeyRoutes(world, self._accounts),
            KeyBackupRoutes(),
            Syncing(world, self._accounts, rooms),
        )
        self.transport = Transport([route for part in parts for route in part.routes()], self._accounts, world)

    async def user(self, name: str, *, refresh_token: bool = False, encryption: Encryption | None = None) -> Person:
        """Register somebody, with `PASSWORD`, and return their client; closed with the homeserver.

        With `encryption=Encryption(None)` they talk in encrypted rooms: `room_with(bot.user_id, encrypted=True)`.
        """
        client = Person(self.url, encryption=encryption, transport=self.transport)
        person = await self._stack.enter_async_context(client)
        await person.register(name, PASSWORD, refresh_token=refresh_token)
        return person

    @asynccontextmanager
    async def running(self, bot: Bot) -> AsyncIterator[Bot]:
        """Let a bot answer here, wherever it was made for; it needs a password, and its account is made if need be.

        Everything that happens in the block is seen by the bot. It is stopped at the end.
        """
        bot.move_to(self.url, transport=self.transport)
        await bot.register()
        async with running(bot):
            yield bot

    def expire_tokens(self, user_id: UserId) -> None:
        """Let the access tokens of a user expire: those with a refresh token can go on, others sign in again."""
        self._accounts.expire(user_id)

    def end_sessions(self, user_id: UserId) -> None:
        """Sign a user out on every device."""
        self._accounts.end_all(user_id)

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """Cut the network for a while: every new request fails."""
        self.transport.is_cut = True
        try:
            yield
        finally:
            self.transport.is_cut = False


@asynccontextmanager
async def homeserver(server_name: str = "localhost") -> AsyncIterator[Homeserver]:
    """Run a homeserver in memory; user ids end with `:` and the server name."""
    async with AsyncExitStack() as stack:
        yield Homeserver(World(parse_server_name(server_name)), stack)


@asynccontextmanager
async def running(bot: Bot) -> AsyncIterator[Bot]:
    """Let a bot answer, on whatever homeserver it is for, until the end of the block."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(bot.serve)
        try:
            yield bot
        except Exception as error:  # noqa: BLE001  # raised below: a group of one would say no more
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
