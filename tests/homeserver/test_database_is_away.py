"""What goes on beside requests survives a database that is away for a moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest
import trio

from tests.homeserver.rooms.house import ALICE, FixedClock
from tricord.homeserver.accounts import presence_elsewhere, sightings
from tricord.homeserver.accounts.presence_elsewhere import PresenceElsewhere
from tricord.homeserver.accounts.sightings import Sightings
from tricord.homeserver.encryption import to_device
from tricord.homeserver.encryption.introductions import Introductions
from tricord.homeserver.encryption.to_device import ToDevice
from tricord.homeserver.peers import incoming
from tricord.homeserver.peers.incoming import IncomingTransactions
from tricord.homeserver.rooms import typing
from tricord.homeserver.rooms.typing import Typing
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.devices import Sighting
from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.homeserver.stream.publisher import Publisher
from tricord.protocol.identifiers import DeviceId, ServerName

HERE, ELSEWHERE = ServerName("hs"), ServerName("elsewhere")


class Outage:
    """A database that fails at first, and is asked again."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self._failures = 2
        self.is_over = trio.Event()
        for name in ("run", "read", "notify"):
            monkeypatch.setattr(database, name, self._failing(getattr(database, name)))

    def _failing(self, ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def fail_or_ask(*args: Any) -> Any:
            self._failures -= 1
            if self._failures >= 0:
                raise DatabaseUnavailable("away")
            answer = await ask(*args)
            self.is_over.set()
            return answer

        return fail_or_ask


async def survives(outage: Outage, run: Callable[[], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        with trio.fail_after(60):
            await outage.is_over.wait()
        nursery.cancel_scope.cancel()


@pytest.fixture
def publisher(database: Database) -> Publisher:
    return Publisher(database, 0)


@pytest.fixture
def outage(database: Database, monkeypatch: pytest.MonkeyPatch) -> Outage:
    monkeypatch.setattr(presence_elsewhere, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(sightings, "_WRITE_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(to_device, "_PRUNE_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(incoming, "_PRUNE_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(typing, "_PAUSE_SECONDS", 0.01)
    return Outage(database, monkeypatch)


async def test_the_end_of_typing(database: Database, publisher: Publisher, outage: Outage) -> None:
    await survives(outage, Typing(database, publisher, FixedClock()).run)


async def test_noting_when_devices_were_seen(database: Database, outage: Outage) -> None:
    seen = Sightings(database, FixedClock())
    seen.note(ALICE, DeviceId("PHONE"), address="192.0.2.1", user_agent="tests")
    await survives(outage, seen.run)


async def test_noting_when_devices_were_seen_until_the_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sightings, "_WRITE_EVERY_SECONDS", 0.01)
    begun, written = trio.Event(), []

    async def slow(_function: object, seen: list[Sighting]) -> None:
        if not begun.is_set():
            begun.set()
            await trio.sleep_forever()
        written.extend(seen)

    monkeypatch.setattr(database, "run", slow)
    seen = Sightings(database, FixedClock())
    seen.note(ALICE, DeviceId("PHONE"), address="192.0.2.1", user_agent="tests")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(seen.run)
        await begun.wait()
        nursery.cancel_scope.cancel()
    assert [one.device_id for one in written] == ["PHONE"]


async def test_telling_other_processes_who_is_here(database: Database, outage: Outage) -> None:
    elsewhere = PresenceElsewhere(database, "presence", lambda users: dict.fromkeys(users, 0.0), lambda *_: None)
    elsewhere._hear(f'["another", "asks", ["{ALICE}"]]')
    await survives(outage, elsewhere.run)


async def test_deleting_messages_that_nobody_comes_for(
    database: Database, publisher: Publisher, outage: Outage
) -> None:
    await survives(outage, ToDevice(HERE, database, publisher, FixedClock()).run)


async def test_forgetting_what_other_servers_were_answered(database: Database, outage: Outage) -> None:
    unused: dict[str, Any] = dict.fromkeys(
        ("rooms", "receiver", "reads", "residence", "partial_rooms", "memberships", "outsiders", "verifier", "edus")
    )
    await survives(outage, IncomingTransactions(database, clock=FixedClock(), **unused).run)


async def test_waking_who_sends_what_introduces_users(
    database: Database, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, woken = [[ELSEWHERE], []], trio.Event()

    async def introduce(*_: Any) -> list[ServerName]:
        return found.pop(0)

    async def wake(servers: Collection[ServerName]) -> None:
        if found:
            raise DatabaseUnavailable("away")
        assert list(servers) == [ELSEWHERE]
        woken.set()

    monkeypatch.setattr(database, "run", introduce)
    introductions = Introductions(database, publisher)
    introductions.on_edus(wake)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(introductions.run)
        with trio.fail_after(60):
            await woken.wait()
        nursery.cancel_scope.cancel()
