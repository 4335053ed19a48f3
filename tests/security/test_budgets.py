"""What is too much, too long or too often for one user to ask of a server that serves others too."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio

from tests.security.house import House, empty_house
from tests.servers import PASSWORD

TOO_MUCH = {(400, "M_TOO_LARGE"), (413, "M_TOO_LARGE"), (400, "M_INVALID_PARAM"), (400, "M_BAD_JSON")}


async def test_a_pattern_full_of_stars_does_not_hold_up_the_room(house: House) -> None:
    text = "a" * 60_000

    async def seconds() -> float:
        times = []
        for _ in range(5):
            started = time.process_time()
            await house.alice.say(house.room, text)
            # Counting what is unread is where patterns are matched.
            await house.bob.sync()
            times.append(time.process_time() - started)
        return statistics.median(times)

    before = await seconds()
    rule = {"pattern": "*a" * 63 + "*b", "actions": ["notify"]}
    await house.bob.granted("PUT", "/v3/pushrules/global/content/stars", rule)
    condition = {"kind": "event_match", "key": "content.body", "pattern": "*a" * 63 + "*b"}
    override = {"conditions": [condition], "actions": ["notify"]}
    await house.bob.granted("PUT", "/v3/pushrules/global/override/stars", override)
    assert await seconds() - before < 0.25


@pytest.mark.parametrize("pattern", ["x" * 1025, "é" * 513, "*" * 129, "*a" * 129])
async def test_a_pattern_that_is_too_long_is_refused(house: House, pattern: str) -> None:
    refusals = {(400, "M_INVALID_PARAM"), (400, "M_BAD_JSON")}
    rule = {"pattern": pattern, "actions": ["notify"]}
    assert await house.bob.refused("PUT", "/v3/pushrules/global/content/long", rule) in refusals
    condition = {"kind": "event_match", "key": "content.body", "pattern": pattern}
    override = {"conditions": [condition], "actions": ["notify"]}
    assert await house.bob.refused("PUT", "/v3/pushrules/global/override/long", override) in refusals


@pytest.mark.parametrize(
    "since",
    ["garbage", "-1", "s1_-1", "s1_", "s1_99999999999", "s1_99999999999999999999999", "s9_1", "s1_1_1", "s1_٣", "%00"],
)
async def test_a_position_that_was_never_given_out_is_refused_at_once(house: House, since: str) -> None:
    with trio.fail_after(20):
        answer = await house.alice.request("GET", "/v3/sync", params={"since": since, "timeout": 30_000})
        assert (answer.status_code, answer.json()["errcode"]) == (400, "M_INVALID_PARAM")
        async with house.alice.websocket(position=since) as socket:
            assert '"M_INVALID_PARAM"' in await socket.get_message()
    for name in ("from", "to"):
        query = {"dir": "b", name: since}
        answer = await house.alice.request("GET", f"/v3/rooms/{house.room}/messages", params=query)
        assert answer.status_code in (200, 400)


async def test_the_position_of_somebody_else_tells_only_ones_own(house: House) -> None:
    theirs = (await house.alice.sync())["next_batch"]
    await house.alice.say(house.room, "for Bob")
    told = await house.outsider.sync(theirs)
    assert "for Bob" not in str(told)


async def test_the_same_request_fifty_times_at_once_makes_one_event(
    house: House, database_url: str, tmp_path: Path
) -> None:
    path = f"/v3/rooms/{house.room}/send/m.room.message/t9"
    answers: list[str] = []

    async def send() -> None:
        answers.append((await house.alice.granted("PUT", path, {"body": "once"}))["event_id"])

    since = (await house.bob.sync())["next_batch"]
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(send)
    assert len(answers) == 50
    assert len(set(answers)) == 1
    told = await house.bob.sync(since)
    timeline = told["rooms"]["join"][house.room]["timeline"]
    assert [event["event_id"] for event in timeline["events"]] == [answers[0]]
    assert (await house.alice.granted("PUT", path, {"body": "another body"}))["event_id"] == answers[0]
    phone = await house.login("alice")
    assert (await phone.granted("PUT", path, {"body": "another device"}))["event_id"] != answers[0]
    # Another process on the same database is what comes after a restart.
    async with empty_house(database_url, tmp_path) as restarted:
        headers = {"Authorization": f"Bearer {house.alice.access_token}"}
        answer = await restarted.put(f"/_matrix/client{path}", json={"body": "again"}, headers=headers)
        assert answer.json()["event_id"] == answers[0]


async def test_profiles_and_aliases_have_a_size_and_a_form(house: House) -> None:
    alice = house.alice
    profile = f"/v3/profile/{alice.user_id}"
    for name, value in (
        ("displayname", "x" * 1_000_000),
        ("displayname", "x" * 1_000),
        ("displayname", 7),
        ("avatar_url", "javascript:alert(1)"),
        ("avatar_url", "https://evil.test/track.png"),
        ("avatar_url", "mxc://hs.test/../../etc/passwd"),
        ("avatar_url", "mxc://" + "x" * 1_000),
    ):
        assert await alice.refused("PUT", f"{profile}/{name}", {name: value}) in TOO_MUCH, (name, str(value)[:30])
    too_large: list[Any] = ["x" * 65_536, {f"key{number}": number for number in range(10_000)}]
    for value in too_large:
        refusal = await alice.refused("PUT", f"{profile}/org.example.large", {"org.example.large": value})
        assert refusal == (400, "M_PROFILE_TOO_LARGE")
    for number in range(100):
        answer = await alice.request("PUT", f"{profile}/org.example.n{number}", {f"org.example.n{number}": "x" * 1_000})
        if answer.status_code != 200:
            break
    assert (answer.status_code, answer.json()["errcode"]) == (400, "M_PROFILE_TOO_LARGE")
    for alias in ("#a\0b:hs.test", "#tea:elsewhere.test", "#tea", "tea:hs.test", "#" + "x" * 255 + ":hs.test"):
        path = f"/v3/directory/room/{quote(alias, safe='')}"
        assert await alice.refused("PUT", path, {"room_id": house.room}) in TOO_MUCH, alias
    assert await alice.granted("GET", profile) is not None


async def test_names_of_things_have_a_length(house: House) -> None:
    alice, long = house.alice, "".join(f"{number:x}" for number in range(2_600))
    user, room = alice.user_id, house.room
    for method, path, body in (
        ("PUT", f"/v3/rooms/{room}/send/m.room.message/{long}", {"body": "x"}),
        ("PUT", f"/v3/user/{user}/account_data/{long}", {}),
        ("PUT", f"/v3/user/{user}/account_data/org.example", {"x": "x" * 600_000}),
        ("PUT", f"/v3/user/{user}/rooms/{room}/tags/{long}", {}),
        ("PUT", f"/v3/pushrules/global/content/{long}", {"pattern": "x", "actions": []}),
        ("PUT", f"/v3/presence/{user}/status", {"presence": "online", "status_msg": long * 10}),
        ("PUT", f"/v3/devices/{alice.device_id}", {"display_name": long}),
        ("POST", f"/v3/user/{user}/filter", {"room": {"rooms": [long] * 100}}),
        ("POST", "/v3/createRoom", {"room_alias_name": long}),
        ("POST", "/v3/createRoom", {"name": "x" * 70_000}),
        ("POST", "/v3/createRoom", {"invite": [f"@u{number}:hs.test" for number in range(10_000)]}),
        ("POST", f"/v3/rooms/{room}/invite", {"user_id": f"@{long}:hs.test"}),
        ("POST", f"/v3/rooms/{room}/kick", {"user_id": house.bob.user_id, "reason": "x" * 70_000}),
        ("POST", "/v3/register", {"username": long, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}),
        ("POST", "/v3/register", {"device_id": long, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}),
        ("POST", f"/v3/rooms/{room}/receipt/m.read/${long}", {}),
        ("POST", f"/v3/rooms/{room}/receipt/{long}/$x", {}),
    ):
        status, errcode = await alice.refused(method, path, body)
        known = TOO_MUCH | {(400, "M_INVALID_USERNAME"), (404, "M_NOT_FOUND"), (400, "M_UNKNOWN")}
        assert (status, errcode) in known, (path[:60], status, errcode)


async def test_filters_cannot_be_stored_without_end(house: House) -> None:
    path = f"/v3/user/{house.alice.user_id}/filter"
    same = {(await house.alice.granted("POST", path, {"room": {}}))["filter_id"] for _ in range(5)}
    assert len(same) == 1


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "-1"},
        {"limit": "x"},
        {"limit": "1e9"},
        {"dir": "sideways"},
        {"from": "x" * 10_000},
        {"filter": "{"},
        {"filter": '{"types": 5}'},
        {"filter": "[" * 5_000},
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(house: House, query: dict[str, str]) -> None:
    answer = await house.alice.request("GET", f"/v3/rooms/{house.room}/messages", params={"dir": "b"} | query)
    assert answer.status_code == 400
    assert answer.json()["errcode"] in ("M_INVALID_PARAM", "M_BAD_JSON", "M_NOT_JSON")


async def test_a_limit_of_a_million_is_a_limit_of_what_the_server_gives(house: House) -> None:
    for path in ("/messages?dir=b&limit=1000000", "/context/{}?limit=1000000"):
        said = await house.alice.say(house.room, "x")
        await house.alice.granted("GET", f"/v3/rooms/{house.room}{path.format(said)}")
    filtered: Any = {"filter": '{"room":{"timeline":{"limit":1000000}}}'}
    await house.alice.sync(**filtered)


async def test_a_room_whose_redactions_go_in_circles_can_be_read(house: House) -> None:
    alice, room = house.alice, house.room
    first = await alice.say(room, "first")
    redaction = (await alice.granted("PUT", f"/v3/rooms/{room}/redact/{first}/r1", {}))["event_id"]
    second = (await alice.granted("PUT", f"/v3/rooms/{room}/redact/{redaction}/r2", {}))["event_id"]
    await alice.granted("PUT", f"/v3/rooms/{room}/redact/{second}/r3", {})
    with trio.fail_after(60):
        await house.bob.sync()
        await house.bob.granted("GET", f"/v3/rooms/{room}/event/{first}")
        await house.bob.granted("GET", f"/v3/rooms/{room}/messages?dir=b&limit=100")


async def test_redacting_the_creation_of_a_room_does_not_change_the_room(house: House) -> None:
    for room, version in ((house.room, "12"), (house.old_room, "11")):
        state = await house.alice.granted("GET", f"/v3/rooms/{room}/state")
        create = next(event for event in state if event["type"] == "m.room.create")
        await house.alice.request("PUT", f"/v3/rooms/{room}/redact/{create['event_id']}/r", {})
        content = await house.bob.granted("GET", f"/v3/rooms/{room}/state/m.room.create/")
        assert content["room_version"] == version
        await house.bob.say(room, "it still stands")


async def test_nobody_redacts_the_event_of_another_or_of_another_room(house: House) -> None:
    said = await house.alice.say(house.room, "mine")
    path = f"/v3/rooms/{house.room}/redact/{said}/r1"
    assert await house.bob.refused("PUT", path, {}) == (403, "M_FORBIDDEN")
    own = await house.bob.create_room(preset="private_chat")
    path = f"/v3/rooms/{own}/redact/{said}/r2"
    status, errcode = await house.bob.refused("PUT", path, {})
    assert (status, errcode) in {(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND"), (400, "M_INVALID_PARAM")}
    event = await house.alice.granted("GET", f"/v3/rooms/{house.room}/event/{said}")
    assert event["content"]["body"] == "mine"
