from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.scenes import ALICE, ALL_VERSIONS, Room
from tests.protocol.vectors import load
from tricord.protocol.errors import BadJson, NotJson, TooLarge
from tricord.protocol.events import Event, VerifiedEvent, parse_event
from tricord.protocol.hashes import content_hash_matches
from tricord.protocol.identifiers import EventId
from tricord.protocol.room_versions import ROOM_VERSIONS, V1, V5, V6, V10, V11, V12, RoomVersion

EXAMPLES = load("pdu_examples")["examples"].values()
REFUSALS = (NotJson, BadJson, TooLarge)
MALFORMED: dict[str, list[Any]] = {
    "room_id": [None, "room", 5],
    "sender": [None, "alice", "@alice", 5, "@a:b c"],
    "type": [None, 5],
    "state_key": [5],
    "content": [None, [], "x", 5],
    "depth": [None, "1", -1, 1.5, True, 2**63],
    "origin_server_ts": [None, "1", 1.5, True],
    "hashes": [None, []],
    "signatures": [None, [], {"a": []}, {"a": 5}],
    "unsigned": [[]],
    "prev_events": [None, {}, [5], [[]], [["$a:b"]], [["$a:b", {}, 1]], [["$a:b", 5]], [None]],
    "auth_events": [None, [{}]],
}

each_version = pytest.mark.parametrize("version", ALL_VERSIONS, ids=lambda version: version.name)


def message(version: RoomVersion, **changes: Any) -> dict[str, Any]:
    """Return a message as a PDU, with keys changed or (None) taken away."""
    pdu = {**Room(version).event(ALICE, "m.room.message", None, {"body": "hello"}).pdu, **changes}
    return {key: value for key, value in pdu.items() if value is not None}


def all_of(example: dict[str, Any]) -> dict[str, Any]:
    """Return an example with the parts it is made of laid over each other."""
    merged = {key: value for key, value in example.items() if key != "allOf"}
    for part in example.get("allOf", []):
        merged |= all_of(part)
    return merged


@each_version
def test_what_is_built_is_read_back_the_same(version: RoomVersion) -> None:
    event = Room(version).event(ALICE, "m.room.name", "", {"name": "☃"})
    read = parse_event(event.json, version)
    assert VerifiedEvent.from_verified(read) == event
    assert VerifiedEvent.from_stored(event.json, version, event.event_id) == event
    assert parse_event(event.pdu, version) == read
    assert content_hash_matches(event.pdu, version)
    assert isinstance(event, VerifiedEvent)
    assert not isinstance(read, VerifiedEvent)


@each_version
def test_what_recurs_in_the_events_of_a_room_is_in_memory_once(version: RoomVersion) -> None:
    room = Room(version)
    made = [room.event(ALICE, "m.room.message", None, {"body": text}) for text in ("one", "two")]
    one, two = (VerifiedEvent.from_stored(event.json, version, event.event_id) for event in made)
    assert one.sender is two.sender
    assert one.type is two.type
    assert one.room_id is two.room_id
    assert all(mine is its for mine, its in zip(one.auth_events, two.auth_events, strict=True))


@each_version
def test_who_changes_the_pdu_they_are_given_changes_no_event(version: RoomVersion) -> None:
    event = Room(version).event(ALICE, "m.room.message", None, {"body": "hello"})
    event.pdu["content"]["body"] = "bye"
    assert event.pdu["content"] == event.content == {"body": "hello"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["room_versions"])
def test_the_examples_of_the_specification_have_the_right_shape(example: dict[str, Any]) -> None:
    first, _, last = example["room_versions"].partition("-")
    pdu = all_of(example["event"])
    for number in range(int(first), int(last or first) + 1):
        event = parse_event(pdu, ROOM_VERSIONS[str(number)])
        assert event.prev_events
        assert event.auth_events


@each_version
@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in MALFORMED.items() for value in values])
def test_malformed_events_are_refused(version: RoomVersion, key: str, value: Any) -> None:
    with pytest.raises(BadJson):
        parse_event(message(version, **{key: value}), version)


def reference(number: int, version: RoomVersion) -> Any:
    return [f"${number}:a.test", {}] if version.references_carry_hashes else f"${number:043}"


@each_version
@pytest.mark.parametrize(("key", "most"), [("prev_events", 20), ("auth_events", 10)])
def test_an_event_refers_to_only_so_many(version: RoomVersion, key: str, most: int) -> None:
    references = [reference(number, version) for number in range(most + 1)]
    parse_event(message(version, **{key: references[:-1]}), version)
    with pytest.raises(BadJson):
        parse_event(message(version, **{key: references}), version)


@each_version
def test_an_event_of_65536_bytes_is_the_largest(version: RoomVersion) -> None:
    room = Room(version)
    length = 65_536 - len(room.event(ALICE, "m.room.message", None, {"body": ""}).json)
    largest = room.event(ALICE, "m.room.message", None, {"body": "x" * length})
    assert len(largest.json) == 65_536
    assert parse_event(largest.json, version).event_id == largest.event_id
    with pytest.raises(TooLarge):
        room.event(ALICE, "m.room.message", None, {"body": "x" * (length + 1)})


@each_version
def test_whitespace_does_not_count(version: RoomVersion) -> None:
    event = Room(version).event(ALICE, "m.room.message", None, {"body": "x" * 50_000})
    spaced = json.dumps(event.pdu, indent=20_000).encode()
    assert parse_event(spaced, version).json == event.json


@each_version
@pytest.mark.parametrize("key", ["type", "state_key"])
def test_keys_take_255_bytes_or_in_older_rooms_255_code_points(version: RoomVersion, key: str) -> None:
    parse_event(message(version, **{key: "x" * 255}), version)
    for too_long in ("x" * 256, "é" * 256):
        with pytest.raises(TooLarge):
            parse_event(message(version, **{key: too_long}), version)
    with pytest.raises(TooLarge) if version.key_sizes_are_in_bytes else contextlib.nullcontext():
        parse_event(message(version, **{key: "é" * 128}), version)


@pytest.mark.parametrize("content", [{"a": 1.5}, {"a": 2**53}, {"a": [10**30]}], ids=repr)
def test_odd_numbers_live_on_in_the_rooms_that_have_them(content: dict[str, Any]) -> None:
    event = Room(V5).event(ALICE, "m.room.message", None, content)
    assert parse_event(event.json, V5).content == content
    assert VerifiedEvent.from_stored(event.json, V5, event.event_id).content == content
    with pytest.raises(BadJson):
        Room(V6).event(ALICE, "m.room.message", None, content)
    with pytest.raises(BadJson):
        parse_event(message(V6, content=content), V6)


@pytest.mark.parametrize(("version", "deepest"), [(V1, 2**63 - 1), (V6, 2**53 - 1), (V12, 2**53 - 1)])
def test_the_depth_stops_at_its_limit(version: RoomVersion, deepest: int) -> None:
    assert parse_event(message(version, depth=deepest), version).depth == deepest
    with pytest.raises(BadJson):
        parse_event(message(version, depth=deepest + 1), version)
    assert Room(version).event(ALICE, "x", None, {}, depth=deepest + 1).depth == deepest


def test_a_chosen_id_is_on_the_event_and_a_hash_is_not() -> None:
    assert message(V1)["event_id"].endswith(":a.test")
    with pytest.raises(BadJson):
        parse_event(message(V1, event_id=None), V1)
    with pytest.raises(BadJson):
        parse_event(message(V12, event_id="$a:b"), V12)


def test_the_first_event_of_a_new_room_gives_it_its_id() -> None:
    create = Room(V12).state["m.room.create", ""]
    assert "room_id" not in create.pdu
    assert create.room_id == "!" + create.event_id[1:]
    assert parse_event(create.json, V12).room_id == create.room_id


def test_a_redaction_names_its_target_where_the_version_keeps_it() -> None:
    target = EventId("$target:a.test")
    for version in ALL_VERSIONS:
        event = Room(version).event(ALICE, "m.room.redaction", None, {"reason": "x"}, redacts=target)
        assert event.redacts == target
        assert ("redacts" in event.content) is version.redacts_in_content
        assert ("redacts" in event.pdu) is not version.redacts_in_content
        assert VerifiedEvent.from_stored(event.json, version, event.event_id).redacts == target
    values: list[Any] = [None, 5, {}]
    for redacts in values:
        assert parse_event(message(V10, type="m.room.redaction", redacts=redacts), V10).redacts is None
        redaction = message(V11, type="m.room.redaction", content={"redacts": redacts})
        assert parse_event(redaction, V11).redacts is None


def test_known_hashes_go_into_the_references_of_the_oldest_rooms() -> None:
    room = Room(V1)
    event = room.event(ALICE, "x", None, {}, reference_hashes={room.tip[0]: "abc"})
    assert event.pdu["prev_events"] == [[room.tip[0], {"sha256": "abc"}]]
    assert event.prev_events == room.tip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PDUS = st.builds(
    lambda version, changes, without: (
        version,
        {key: value for key, value in {**message(version), **changes}.items() if key not in without},
    ),
    st.sampled_from(ALL_VERSIONS),
    st.dictionaries(st.sampled_from([*message(V1), "state_key", "unsigned", "redacts"]) | st.text(), JSON, max_size=4),
    st.sets(st.sampled_from(list(message(V1))), max_size=1),
)


@given(PDUS)
def test_any_object_is_an_event_or_a_documented_refusal(case: tuple[RoomVersion, dict[str, Any]]) -> None:
    version, pdu = case
    with contextlib.suppress(*REFUSALS):
        event = parse_event(pdu, version)
        assert parse_event(event.json, version).event_id == event.event_id


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()), st.sampled_from(ALL_VERSIONS))
def test_any_bytes_are_an_event_or_a_documented_refusal(data: bytes, version: RoomVersion) -> None:
    with contextlib.suppress(*REFUSALS):
        parse_event(data, version)


def test_an_event_is_known_by_its_id() -> None:
    event = Room(V12).event(ALICE, "x", None, {})
    assert repr(event) == f"<VerifiedEvent {event.event_id} x>"
    assert {event, parse_event(event.json, V12)} == {event, parse_event(event.json, V12)}
    assert hash(event) == hash(event.event_id)
    assert isinstance(event, Event)
