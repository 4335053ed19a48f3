"""A bot: commands by decorator, handlers for typed events, invitations by an allow list, a place that is never lost.

Every event is handled at least once: the cursor moves only after the handlers have finished. What a handler sends in
answer to an event carries a transaction id made of that event's id, so that handling it twice answers it once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import trio

from tricord.clients.client import Client
from tricord.clients.commands import Command, Handler, WrongArguments
from tricord.clients.cursor import Cursor
from tricord.clients.errors import Refused, SignedOut
from tricord.clients.events import Invitation, Message, RoomEvent, invitation, typed_event
from tricord.clients.follow import Delta
from tricord.protocol.globs import Glob
from tricord.protocol.identifiers import EventId, RoomId, UserId

E = TypeVar("E", bound=RoomEvent)

_log = logging.getLogger(__name__)

# Pages of history read to fill a gap in one room: of 100 events each.
_MOST_PAGES = 50


class Bot:
    """A user that answers.

    `auto_join` holds patterns of user ids whose invitations are accepted: `("@*:example.org",)`; by default those of
    everybody on the bot's own homeserver. `store` is a file that keeps the place in the sync and the session; without
    one every start begins with what happens from then on. `nursery` is there while the bot runs, for handlers that go
    on after their event.
    """

    nursery: trio.Nursery

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
        websocket: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if (password is None) == (access_token is None):
            raise ValueError("a bot signs in with a password or with an access token")
        self.user_id = UserId(user_id)
        self.client = Client(base_url, access_token=access_token, websocket=websocket, transport=transport)
        self._password = password
        self._prefix = prefix
        if auto_join is None:
            auto_join = (f"@*:{user_id.partition(':')[2]}",)
        self._auto_join = [Glob(pattern) for pattern in auto_join]
        self._cursor = Cursor(None if store is None else Path(store))
        self._commands: dict[str, Command] = {}
        self._handlers: list[tuple[type[RoomEvent], Callable[[Any], Awaitable[None]]]] = []
        self._invitation_handlers: list[Callable[[Invitation], Awaitable[None]]] = []

    def command(self, word: str) -> Callable[[Handler], Handler]:
        """Call the decorated function for `!word …`, its parameters after the message being the arguments."""

        def register(handler: Handler) -> Handler:
            self._commands[word] = Command.of(word, handler)
            return handler

        return register

    def on(self, kind: type[E]) -> Callable[[Callable[[E], Awaitable[None]]], Callable[[E], Awaitable[None]]]:
        """Call the decorated function for every event of a class: `Message`, `Member`, …, `RoomEvent` for all.

        Our own events, edits among `Message`s and old events of rooms just joined are left out.
        """

        def register(handler: Callable[[E], Awaitable[None]]) -> Callable[[E], Awaitable[None]]:
            self._handlers.append((kind, handler))
            return handler

        return register

    def on_invitation(
        self, handler: Callable[[Invitation], Awaitable[None]]
    ) -> Callable[[Invitation], Awaitable[None]]:
        """Call the decorated function for every invitation that `auto_join` does not accept."""
        self._invitation_handlers.append(handler)
        return handler

    def run(self) -> None:
        """Sign in and answer, for ever. Ctrl-C ends it."""
        try:
            trio.run(self.serve)
        except* KeyboardInterrupt:
            _log.info("stopped")

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sign in and answer, for ever; reports to a nursery's `start` once everything from now on will be seen."""
        async with self.client, trio.open_nursery() as self.nursery:
            while True:
                await self._sign_in()
                if self._cursor.position is None:
                    await self._start_from_now()
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                try:
                    await self.client.follow(self._take, position=self._cursor.position)
                except SignedOut:
                    if self._password is None:
                        raise
                    _log.warning("the session has ended, signing in again")
                    self._cursor.forget_session()

    async def _sign_in(self) -> None:
        session = self._cursor.session()
        if self._password is None:
            await self.client.whoami()
        elif session is not None:
            self.client.use_session(self.user_id, *session)
        else:
            await self.client.login(self.user_id, self._password, device_name="bot")
            self._cursor.keep_session(str(self.client.access_token), self.client.device_id)

    async def _start_from_now(self) -> None:
        """Take the position without the history, and the invitations that wait."""
        nothing = {"room": {"timeline": {"limit": 0}, "state": {"types": []}, "ephemeral": {"types": []}}}
        answer = await self.client.sync(sync_filter=nothing)
        await self._handle_invitations(answer)
        self._cursor.move(answer["next_batch"])

    async def _take(self, delta: Delta) -> None:
        rooms = delta.content.get("rooms") or {}
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
                for handler in self._invitation_handlers:
                    await _guarded(handler, invited)

    async def _join(self, invited: Invitation) -> None:
        try:
            await self.client.join(invited.room_id)
        except Refused as refusal:
            _log.warning("%s: cannot join: %s", invited.room_id, refusal)

    async def _handle_room(self, room_id: RoomId, room: dict[str, Any]) -> None:
        timeline = room.get("timeline") or {}
        sources = list(timeline.get("events") or [])
        joined_at = _own_join(sources, self.user_id)
        if joined_at is not None:
            # What was said before we came was not said to us.
            sources = sources[joined_at + 1 :]
        elif timeline.get("limited") and self._cursor.position is not None:
            sources = await self._missed(room_id, timeline.get("prev_batch")) + sources
        last: EventId | None = None
        for source in sources:
            event = typed_event(room_id, source, self.client)
            if event is not None and event.sender != self.user_id:
                await self._handle(event)
                last = event.event_id
        if last is not None:
            await _mark_read(self.client, room_id, last)

    async def _missed(self, room_id: RoomId, prev_batch: Any) -> list[Any]:
        """Return what lies between our position and a limited timeline, oldest first."""
        missed: list[Any] = []
        start = prev_batch if isinstance(prev_batch, str) else None
        for _ in range(_MOST_PAGES):
            if start is None:
                break
            page = await self.client.messages(room_id, start=start, end=self._cursor.position, limit=100)
            missed += page.chunk
            joined_at = _own_join(page.chunk, self.user_id)
            if joined_at is not None:
                break
            start = page.end
        else:
            _log.warning("%s: more than %d events were missed, the oldest are left out", room_id, len(missed))
        return missed[::-1]

    async def _handle(self, event: RoomEvent) -> None:
        if isinstance(event, Message):
            if event.replaces is not None:
                return
            if event.text.startswith(self._prefix):
                await self._handle_command(event)
        for kind, handler in self._handlers:
            if isinstance(event, kind):
                await _guarded(handler, event)

    async def _handle_command(self, message: Message) -> None:
        word, _, rest = message.text.removeprefix(self._prefix).partition(" ")
        command = self._commands.get(word)
        if command is not None:
            try:
                await _guarded(lambda event: command.call(event, rest.strip()), message)
            except WrongArguments as wrong:
                await message.reply(f"{self._prefix}{word}: {wrong}")
        elif word == "help":
            lines = [f"{self._prefix}{known.usage}: {known.help}" for known in self._commands.values()]
            await message.reply("\n".join(lines))


async def _guarded(handler: Callable[[Any], Awaitable[None]], subject: Any) -> None:
    """Call a handler; what it raises harms only the event at hand."""
    try:
        await handler(subject)
    except (SignedOut, WrongArguments):
        raise
    except Exception:  # noqa: BLE001  # a handler is foreign code, and one fault in it must not stop the bot
        _log.exception("a handler failed")


async def _mark_read(client: Client, room_id: RoomId, event_id: EventId) -> None:
    try:
        await client.mark_read(room_id, event_id)
    except Refused as refusal:
        # We may have been removed from the room in the meantime.
        _log.info("%s: cannot be marked as read: %s", room_id, refusal)


def _own_join(sources: Sequence[Any], user_id: UserId) -> int | None:
    """Return where in the timeline we joined, if we did; a change of our profile is not a join."""
    for number, source in enumerate(sources):
        if isinstance(source, dict) and source.get("type") == "m.room.member" and source.get("state_key") == user_id:
            before = (source.get("unsigned") or {}).get("prev_content") or {}
            if (source.get("content") or {}).get("membership") == "join" and before.get("membership") != "join":
                return number
    return None
