"""A device that comes back to messages of very many others: it takes them in with bounded means, and loses none."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.clients.encryption.storm import strangers_write_to
from tests.clients.encryption.test_kills import Fuse, Killed
from tests.clients.encryption.town import ROOM, Somebody, Town
from tricord.clients.encryption.megolm import Decrypted
from tricord.clients.encryption.requests import KeysClaim, KeysQuery, SendToDevice

STRANGERS = 600
IN_A_SYNC = 100


def syncs(somebody: Somebody) -> list[dict[str, Any]]:
    """Return what brings it all, as homeservers do: some messages at a time."""
    content = somebody.content()
    messages, since = content["to_device"]["events"], int((somebody.since or "s0")[1:])
    parts = [messages[start : start + IN_A_SYNC] for start in range(0, len(messages), IN_A_SYNC)]
    return [
        {
            **content,
            "to_device": {"events": part},
            "device_lists": content["device_lists"] if number == 0 else {},
            "next_batch": f"s{since + number + 1}",
        }
        for number, part in enumerate(parts)
    ]


def test_all_of_it_is_taken_in_with_few_requests() -> None:
    town = Town()
    bob = Somebody(town, "bob")
    bob.say("I was here")
    said = strangers_write_to(town, bob, STRANGERS)
    town.made.clear()
    for content in syncs(bob):
        bob.machine.receive(content, since=bob.since)
        bob.since = content["next_batch"]
        bob.settle()
    opened = bob.machine.decrypt_all(ROOM, said)
    assert [one.content["body"] for one in opened if isinstance(one, Decrypted)] == [
        f"I am {event['sender']}" for event in said
    ]
    # Each is asked about once, and of all of them at once when something has changed.
    queries = [request for request in town.made if isinstance(request, KeysQuery)]
    assert Counter(user_id for query in queries for user_id in query.users) == Counter(
        [bob.user_id, *(event["sender"] for event in said)]
    )
    town.made.clear()
    town.changed += [event["sender"] for event in said]
    bob.sync()
    assert Counter(type(request) for request in town.made)[KeysQuery] == 3
    town.made.clear()
    bob.learn_room()
    bob.say("to all of them")
    kinds = Counter(type(request) for request in town.made)
    assert (kinds[KeysQuery], kinds[KeysClaim], kinds[SendToDevice]) == (0, 0, 3)


def test_killed_in_the_middle_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    town = Town()
    bob = Somebody(town, "bob", path=tmp_path / "bob")
    said = strangers_write_to(town, bob, IN_A_SYNC + 20)
    fuse = Fuse(monkeypatch)
    deaths = 0
    for content in syncs(bob):
        for after in (0, 1, 200, 400, 1_000_000):
            fuse.set(bob.store, after)
            try:
                bob.machine.receive(content, since=bob.since)
                bob.settle()
            except Killed:
                deaths += 1
            fuse.remove()
            bob.restart()
        bob.since = content["next_batch"]
    assert deaths == 8
    assert all(isinstance(opened, Decrypted) for opened in bob.machine.decrypt_all(ROOM, said))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_lost_sessions_are_begun_anew_in_batches() -> None:
    town = Town()
    bob = Somebody(town, "bob")
    said = strangers_write_to(town, bob, STRANGERS, in_vain=True)
    town.made.clear()
    bob.sync()
    kinds = Counter(type(request) for request in town.made)
    assert (kinds[KeysQuery], kinds[KeysClaim], kinds[SendToDevice]) == (3, 3, 3)
    assert all(town.box(event["sender"], "PHONE").messages for event in said)
    town.made.clear()
    bob.sync()
    assert not town.made
