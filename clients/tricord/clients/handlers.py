"""What a bot does with what it hears: which handlers it calls, and what their faults harm.

What a handler sends in answer to an event carries a transaction id made of that event's id and the handler's name, so
that handling it twice answers it once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from tricord.clients.client import Client
from tricord.clients.commands import Command, Handler, WrongArguments
from tricord.clients.context import EventContext
from tricord.clients.errors import SignedOut, Unreachable
from tricord.clients.events import Invitation, Message, RoomEvent

_log = logging.getLogger(__name__)

EventHandler = Callable[[Any], Awaitable[None]]


class Handlers:
    """The handlers of a bot, whose commands begin with a prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._commands: dict[str, Command] = {}
        self._of_events: list[tuple[type[RoomEvent], EventHandler]] = []
        self._of_invitations: list[EventHandler] = []

    def add_command(self, word: str, handler: Handler) -> None:
        """Call a handler for `!word …`; raise ValueError if no text could call it."""
        self._commands[word] = Command.of(word, handler)

    def add(self, kind: type[RoomEvent], handler: EventHandler) -> None:
        """Call a handler for events of a class."""
        self._of_events.append((kind, handler))

    def add_for_invitations(self, handler: EventHandler) -> None:
        """Call a handler for invitations."""
        self._of_invitations.append(handler)

    async def handle(self, event: RoomEvent, client: Client) -> None:
        """Call the handlers of an event, one after another. Raises only if the homeserver is gone for us."""
        if isinstance(event, Message):
            if event.replaces is not None:
                return
            if event.text.startswith(self._prefix) and event.message_type != "m.notice":
                await self._handle_command(event, client)
        for number, (kind, handler) in enumerate(self._of_events):
            if isinstance(event, kind):
                await _answering(handler, event, f"{number} {getattr(handler, '__qualname__', '')}", client)

    async def handle_invitation(self, invited: Invitation, client: Client) -> None:
        """Call the handlers of an invitation, likewise."""
        for handler in self._of_invitations:
            await _call(handler, lambda: invited, client)

    async def _handle_command(self, message: Message, client: Client) -> None:
        typed = message.text.removeprefix(self._prefix)
        if not typed or typed[0].isspace():
            return
        word, *more = typed.split(maxsplit=1)
        command = self._commands.get(word)
        if command is None:
            if word == "help":
                await _answering(self._help, message, "help", client)
            return

        async def call(message: Message) -> None:
            try:
                await command.call(message, more[0] if more else "")
            except WrongArguments as wrong:
                await message.reply(f"{wrong}; usage: {self._prefix}{command.usage}")

        await _answering(call, message, f"command {word}", client)

    async def _help(self, message: Message) -> None:
        lines = [
            f"{self._prefix}{command.usage}" + (f": {command.help}" if command.help else "")
            for command in self._commands.values()
        ]
        await message.reply("\n".join(lines))


async def _answering(handler: EventHandler, event: RoomEvent, name: str, client: Client) -> None:
    """Call a handler with an event, with a count of its own of what it answers, begun anew with each try."""
    await _call(handler, lambda: replace(event, context=EventContext(client, event.event_id, name)), client)


async def _call(handler: EventHandler, subject: Callable[[], Any], client: Client) -> None:
    """Call a handler; what it raises harms only the event at hand, unless the homeserver is gone for us."""
    try:
        await handler(subject())
    except SignedOut:
        _log.exception("a handler was signed out")
        # If it is our own session that has ended, this raises too, and the event waits for the next one.
        await client.whoami()
    except Unreachable:
        _log.exception("a handler could not reach its homeserver")
        # If it is ours, this waits for it, or raises so that the event is not lost. Then there is another try.
        await client.versions()
        try:
            await handler(subject())
        except Exception:  # noqa: BLE001  # as below
            _log.exception("a handler failed again")
    except Exception:  # noqa: BLE001  # a handler is foreign code, and one fault in it must not stop the bot
        _log.exception("a handler failed")
