"""Rooms that two Synapse servers made, forked and merged: see `tests/vectors/synapse/README.md`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tricord.protocol.authorization import authorize, check_auth_events
from tricord.protocol.events import Event, VerifiedEvent, parse_event, redacted_copy
from tricord.protocol.hashes import content_hash_matches
from tricord.protocol.identifiers import EventId, KeyId, ServerName
from tricord.protocol.numbered_rules import CREATE, StateKey
from tricord.protocol.room_versions import ROOM_VERSIONS
from tricord.protocol.state_resolution import EventsInMemory, resolve
from tricord.protocol.state_resolution.power_order import create_event_id
from tricord.protocol.unpadded_base64 import decode_base64
from tricord.protocol.verify import KeyName, ServerKey, keys_needed, verify

_FOLDER = Path(__file__).parents[1] / "vectors/synapse"
_VIEWS = [(name, number) for name in ROOM_VERSIONS for number in (0, 1)]

each_view = pytest.mark.parametrize(("version", "number"), _VIEWS, ids=str)
State = Mapping[StateKey, EventId]


class View:
    """A room as one of the servers had it: events in its order, and the state it had after each, where it had one."""

    def __init__(self, version: str, number: int) -> None:
        made = json.loads(gzip.decompress((_FOLDER / f"v{version}.json.gz").read_bytes()))
        self.keys: dict[KeyName, ServerKey] = {
            (ServerName(server), KeyId(key_id)): ServerKey(decode_base64(key), 2**62)
            for server, keys in made["keys"].items()
            for key_id, key in keys.items()
        }
        room = made["rooms"][number]
        assert room["room_version"] == version
        self.version = ROOM_VERSIONS[version]
        self.entries: list[dict[str, Any]] = room["events"]
        parsed = [parse_event(json.dumps(entry["pdu"]).encode(), self.version) for entry in self.entries]
        self.events: dict[EventId, Event] = {event.event_id: event for event in parsed}
        self.states: dict[EventId, State] = {}
        numbers: set[int] = set()
        for event, entry in zip(parsed, self.entries, strict=True):
            if "state" in entry:
                added, removed = entry["state"]
                numbers = (numbers | set(added)) - set(removed)
                state = [parsed[one] for one in numbers]
                self.states[event.event_id] = {(one.type, one.state_key or ""): one.event_id for one in state}

    def state(self, state: State) -> dict[StateKey, Event]:
        return {key: self.events[event_id] for key, event_id in state.items()}


view_of = cache(View)


@each_view
def test_ids_hashes_and_signatures_are_right(version: str, number: int) -> None:
    view = view_of(version, number)
    for (event_id, event), entry in zip(view.events.items(), view.entries, strict=True):
        assert event_id == entry["event_id"]
        # Some were redacted before they were sent on, and only what is left of them came through.
        assert content_hash_matches(event.pdu, view.version) or event.pdu == redacted_copy(event).pdu
        assert keys_needed(event) <= view.keys.keys()
        assert verify(event, view.keys) == VerifiedEvent.from_verified(event)
        assert verify(redacted_copy(event), view.keys).event_id == event_id


@each_view
def test_what_synapse_accepted_is_authorized_by_what_it_names(version: str, number: int) -> None:
    view = view_of(version, number)
    for event, entry in zip(view.events.values(), view.entries, strict=True):
        assert "rejected" not in entry
        named = [view.events[auth_event] for auth_event in event.auth_events]
        check_auth_events(event, named)
        state = {(auth_event.type, auth_event.state_key or ""): auth_event for auth_event in named}
        create = create_event_id(event)
        authorize(event, {CREATE: view.events[create], **state} if create else state)


@each_view
def test_forks_resolve_to_the_state_that_synapse_found(version: str, number: int) -> None:
    view = view_of(version, number)
    source = EventsInMemory(view.events)
    after: dict[EventId, State] = {}
    resolutions = 0
    for event, entry in zip(view.events.values(), view.entries, strict=True):
        if "state" not in entry:
            continue  # the far server got it as a part of the room's state when it joined
        if all(event_id in after for event_id in event.prev_events):
            before = [after[event_id] for event_id in event.prev_events]
            resolutions += len(before) > 1 and any(state != before[0] for state in before)
            resolved = resolve(view.version, before, source, source) if before else {}
            authorize(event, view.state(resolved))
            own = {} if event.state_key is None else {(event.type, event.state_key): event.event_id}
            after[event.event_id] = {**resolved, **own}
            assert after[event.event_id] == view.states[event.event_id]
        else:
            after[event.event_id] = view.states[event.event_id]
    assert resolutions >= 4
