"""The conversation of the demonstration: who says what, and how it is seen on the other side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tricord.clients import Bot, Client, Message
from tricord.clients.errors import Refused
from tricord.homeserver.demo.servers import DemoServer, prepare
from tricord.protocol.identifiers import EventId, RoomId, UserId

ORCHARD, HARBOUR = "orchard.example", "harbour.example"
PASSWORD = "only for the demonstration"  # noqa: S105  # printed for everybody to use
_PEOPLE = {"ada": ORCHARD, "ben": HARBOUR, "cleo": HARBOUR}
_BOT = UserId(f"@scales:{ORCHARD}")
_PATIENCE_SECONDS = 30


async def tell(folder: Path, once: bool) -> None:
    """Start the servers, let people talk, and stay up unless it is to be told `once`."""
    console = Console(highlight=False)
    servers = prepare(folder, [ORCHARD, HARBOUR])
    try:
        await _start(console, servers)
        async with trio.open_nursery() as nursery:
            await _converse(console, servers, nursery)
            if not once:
                _invite(console, servers, folder)
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for server in servers:
                    nursery.start_soon(server.stop)


async def _start(console: Console, servers: Sequence[DemoServer]) -> None:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        async with trio.open_nursery() as nursery:

            async def start(server: DemoServer) -> None:
                task = progress.add_task(f"{server.name}: database, keys, listeners", total=1)
                server.start()
                await server.until_ready()
                progress.update(task, completed=1, description=f"{server.name}: answers at {server.url}")

            for server in servers:
                nursery.start_soon(start, server)


async def _converse(console: Console, servers: Sequence[DemoServer], nursery: trio.Nursery) -> None:
    urls = {server.name: server.url for server in servers}
    async with AsyncExitStack() as stack:
        people: dict[str, Client] = {}
        for name, server in _PEOPLE.items():
            client = people[name] = await stack.enter_async_context(Client(urls[server]))
            await _sign_in(client, name)
        ada, ben, cleo = people["ada"], people["ben"], people["cleo"]
        await _start_bot(urls[ORCHARD], nursery)

        console.rule(f"{ORCHARD} and {HARBOUR}")
        room_id = await ada.create_room(name="Apples by sea", preset="private_chat")
        console.print(f"  {ada.user_id} makes a room and invites {ben.user_id}")
        await ada.invite(room_id, ben.user_id)
        await ben.join(room_id)
        console.print(f"  {ben.user_id} joins from {HARBOUR}")
        seen = _Seen(console)
        await seen.says(ada, ben, room_id, "Forty crates are ready. When do you sail?")
        await seen.says(ben, ada, room_id, "With the tide. I bring Cleo in, she loads.")
        await ben.invite(room_id, cleo.user_id)
        await cleo.join(room_id)
        console.print(f"  {cleo.user_id} joins; {HARBOUR} needs nobody's help to invite her")
        await seen.says(cleo, ada, room_id, "Send them down, the hold is dry.")
        await ada.invite(room_id, _BOT)
        await seen.asks(ben, room_id, "!weigh 40")


async def _sign_in(client: Client, name: str) -> None:
    try:
        await client.register(name, PASSWORD)
    except Refused as refusal:
        if refusal.errcode != "M_USER_IN_USE":
            raise
        await client.login(name, PASSWORD)


async def _start_bot(url: str, nursery: trio.Nursery) -> None:
    async with Client(url) as client:
        await _sign_in(client, "scales")
    bot = Bot(url, _BOT, password=PASSWORD)

    @bot.command("weigh")
    async def weigh(message: Message, crates: int) -> None:
        """Tell what crates of apples weigh."""
        await message.reply(f"{crates} crates are {crates * 18} kg.")

    await nursery.start(bot.serve)


class _Seen:
    """What is said on one side, shown when it is seen on the other."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def says(self, speaker: Client, listener: Client, room_id: RoomId, words: str) -> None:
        """Let somebody say something, and wait until it is seen across."""
        position = (await listener.sync())["next_batch"]
        started = time.perf_counter()
        event_id = await speaker.send_text(room_id, words)
        await self._heard(listener, room_id, position, event_id=event_id, since=started)

    async def asks(self, speaker: Client, room_id: RoomId, words: str) -> None:
        """Let somebody ask the bot, and wait for its answer."""
        await _until_joined(speaker, room_id, _BOT)
        position = (await speaker.sync())["next_batch"]
        started = time.perf_counter()
        self._console.print(f"  {speaker.user_id}: {words}")
        await speaker.send_text(room_id, words)
        await self._heard(speaker, room_id, position, sender=_BOT, since=started)

    async def _heard(
        self,
        listener: Client,
        room_id: RoomId,
        position: str,
        *,
        since: float,
        event_id: EventId | None = None,
        sender: str | None = None,
    ) -> None:
        with trio.fail_after(_PATIENCE_SECONDS):
            while True:
                answer = await listener.sync(since=position, timeout_seconds=10)
                position = answer["next_batch"]
                room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
                for event in room.get("timeline", {}).get("events", []):
                    if event["event_id"] == event_id or event["sender"] == sender:
                        self._show(event, listener, time.perf_counter() - since)
                        return

    def _show(self, event: dict[str, Any], listener: Client, seconds: float) -> None:
        at = listener.user_id.partition(":")[2]
        words = event["content"].get("body", "")
        self._console.print(f"  {event['sender']}: {words}  [dim](seen at {at} after {seconds * 1000:.0f} ms)[/dim]")


async def _until_joined(client: Client, room_id: RoomId, user_id: UserId) -> None:
    with trio.fail_after(_PATIENCE_SECONDS):
        while user_id not in await client.joined_members(room_id):  # noqa: ASYNC110  # as a person would look
            await trio.sleep(0.1)


def _invite(console: Console, servers: Sequence[DemoServer], folder: Path) -> None:
    console.rule("Your turn")
    for server in servers:
        names = ", ".join(name for name, at in _PEOPLE.items() if at == server.name)
        console.print(f"  homeserver {server.url} ({server.name}): sign in as {names}")
    console.print(f'  The password is "{PASSWORD}". Any Matrix client will do: name the homeserver by its URL.')
    console.print(f"  Settings, data and logs are in {folder}. Ctrl-C ends it.")
