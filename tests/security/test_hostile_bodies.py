"""Bodies that are no JSON, JSON that is no event, and events that are too large."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from tests.security.house import House, Somebody

UNFIT = {(400, "M_BAD_JSON"), (400, "M_NOT_JSON")}


def send(room: str, txn: str, event_type: str = "m.room.message") -> str:
    return f"/v3/rooms/{room}/send/{event_type}/{txn}"


async def stored(person: Somebody, room: str, event_id: str) -> Any:
    return await person.granted("GET", f"/v3/rooms/{room}/event/{event_id}")


async def test_half_an_object_is_refused_and_does_not_use_up_the_transaction_id(house: House) -> None:
    path = send(house.room, "t1")
    assert await house.alice.refused("PUT", path, content=b'{"a":') == (400, "M_NOT_JSON")
    answer = await house.alice.granted("PUT", path, {"body": "whole"})
    assert (await stored(house.bob, house.room, answer["event_id"]))["content"] == {"body": "whole"}


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null"])
async def test_what_is_no_object_is_refused_everywhere(house: House, body: bytes) -> None:
    alice, room = house.alice, house.room
    for method, path in (
        ("PUT", send(room, "t1")),
        ("PUT", f"/v3/rooms/{room}/state/m.room.topic/"),
        ("PUT", f"/v3/rooms/{room}/typing/{alice.user_id}"),
        ("PUT", f"/v3/user/{alice.user_id}/account_data/org.example"),
        ("PUT", f"/v3/profile/{alice.user_id}/displayname"),
        ("PUT", f"/v3/presence/{alice.user_id}/status"),
        ("PUT", "/v3/pushrules/global/content/x"),
        ("POST", f"/v3/rooms/{room}/invite"),
        ("POST", f"/v3/rooms/{room}/read_markers"),
        ("POST", f"/v3/user/{alice.user_id}/filter"),
        ("POST", "/v3/createRoom"),
        ("POST", "/v3/login"),
        ("POST", "/v3/register"),
        ("POST", "/v3/publicRooms"),
        ("POST", "/v3/account/password"),
    ):
        assert await alice.refused(method, path, content=body) in UNFIT, path


@pytest.mark.parametrize("body", [b'{"body":"\xff\xfe"}', b'{"body":"\\ud800"}', b'{"body":"\xed\xa0\x80"}'])
async def test_text_that_no_encoding_can_carry_is_refused(house: House, body: bytes) -> None:
    assert await house.alice.refused("PUT", send(house.room, "t1"), content=body) in UNFIT
    assert await house.alice.refused("PUT", f"/v3/profile/{house.alice.user_id}/displayname", content=body) in UNFIT


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400"])
async def test_numbers_that_json_does_not_have_are_refused(house: House, number: bytes) -> None:
    for body in (b'{"n":%b}', b'{"deep":{"list":[1,%b]}}'):
        assert await house.alice.refused("PUT", send(house.room, "t1"), content=body % number) in UNFIT
    path = f"/v3/user/{house.alice.user_id}/account_data/org.example"
    assert await house.alice.refused("PUT", path, content=b'{"n":%b}' % number) in UNFIT


@pytest.mark.parametrize("number", [b"1.5", b"1.0", b"1e3", b"9007199254740992", b"-9007199254740992"])
async def test_numbers_that_events_do_not_have_are_refused(house: House, number: bytes) -> None:
    body = b'{"n":[%b]}' % number
    assert await house.alice.refused("PUT", send(house.room, "t1"), content=body) == (400, "M_BAD_JSON")


@pytest.mark.parametrize(
    ("number", "kept"), [(b"9007199254740991", 2**53 - 1), (b"-9007199254740991", 1 - 2**53), (b"-0", 0)]
)
async def test_the_largest_integers_are_kept_and_minus_zero_is_zero(house: House, number: bytes, kept: int) -> None:
    answer = await house.alice.request("PUT", send(house.room, "t1"), content=b'{"n":%b}' % number)
    assert answer.status_code == 200, answer.text
    path = f"/_matrix/client/v3/rooms/{house.room}/event/{answer.json()['event_id']}"
    raw = (await house.bob.request("GET", path)).content
    assert b'"n":%d' % kept in raw


async def test_integers_that_nobody_can_write_down_again_are_refused(house: House) -> None:
    alice, room = house.alice, house.room
    wide = b'{"order":1%s,"auth_data":{"x":-1%s},"algorithm":"a"}' % (b"0" * 19, b"0" * 19)
    for method, path in (
        ("PUT", f"/v3/user/{alice.user_id}/account_data/org.example"),
        ("PUT", f"/v3/user/{alice.user_id}/rooms/{room}/account_data/org.example"),
        ("PUT", f"/v3/user/{alice.user_id}/rooms/{room}/tags/u.x"),
        ("POST", f"/v3/user/{alice.user_id}/filter"),
        ("POST", "/v3/room_keys/version"),
    ):
        assert await alice.refused(method, path, content=wide) in UNFIT, path
    too_late = f"/v1/rooms/{room}/timestamp_to_event?dir=b&ts={2**63}"
    assert await alice.refused("GET", too_late) == (400, "M_INVALID_PARAM")


async def test_a_nul_is_refused_where_the_database_cannot_keep_it(house: House) -> None:
    alice = house.alice
    status = {"presence": "online", "status_msg": "a\0b"}
    assert await alice.refused("PUT", f"/v3/presence/{alice.user_id}/status", status) in UNFIT
    delayed = "/unstable/org.matrix.msc4140/delayed_events"
    for path in (f"/v1/rooms/{house.room}/hierarchy?from=%00", f"{delayed}?room_id=%00", f"{delayed}?type=a%00"):
        assert await alice.refused("GET", path) == (400, "M_INVALID_PARAM"), path


async def test_a_hundred_thousand_brackets_are_refused_at_once(house: House) -> None:
    started = time.process_time()
    assert (await house.alice.refused("PUT", send(house.room, "t1"), content=b"[" * 100_000))[0] == 400
    assert (await house.alice.refused("PUT", send(house.room, "t1"), content=b'{"a":' * 100_000))[0] == 400
    assert time.process_time() - started < 0.5


def nested(depth: int) -> bytes:
    """Return an object in which `depth` containers lie in each other."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


async def test_deep_content_is_taken_up_to_a_limit(house: House) -> None:
    assert (await house.alice.request("PUT", send(house.room, "t1"), content=nested(100))).status_code == 200
    assert await house.alice.refused("PUT", send(house.room, "t2"), content=nested(129)) == (400, "M_BAD_JSON")


async def test_of_two_values_for_one_key_the_last_counts(house: House) -> None:
    answer = await house.alice.request("PUT", send(house.room, "t1"), content=b'{"body":"a","body":"b"}')
    raw = await house.bob.request("GET", f"/v3/rooms/{house.room}/event/{answer.json()['event_id']}")
    assert raw.content.count(b'"body"') == 1
    assert raw.json()["content"] == {"body": "b"}


@pytest.mark.parametrize("version", ["11", "12"])
async def test_an_event_is_as_large_as_allowed_and_not_a_byte_larger(house: House, version: str) -> None:
    room = house.room if version == "12" else house.old_room
    low, high = 60_000, 65_600
    number = 0
    while high - low > 1:
        middle, number = (low + high) // 2, number + 1
        answer = await house.alice.request("PUT", send(room, f"size{number}"), {"body": "x" * middle})
        if answer.status_code == 200:
            low = middle
        else:
            assert (answer.status_code, answer.json()["errcode"]) == (413, "M_TOO_LARGE")
            high = middle
    filtered = orjson.dumps({"event_format": "federation", "room": {"timeline": {"limit": 50}}}).decode()
    told = await house.bob.sync(filter=filtered)
    largest = max(len(orjson.dumps(event)) for event in told["rooms"]["join"][room]["timeline"]["events"])
    assert 65_530 <= largest <= 65_536


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128])
async def test_types_and_state_keys_of_too_many_bytes_are_refused(house: House, name: str) -> None:
    too_much = {(400, "M_TOO_LARGE"), (413, "M_TOO_LARGE"), (400, "M_INVALID_PARAM"), (400, "M_BAD_JSON")}
    assert await house.alice.refused("PUT", send(house.room, "t1", name), {}) in too_much
    assert await house.alice.refused("PUT", f"/v3/rooms/{house.room}/state/{name}/", {}) in too_much
    assert await house.alice.refused("PUT", f"/v3/rooms/{house.room}/state/org.example/{name}", {}) in too_much
    initial = {"initial_state": [{"type": "org.example", "state_key": name, "content": {}}]}
    assert await house.alice.refused("POST", "/v3/createRoom", initial) in too_much
