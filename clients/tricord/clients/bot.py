"""A bot: commands by decorator, handlers for typed events, invitations by an allow list, a place that is never lost.

Every event is handled at least once: the cursor moves only after the handlers (`handlers.py`) have finished.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import trio

from tricord.clients.client import Client
from tricord.clients.commands import Handler
from tricord.clients.cursor import Cursor
from tricord.clients.encryption.encryptor import Encryption
from tricord.clients.encryption.errors import NotThisDevice
from tricord.clients.encryption.opened import ClosedEvent
from tricord.clients.encryption.verification.conversation import Conversation
from tricord.clients.errors import ClientError, Refused, SignedOut, Unreachable
from tricord.clients.events import Invitation, RoomEvent, invitation, typed_event
from tricord.clients.follow import Delta
from tricord.clients.handlers import Handlers
from tricord.clients.timelines import missed_events, own_join
from tricord.protocol.globs import Glob
from tricord.protocol.identifiers import EventId, RoomId, UserId, localpart_of

E = TypeVar("E", bound=RoomEvent)

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


class Bot:
    """A user that answers.

    It signs in as `user_id` with a `password` or an `access_token`. `auto_join` holds patterns of user ids whose
    invitations are accepted: `("@*:example.org",)`; by default those of everybody on the bot's own homeserver, `()` for
    nobody. `store` is a file that keeps the place in the sync and the session; without one every start begins with what
    happens from then on. `prefix` is what commands begin with.

    Encrypted rooms are rooms like any other. The keys are kept beside the `store`, in a file whose name ends with
    `.keys`; without a `store` they last as long as the bot, whose sign-in is a new device each time. `encryption` says
    it otherwise: another file, a passphrase, whom to trust; or `False`, not to encrypt at all.
    """

    def __init__(
        self,
        base_url: str,
        user_id: str,
        *,
        password: str | None = None,
        access_token: str | None = None,
        prefix: str = "!",
        auto_join: Sequence[str] | None = None,
        store: str | Path | None = None,
        encryption: Encryption | bool = True,
        websocket: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if (password is None) == (access_token is None):
            raise ValueError("a bot signs in with a password or with an access token")
        self.user_id = UserId(user_id)
        self._encryption = _encryption(encryption, store, keeps_device=access_token is not None)
        self.client = Client(
            base_url,
            access_token=access_token,
            websocket=websocket,
            encryption=self._encryption,
            transport=transport,
        )
        self._password = password
        self._access_token = access_token
        if auto_join is None:
            auto_join = (f"@*:{user_id.partition(':')[2]}",)
        self._auto_join = [Glob(pattern) for pattern in auto_join]
        self._store = None if store is None else Path(store)
        self._cursor = Cursor(self._store, self.user_id)
        self._handlers = Handlers(prefix)
        self._has_identity = False
        self._verification_handler: Callable[[Conversation], Awaitable[None]] | None = None
        self._nursery: trio.Nursery | None = None

    def command(self, word: str) -> Callable[[Handler], Handler]:
        """Call the decorated function for `!word …`, its parameters after the message being the arguments.

        Arguments may be `str`, `int`, `float`, `UserId`, `RoomId` or `RoomAlias`, and may have defaults; the last one,
        if it is a `str`, takes the rest of the message. Who types something else is told the usage, which is also what
        `!help` shows, with the first line of the docstring. Commands in notices are left alone, as bots send those.
        """

        def register(handler: Handler) -> Handler:
            self._handlers.add_command(word, handler)
            return handler

        return register

    def on(self, kind: type[E]) -> Callable[[Callable[[E], Awaitable[None]]], Callable[[E], Awaitable[None]]]:
        """Call the decorated function for every event of a class: `Message`, `Member`, …, `RoomEvent` for all.

        Our own events, edits among `Message`s and old events of rooms just joined are left out. Events of a room come
        in order, and each when the handlers of the one before have finished: what takes long goes to `start_soon`.
        """

        def register(handler: Callable[[E], Awaitable[None]]) -> Callable[[E], Awaitable[None]]:
            self._handlers.add(kind, handler)
            return handler

        return register

    def on_invitation(
        self, handler: Callable[[Invitation], Awaitable[None]]
    ) -> Callable[[Invitation], Awaitable[None]]:
        """Call the decorated function for every invitation that `auto_join` does not accept."""
        self._handlers.add_for_invitations(handler)
        return handler

    def on_verification(
        self, handler: Callable[[Conversation], Awaitable[None]]
    ) -> Callable[[Conversation], Awaitable[None]]:
        """Call the decorated function for every verification that somebody asks the bot for.

            @bot.on_verification
            async def verified(conversation: Conversation) -> None:
                await conversation.accept()
                await conversation.compared(show_to_the_operator, trust=False)

        It runs beside the events. Without one requests are not answered.
        """
        self._verification_handler = handler
        return handler

    def start_soon(self, function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Let something go on beside the events, as long as the bot runs; what it raises is logged.

        The cursor does not wait for it: what is under way when the bot ends is lost.
        """
        if self._nursery is None:
            raise RuntimeError("the bot is not running")
        self._nursery.start_soon(_logged, function, arguments)

    def run(self) -> None:
        """Sign in and answer, until SIGINT (Ctrl-C) or SIGTERM: the whole of a program.

        What `serve` raises on purpose, such as that the password is wrong, ends the program with a line that says it.
        """
        try:
            trio.run(self._run)
        except ClientError as error:
            sys.exit(f"{self.user_id} has stopped: {error}")

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sign in and answer, for ever; reports to a nursery's `start` once everything from now on will be seen.

        A homeserver that cannot be reached is waited for, and a session that has ended is replaced by a new one. Raises
        SignedOut where there is only an access token for that, and Refused (M_FORBIDDEN) when the password is wrong.
        """
        failure: Exception | None = None
        async with self.client, trio.open_nursery() as self._nursery:
            if self._verification_handler is not None and self.client.encrypts:
                self._nursery.start_soon(self._answer_verifications, self._verification_handler)
            try:
                await self._serve(task_status)
            except Exception as error:  # noqa: BLE001  # raised below: a group of one would say no more
                failure = error
                self._nursery.cancel_scope.cancel()
        self._nursery = None
        if failure is not None:
            raise failure

    async def register(self) -> None:
        """Make our account, on a homeserver where anybody may register; it is no error if it is there already."""
        if self._password is None:
            raise ValueError("a bot with an access token has an account")
        try:
            session = await self.client.register(localpart_of(self.user_id), self._password, device_name="bot")
        except Refused as refusal:
            if refusal.errcode != "M_USER_IN_USE":
                raise
        else:
            self._cursor.keep_session(session)

    def move_to(self, base_url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Talk to another homeserver than the one we were made for, before `serve`: for tests.

        Without a `store` we know nothing of what was before.
        """
        self._cursor = Cursor(self._store, self.user_id)
        self.client = Client(
            base_url, access_token=self._access_token, encryption=self._encryption, transport=transport
        )

    async def _run(self) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:

                async def stop() -> None:
                    async for _ in signals:
                        _log.info("stopping")
                        nursery.cancel_scope.cancel()

                nursery.start_soon(stop)
                failure: Exception | None = None
                try:
                    await self.serve()
                except Exception as error:  # noqa: BLE001  # raised below, as in `serve`
                    failure = error
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _answer_verifications(self, handler: Callable[[Conversation], Awaitable[None]]) -> None:
        async for conversation in self.client.identity.requests():
            self.start_soon(handler, conversation)

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        pause = _FIRST_PAUSE_SECONDS
        started = False
        while True:
            position = self._cursor.position
            try:
                await self._sign_in()
                await self._set_up_identity()
                if self._cursor.position is None:
                    await self._start_from_now()
                if not started:
                    started = True
                    task_status.started()
                await self.client.follow(self._take, position=self._cursor.position)
            except SignedOut:
                if self._password is None or self._cursor.session is None:
                    raise
                _log.warning("the session has ended, signing in again")
                self._cursor.forget_session()
            except NotThisDevice as error:
                # The file of the keys is gone. Others would not believe that the device has new ones.
                if self._password is None:
                    raise
                _log.warning("%s", error)
                self.client.encryption.start_over()
                self._cursor.forget_device()
            except Unreachable as error:
                # What was being handled is handled again, from the cursor on.
                _log.warning("the homeserver cannot be reached: %s", error)
            moved = self._cursor.position != position
            pause = _FIRST_PAUSE_SECONDS if moved else min(pause * 2, _LONGEST_PAUSE_SECONDS)
            await trio.sleep(pause)

    async def _sign_in(self) -> None:
        session = self._cursor.session
        if self._password is None:
            if (await self.client.whoami()).user_id != self.user_id:
                raise ValueError(f"the access token is that of {self.client.user_id}, not of {self.user_id}")
            if not self.client.device_id:
                # As that of a bridge, whose users have no devices, and so no keys.
                self.client.encrypt_nothing()
        elif session is not None:
            self.client.use_session(session)
        else:
            session = await self.client.login(
                self.user_id, self._password, device_id=self._cursor.device_id, device_name="bot"
            )
            self._cursor.keep_session(session)

    async def _set_up_identity(self) -> None:
        """Vouch for our device, so that those write to us too who write only to such devices.

        A bot whose identity cannot be set up answers all the same.
        """
        if self._has_identity or not self.client.encrypts or not self.client.encryption.makes_identity:
            return
        try:
            await self.client.set_up_identity(password=self._password)
            self._has_identity = True
        except (SignedOut, Unreachable):
            raise
        except ClientError as error:
            # A homeserver that knows no identities, such as the one in memory, has no clients that ask for them.
            expected = isinstance(error, Refused) and error.errcode == "M_UNRECOGNIZED"
            level = logging.INFO if expected else logging.WARNING
            _log.log(level, "the bot has no identity of its own, and some devices may not write to it: %s", error)

    async def _start_from_now(self) -> None:
        """Take the position without the history, and the invitations that wait."""
        nothing = {"room": {"timeline": {"limit": 1}, "state": {"types": []}, "ephemeral": {"types": []}}}
        answer = await self.client.sync(sync_filter=nothing)
        await self._handle_invitations(answer)
        self._cursor.move(answer["next_batch"])

    async def _take(self, delta: Delta) -> None:
        rooms = delta.content.get("rooms") or {}
        for late in delta.late:
            # Said before, and readable only now.
            await self._handle_source(late.room_id, late.opened)
        await self._handle_invitations(delta.content)
        for room_id, room in (rooms.get("join") or {}).items():
            await self._handle_room(RoomId(room_id), room)
        self._cursor.move(delta.position)

    async def _handle_invitations(self, content: dict[str, Any]) -> None:
        for room_id, room in ((content.get("rooms") or {}).get("invite") or {}).items():
            invited = invitation(RoomId(room_id), self.user_id, (room.get("invite_state") or {}).get("events"))
            if invited.sender is not None and any(glob.matches(invited.sender) for glob in self._auto_join):
                await self._join(invited)
            else:
                await self._handlers.handle_invitation(invited, self.client)

    async def _join(self, invited: Invitation) -> None:
        try:
            await self.client.join(invited.room_id)
        except SignedOut:
            raise
        except Refused as refusal:
            _log.warning("%s: cannot join: %s", invited.room_id, refusal)

    async def _handle_room(self, room_id: RoomId, room: dict[str, Any]) -> None:
        timeline = room.get("timeline") or {}
        sources = list(timeline.get("events") or [])
        joined_at = own_join(sources, self.user_id)
        if joined_at is not None:
            # What was said before we came was not said to us.
            sources = sources[joined_at + 1 :]
        elif timeline.get("limited"):
            missed = await missed_events(self.client, room_id, timeline.get("prev_batch"), self._cursor.position)
            closed = [source for source in missed if isinstance(source, ClosedEvent)]
            if closed:
                # Their keys may come yet; then they are late, as others are.
                self.client.encryption.open(room_id, [dict(source) for source in closed], wait=True)
            sources = missed + sources
        last: EventId | None = None
        for source in sources:
            last = await self._handle_source(room_id, source) or last
        if last is not None:
            await self._mark_read(room_id, last)

    async def _handle_source(self, room_id: RoomId, source: Any) -> EventId | None:
        """Handle an event, and return its id; None if it is our own, or not an event at all."""
        event = typed_event(room_id, source, self.client)
        if event is None or event.sender == self.user_id:
            return None
        await self._handlers.handle(event, self.client)
        return event.event_id

    async def _mark_read(self, room_id: RoomId, event_id: EventId) -> None:
        try:
            await self.client.mark_read(room_id, event_id)
        except SignedOut:
            raise
        except ClientError as error:
            # We may have been removed from the room in the meantime; and nothing depends on it.
            _log.info("%s: cannot be marked as read: %s", room_id, error)


def _encryption(wanted: Encryption | bool, store: str | Path | None, *, keeps_device: bool) -> Encryption | None:
    """Return how a bot encrypts."""
    if isinstance(wanted, Encryption):
        return wanted
    if not wanted or (store is None and keeps_device):
        # Without its keys of before a device would be another than the one that others know.
        return None
    return Encryption(None if store is None else f"{store}.keys")


async def _logged(function: Callable[..., Awaitable[None]], arguments: tuple[Any, ...]) -> None:
    try:
        await function(*arguments)
    except Exception:  # noqa: BLE001  # foreign code, whose fault must not stop the bot
        _log.exception("%s failed", getattr(function, "__qualname__", function))
