"""What a server is told of rooms, users and the server itself, in the words of the specification.

https://spec.matrix.org/v1.19/server-server-api/#retrieving-events
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from tests.conversations.scene import Scene
from tricord.protocol.identifiers import EventId, RoomId

_FEDERATION = "/_matrix/federation/v1"
NONE = EventId("$" + "x" * 43)


def uri_of(path: str, query: dict[str, Any]) -> str:
    return f"{_FEDERATION}/{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")


async def asked(scene: Scene, path: str, **query: Any) -> Any:
    """Ask, as a server in the room, for what is to be had."""
    return await scene.evil.granted(scene.hs, "GET", uri_of(path, query))


async def refused(scene: Scene, path: str, **query: Any) -> tuple[int, str]:
    """Ask for what is not to be had."""
    answer = await scene.evil.request(scene.hs, "GET", uri_of(path, query))
    return answer.status_code, answer.json()["errcode"]


def ids(scene: Scene, pdus: list[Any]) -> list[EventId]:
    return [scene.evil.signed(pdu, scene.room.version, keep_hash=True).event_id for pdu in pdus]


async def said(scene: Scene, number: int) -> list[EventId]:
    """Have alice say some things, the oldest first."""
    return [await scene.alice.send_text(scene.room.room_id, f"number {n}") for n in range(number)]


# Events


async def test_an_event_comes_in_the_wrapping_of_a_transaction(scene: Scene) -> None:
    [event_id] = await said(scene, 1)
    told = await asked(scene, f"event/{quote(event_id)}")
    assert told.keys() == {"origin", "origin_server_ts", "pdus"}
    assert told["origin"] == scene.hs
    assert ids(scene, told["pdus"]) == [event_id]
    assert await refused(scene, f"event/{NONE}") == (404, "M_NOT_FOUND")


async def test_a_question_mark_without_a_question_is_signed_too(scene: Scene) -> None:
    [event_id] = await said(scene, 1)
    for path in (f"event/{quote(event_id)}", f"event_auth/{quote(scene.room.room_id)}/{quote(event_id)}"):
        for uri in (f"{_FEDERATION}/{path}", f"{_FEDERATION}/{path}?", f"{_FEDERATION}/{path}??"):
            await scene.evil.granted(scene.hs, "GET", uri)


async def test_backfill_gives_the_events_that_are_named_and_those_before_them(scene: Scene) -> None:
    events = await said(scene, 5)
    path = f"backfill/{quote(scene.room.room_id)}"
    told = await asked(scene, path, v=[events[4]], limit=3)
    assert told.keys() == {"origin", "origin_server_ts", "pdus"}
    assert ids(scene, told["pdus"]) == [events[4], events[3], events[2]]
    both = await asked(scene, path, v=[events[4], events[1]], limit=4)
    assert set(ids(scene, both["pdus"])) == {events[4], events[3], events[1], events[0]}
    assert (await asked(scene, path, v=[events[4]], limit=0))["pdus"] == []
    assert (await asked(scene, path, v=[NONE], limit=10))["pdus"] == []
    everything = await asked(scene, path, v=[events[4]], limit=1_000_000)
    assert "m.room.create" in {pdu["type"] for pdu in everything["pdus"]}
    assert await refused(scene, path, limit=3) == (400, "M_MISSING_PARAM")
    assert await refused(scene, path, v=[events[4]]) == (400, "M_MISSING_PARAM")


async def test_missing_events_are_those_between(scene: Scene) -> None:
    events = await said(scene, 12)
    depths = {event_id: (await asked(scene, f"event/{quote(event_id)}"))["pdus"][0]["depth"] for event_id in events}

    async def missing(**body: Any) -> list[EventId]:
        uri = f"{_FEDERATION}/get_missing_events/{quote(scene.room.room_id)}"
        told = await scene.evil.granted(scene.hs, "POST", uri, {"earliest_events": [], "latest_events": [], **body})
        return ids(scene, told["events"])

    assert await missing(earliest_events=[events[3]], latest_events=[events[7]]) == events[4:7]
    assert await missing(latest_events=[events[11]], limit=3) == events[8:11]
    # "Defaults to 10."
    assert await missing(latest_events=[events[11]]) == events[1:11]
    assert await missing(latest_events=[events[11]], min_depth=depths[events[9]]) == events[9:11]
    assert await missing(latest_events=[events[11]], limit=0) == []
    assert await missing(earliest_events=[events[11]], latest_events=[events[11]]) == []
    assert await missing() == []
    assert len(await missing(latest_events=[events[11]], limit=1_000_000)) <= 50


async def test_what_was_soft_failed_is_told_where_it_is_named_or_stood_on(scene: Scene) -> None:
    room, evil = scene.room, scene.evil
    levels = dict(room.state["m.room.power_levels", ""].content)
    quiet = await scene.alice.set_state(room.room_id, "m.room.power_levels", {**levels, "events_default": 50})
    late = evil.says(room, scene.mallory, "from before I had to be quiet")
    assert (await evil.send(scene.hs, [late])).json()["pdus"] == {late.event_id: {}}
    assert not await scene.is_shown(late.event_id)
    assert ids(scene, (await asked(scene, f"event/{quote(late.event_id)}"))["pdus"]) == [late.event_id]
    path = f"backfill/{quote(room.room_id)}"
    assert late.event_id not in ids(scene, (await asked(scene, path, v=[quiet], limit=100))["pdus"])
    assert late.event_id in ids(scene, (await asked(scene, path, v=[late.event_id], limit=100))["pdus"])
    # Nothing that is said here stands on it.
    after = await scene.alice.send_text(room.room_id, "after it")
    told = await asked(scene, f"event/{quote(after)}")
    assert told["pdus"][0]["prev_events"] == [quiet]
    await scene.alice.set_state(room.room_id, "m.room.power_levels", levels)


async def test_the_state_is_that_before_the_event_with_all_that_vouches_for_it(scene: Scene) -> None:
    room_id = scene.room.room_id
    first = await scene.alice.set_state(room_id, "m.room.topic", {"topic": "first"})
    second = await scene.alice.set_state(room_id, "m.room.topic", {"topic": "second"})
    whole = await asked(scene, f"state/{quote(room_id)}", event_id=second)
    named = await asked(scene, f"state_ids/{quote(room_id)}", event_id=second)
    assert set(ids(scene, whole["pdus"])) == set(named["pdu_ids"])
    assert set(ids(scene, whole["auth_chain"])) == set(named["auth_chain_ids"])
    assert first in named["pdu_ids"]
    assert second not in named["pdu_ids"]
    vouching = {auth_id for pdu in [*whole["pdus"], *whole["auth_chain"]] for auth_id in pdu["auth_events"]}
    assert vouching <= set(named["auth_chain_ids"])
    chain = (await asked(scene, f"event_auth/{quote(room_id)}/{quote(second)}"))["auth_chain"]
    (topic,) = (await asked(scene, f"event/{quote(second)}"))["pdus"]
    assert set(topic["auth_events"]) <= set(ids(scene, chain))
    assert second not in ids(scene, chain)
    other = await scene.shared_room("12")
    hidden = await scene.alice.create_room(preset="private_chat")
    for kind in ("state", "state_ids"):
        assert await refused(scene, f"{kind}/{quote(room_id)}", event_id=NONE) == (404, "M_NOT_FOUND")
        assert await refused(scene, f"{kind}/{quote(other.room_id)}", event_id=second) == (404, "M_NOT_FOUND")
        assert await refused(scene, f"{kind}/{quote(hidden)}", event_id=second) == (403, "M_FORBIDDEN")
    assert await refused(scene, f"event_auth/{quote(hidden)}/{quote(second)}") == (403, "M_FORBIDDEN")


async def test_the_closest_event_to_a_time_is_named_with_its_time(scene: Scene) -> None:
    events = await said(scene, 2)
    path = f"timestamp_to_event/{quote(scene.room.room_id)}"
    last = await asked(scene, path, ts=2**52, dir="b")
    assert last.keys() == {"event_id", "origin_server_ts"}
    assert last["event_id"] == events[1]
    (pdu,) = (await asked(scene, f"event/{quote(events[1])}"))["pdus"]
    assert pdu["origin_server_ts"] == last["origin_server_ts"]
    first = await asked(scene, path, ts=0, dir="f")
    (pdu,) = (await asked(scene, f"event/{quote(first['event_id'])}"))["pdus"]
    assert pdu["origin_server_ts"] == first["origin_server_ts"] <= last["origin_server_ts"]
    assert await refused(scene, path, ts=2**52, dir="f") == (404, "M_NOT_FOUND")
    assert await refused(scene, path, ts=0, dir="b") == (404, "M_NOT_FOUND")


# Questions


async def test_questions_are_answered_about_what_is_of_this_server(scene: Scene) -> None:
    alice = scene.alice.user_id
    room_id = await scene.alice.create_room(preset="public_chat", alias="square")
    told = await asked(scene, "query/directory", room_alias=f"#square:{scene.hs}")
    assert told == {"room_id": room_id, "servers": [scene.hs]}
    assert await refused(scene, "query/directory", room_alias=f"#none:{scene.hs}") == (404, "M_NOT_FOUND")
    assert await refused(scene, "query/directory") == (400, "M_MISSING_PARAM")
    await scene.alice.set_profile("displayname", "Alice A.")
    whole = await asked(scene, "query/profile", user_id=alice)
    assert whole["displayname"] == "Alice A."
    assert await asked(scene, "query/profile", user_id=alice, field="displayname") == {"displayname": "Alice A."}
    # "MUST either exclude it from the response body or give it the value null."
    assert (await asked(scene, "query/profile", user_id=alice, field="avatar_url")).get("avatar_url") is None
    for user_id in (f"@nobody:{scene.hs}", scene.frank):
        assert (await refused(scene, "query/profile", user_id=user_id))[0] == 404
    assert (await refused(scene, "query/weather"))[0] == 404
    assert (await asked(scene, "version"))["server"].keys() == {"name", "version"}


async def test_an_openid_token_that_is_not_known_is_no_token(scene: Scene) -> None:
    for query in ("?access_token=nonsense", "?access_token="):
        answer = await scene.evil.request(scene.hs, "GET", f"{_FEDERATION}/openid/userinfo{query}", headers={})
        assert (answer.status_code, answer.json()["errcode"]) == (401, "M_UNKNOWN_TOKEN")


async def test_spaces_show_what_the_asking_server_could_see(scene: Scene) -> None:
    alice = scene.alice
    rooms: dict[str, RoomId] = {
        "public": await alice.create_room(preset="public_chat", name="public"),
        "private": await alice.create_room(preset="private_chat", name="private"),
    }
    space = await alice.create_room(preset="public_chat", creation_content={"type": "m.space"})
    for name, room_id in rooms.items():
        content = {"via": [scene.hs], "suggested": name == "private"}
        await alice.set_state(space, "m.space.child", content, room_id)
    await alice.set_state(space, "m.space.child", {"via": ["other.test"]}, "!elsewhere:other.test")
    told = await asked(scene, f"hierarchy/{quote(space)}")
    assert {child["state_key"] for child in told["room"]["children_state"]} == {
        *rooms.values(),
        "!elsewhere:other.test",
    }
    assert all(
        {"type", "state_key", "sender", "content", "origin_server_ts"} <= child.keys()
        for child in told["room"]["children_state"]
    )
    assert [child["room_id"] for child in told["children"]] == [rooms["public"]]
    # Rooms of which this server can say nothing are "outright excluded".
    assert told["inaccessible_children"] == [rooms["private"]]
    suggested = await asked(scene, f"hierarchy/{quote(space)}", suggested_only="true")
    assert (suggested["children"], suggested["inaccessible_children"]) == ([], [rooms["private"]])
    plain = await asked(scene, f"hierarchy/{quote(rooms['public'])}")
    assert (plain["room"]["children_state"], plain["children"]) == ([], [])
    for hidden in (rooms["private"], "!none:hs.test"):
        assert await refused(scene, f"hierarchy/{quote(hidden)}") == (404, "M_NOT_FOUND")


async def test_a_directory_is_told_page_by_page_and_filtered(scene: Scene) -> None:
    for name in ("Red", "Green", "Blue"):
        await scene.alice.create_room(preset="public_chat", visibility="public", name=name)
    await scene.alice.create_room(
        preset="public_chat", visibility="public", name="Space", creation_content={"type": "m.space"}
    )
    first = await asked(scene, "publicRooms", limit=3)
    assert first["total_room_count_estimate"] == 4
    rest = await asked(scene, "publicRooms", limit=3, since=first["next_batch"])
    assert len({room["room_id"] for room in [*first["chunk"], *rest["chunk"]]}) == 4
    assert "next_batch" not in rest
    assert len((await asked(scene, "publicRooms"))["chunk"]) == 4
    assert len((await asked(scene, "publicRooms", limit=0))["chunk"]) == 4
    for wanted, names in (
        ({"generic_search_term": "re"}, {"Red", "Green"}),
        ({"room_types": ["m.space"]}, {"Space"}),
        ({"room_types": [None]}, {"Red", "Green", "Blue"}),
        ({"room_types": [None, "m.space"], "generic_search_term": "SPACE"}, {"Space"}),
        ({}, {"Red", "Green", "Blue", "Space"}),
    ):
        told = await scene.evil.granted(scene.hs, "POST", f"{_FEDERATION}/publicRooms", {"filter": wanted})
        assert {room["name"] for room in told["chunk"]} == names
    bridged = {"third_party_instance_id": "irc"}
    assert (await scene.evil.granted(scene.hs, "POST", f"{_FEDERATION}/publicRooms", bridged))["chunk"] == []
