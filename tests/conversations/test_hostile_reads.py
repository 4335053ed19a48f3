"""A peer that asks for what it must not see, and one whose well-formed events say odd things."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.conversations.hostile import Peer
from tests.conversations.scene import Scene, hostile_scene
from tests.conversations.towns import heard
from tests.postgres import PostgresServer
from tricord.protocol.events import parse_event
from tricord.protocol.identifiers import EventId, RoomId
from tricord.protocol.room_versions import room_version

_FEDERATION = "/_matrix/federation/v1"


def questions(room_id: RoomId, event_id: EventId) -> list[tuple[str, str, Any]]:
    """Return every request by which a server reads a room."""
    room, event = quote(room_id), quote(event_id)
    missing = {"earliest_events": [], "latest_events": [event_id], "limit": 10}
    return [
        ("GET", f"{_FEDERATION}/event/{event}", None),
        ("GET", f"{_FEDERATION}/event_auth/{room}/{event}", None),
        ("GET", f"{_FEDERATION}/state/{room}?event_id={event}", None),
        ("GET", f"{_FEDERATION}/state_ids/{room}?event_id={event}", None),
        ("GET", f"{_FEDERATION}/backfill/{room}?v={event}&limit=10", None),
        ("POST", f"{_FEDERATION}/get_missing_events/{room}", missing),
        ("GET", f"{_FEDERATION}/timestamp_to_event/{room}?ts=1&dir=f", None),
    ]


async def is_told_nothing(scene: Scene, peer: Peer, room_id: RoomId, event_id: EventId) -> None:
    for method, uri, body in questions(room_id, event_id):
        answer = await peer.request(scene.hs, method, uri, body)
        assert answer.status_code in (403, 404), (uri, answer.text)
        assert answer.json()["errcode"] in ("M_FORBIDDEN", "M_NOT_FOUND")


async def test_rooms_that_a_server_is_not_in_are_not_shown_to_it(scene: Scene) -> None:
    secret = await scene.alice.create_room(preset="private_chat")
    said = await scene.alice.send_text(secret, "between us")
    await is_told_nothing(scene, scene.evil, secret, said)
    # Nor under the name of a room that it is in.
    for method, uri, body in questions(scene.room.room_id, said):
        answer = await scene.evil.request(scene.hs, method, uri, body)
        assert "between us" not in answer.text
        assert secret not in answer.text
    for act in ("join", "leave", "knock"):
        uri = f"{_FEDERATION}/make_{act}/{quote(secret)}/{quote(scene.mallory)}"
        assert (await scene.evil.request(scene.hs, "GET", uri)).status_code in (400, 403, 404)


async def test_a_server_that_was_kicked_is_shown_nothing_more(scene: Scene) -> None:
    room_id = scene.room.room_id
    said = await scene.alice.send_text(room_id, "before")
    await scene.alice.kick(room_id, scene.mallory)
    after = await scene.alice.send_text(room_id, "after")
    await is_told_nothing(scene, scene.evil, room_id, said)
    await is_told_nothing(scene, scene.evil, room_id, after)
    late = scene.evil.says(scene.room, scene.mallory, "still here")
    await scene.evil.send(scene.hs, [late])
    assert not await scene.is_shown(late.event_id)
    await scene.evil.join(scene.hs, room_id, scene.mallory)


async def test_a_server_that_is_shut_out_takes_no_part(scene: Scene) -> None:
    room_id = scene.room.room_id
    said = await scene.alice.send_text(room_id, "before")
    nancy = await scene.evil.member_event(scene.hs, room_id, scene.evil.user("nancy"))
    for name in ("evil.test", "*.test", "EVIL.*"):
        acl = {"allow": ["*"], "deny": [name], "allow_ip_literals": False}
        if name == "*.test":
            acl = {"allow": ["hs.test", "fair.test"]}
        await scene.alice.set_state(room_id, "m.room.server_acl", acl)
        await is_told_nothing(scene, scene.evil, room_id, said)
        late = scene.evil.says(scene.room, scene.mallory, f"still here {name}")
        results = (await scene.evil.send(scene.hs, [late])).json()["pdus"]
        assert "error" in results[late.event_id]
        typing = {"room_id": room_id, "user_id": scene.mallory, "typing": True}
        await scene.evil.send(scene.hs, [], [{"edu_type": "m.typing", "content": typing}])
        assert (await scene.evil.request(scene.hs, "PUT", scene.evil.handed(nancy), nancy.pdu)).status_code == 403
        assert not await scene.is_shown(late.event_id)
        assert scene.mallory not in repr((await scene.bob.sync())["rooms"]["join"][room_id].get("ephemeral"))
    await scene.alice.set_state(room_id, "m.room.server_acl", {"allow": ["*"]})


@pytest.mark.parametrize("visibility", ["joined", "invited"])
async def test_what_was_said_before_a_server_came_is_shown_redacted(scene: Scene, visibility: str) -> None:
    rule = {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": visibility}}
    room_id = await scene.alice.create_room(preset="public_chat", initial_state=[rule])
    said = await scene.alice.send_text(room_id, "before you came")
    await scene.evil.join(scene.hs, room_id, scene.mallory)
    after = await scene.alice.send_text(room_id, "since you came")
    for method, uri, body in [*questions(room_id, after), *questions(room_id, said)]:
        answer = await scene.evil.request(scene.hs, method, uri, body)
        assert answer.status_code == 200, (uri, answer.text)
        assert "before you came" not in answer.text, uri
    shown = await scene.evil.granted(scene.hs, "GET", f"{_FEDERATION}/event/{quote(said)}")
    (pdu,) = shown["pdus"]
    assert pdu["content"] == {}
    assert parse_event(pdu, room_version("12")).event_id == said


async def test_odd_questions_are_answered_with_a_refusal(scene: Scene) -> None:
    room = quote(scene.room.room_id)
    event = quote(scene.room.ends[0].event_id)
    odd: list[tuple[str, str, Any]] = [
        ("GET", f"{_FEDERATION}/event/%00", None),
        ("GET", f"{_FEDERATION}/event/" + "x" * 5000, None),
        ("GET", f"{_FEDERATION}/backfill/{room}?limit=10", None),
        ("GET", f"{_FEDERATION}/backfill/{room}?v=$%00:x&limit=10", None),
        ("GET", f"{_FEDERATION}/backfill/{room}?v={event}&limit=-1", None),
        ("GET", f"{_FEDERATION}/backfill/{room}?v={event}&limit=1e9", None),
        ("GET", f"{_FEDERATION}/backfill/{room}?v={event}&limit=" + "9" * 40, None),
        ("GET", f"{_FEDERATION}/state/{room}", None),
        ("GET", f"{_FEDERATION}/state/{room}?event_id=%00", None),
        ("GET", f"{_FEDERATION}/state/!nowhere:x?event_id={event}", None),
        ("GET", f"{_FEDERATION}/timestamp_to_event/{room}?ts={10**30}&dir=f", None),
        ("GET", f"{_FEDERATION}/timestamp_to_event/{room}?ts=-{2**63}&dir=b", None),
        ("GET", f"{_FEDERATION}/timestamp_to_event/{room}?ts=1&dir=x", None),
        ("POST", f"{_FEDERATION}/get_missing_events/{room}", {"earliest_events": ["\0"], "latest_events": []}),
        ("POST", f"{_FEDERATION}/get_missing_events/{room}", {"earliest_events": [], "latest_events": ["$x:y"] * 2000}),
        ("POST", f"{_FEDERATION}/get_missing_events/{room}", {"earliest_events": [], "latest_events": [], "limit": -1}),
        ("POST", f"{_FEDERATION}/get_missing_events/{room}", {"earliest_events": 7, "latest_events": None}),
        ("GET", f"{_FEDERATION}/make_join/{room}/@x", None),
        ("GET", f"{_FEDERATION}/make_join/{room}/{quote(scene.frank)}", None),
        ("GET", f"{_FEDERATION}/make_join/{room}/{quote(scene.alice.user_id)}", None),
        ("GET", f"{_FEDERATION}/make_join/%00/{quote(scene.mallory)}", None),
        ("GET", f"{_FEDERATION}/make_join/{room}/{quote(scene.mallory)}?ver=1", None),
        ("GET", f"{_FEDERATION}/query/directory?room_alias=%00", None),
        ("GET", f"{_FEDERATION}/query/directory?room_alias=%23x:other.test", None),
        ("GET", f"{_FEDERATION}/query/profile?user_id=@x:other.test", None),
        ("GET", f"{_FEDERATION}/query/profile?user_id=%00", None),
        ("GET", f"{_FEDERATION}/query/%00", None),
        ("GET", f"{_FEDERATION}/publicRooms?limit=-1", None),
        ("GET", f"{_FEDERATION}/publicRooms?since=%00", None),
        ("POST", f"{_FEDERATION}/publicRooms", {"filter": {"generic_search_term": "\0"}}),
    ]
    for method, uri, body in odd:
        answer = await scene.evil.request(scene.hs, method, uri, body)
        assert answer.status_code < 500, (uri, answer.text)
        if answer.status_code >= 400:
            assert answer.json()["errcode"].startswith("M_"), uri


_ODD: tuple[Any, ...] = (
    {},
    {"membership": "join", "displayname": 7, "avatar_url": [], "reason": {}},
    {"membership": "join", "displayname": "\0\u202e" * 100, "avatar_url": "javascript:alert(1)"},
    {"name": {}, "topic": [], "url": 7, "alias": {}, "alt_aliases": 7, "m.topic": 7},
    {"history_visibility": []},
    {"history_visibility": {"x": 1}},
    {"join_rule": [], "allow": 7},
    {"join_rule": "restricted", "allow": [None, 7, {"type": "m.room_membership"}, {"type": [], "room_id": {}}]},
    {"guest_access": {}},
    {"deny": "evil", "allow": {"x": 1}, "allow_ip_literals": "no"},
    {"deny": [7, None, "*" * 20_000 + "b"], "allow": ["*", {}]},
    {"algorithm": [], "rotation_period_ms": "x"},
    {"pinned": {"x": 1}},
    {"via": 7, "suggested": "x", "order": {}},
    {"replacement_room": 7, "body": []},
    {"body": [], "msgtype": {}, "format": 7, "formatted_body": {}},
    {"m.mentions": 7},
    {"m.mentions": {"user_ids": 7, "room": "yes"}},
    {"m.relates_to": 7},
    {"m.relates_to": {"rel_type": [], "event_id": {}}},
    {"m.relates_to": {"rel_type": "m.thread", "event_id": "$\0", "m.in_reply_to": 7}},
    {"m.relates_to": {"rel_type": "m\0", "event_id": "$" + "x" * 43, "key": {}}},
    {"m.relates_to": {"rel_type": "m.replace", "event_id": "$" + "x" * 30_000}, "m.new_content": 7},
    {"redacts": 7},
    {"redacts": "$" + "x" * 60_000},
    {"redacts": "$\0"},
    {"\0": {"\0": "\0"}},
)
_TYPES = (
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.encryption",
    "m.room.pinned_events",
    "m.room.server_acl",
    "m.room.tombstone",
    "m.space.child",
    "m.room.third_party_invite",
    "m.room.policy",
)
_MESSAGES = ("m.room.message", "m.reaction", "m.room.encrypted", "m.room.redaction", "m.sticker", "")


@pytest.mark.parametrize("version", ["1", "10", "12"])
async def test_odd_contents_stop_nobodys_sync(postgres: PostgresServer, tmp_path: Path, version: str) -> None:
    async with hostile_scene(postgres, tmp_path, version) as scene:
        evil, room = scene.evil, scene.room
        levels: Any = await scene.alice.state(room.room_id, "m.room.power_levels")
        levels = {**levels, "users": {**levels.get("users", {}), scene.mallory: 99}, "state_default": 50}
        levels["events"] = {}
        raised = await scene.alice.set_state(room.room_id, "m.room.power_levels", levels)
        await evil.heard(room.room_id, raised)
        since = (await scene.bob.sync())["next_batch"]
        for content in _ODD:
            events = []
            for event_type in _TYPES:
                events.append(evil.event(room, scene.mallory, event_type, content, state_key=""))
                room.take_in(events[-1])
            if content.get("membership") == "join":
                events.append(evil.event(room, scene.mallory, "m.room.member", content, state_key=scene.mallory))
                room.take_in(events[-1])
            for event_type in _MESSAGES:
                events.append(evil.event(room, scene.mallory, event_type, content))
                room.take_in(events[-1])
            results = (await evil.send(scene.hs, events)).json()["pdus"]
            shut_out = [result["error"] for result in results.values() if "shut out" in result.get("error", "")]
            assert "internal" not in repr(results), content
            step = await scene.bob.sync(since=since)
            since = step["next_batch"]
            await scene.alice.sync()
            await scene.alice.messages(room.room_id, limit=30)
            if shut_out or any(event.type == "m.room.server_acl" for event in events):
                ours = await scene.alice.set_state(room.room_id, "m.room.server_acl", {"allow": ["*"]})
                await heard(scene.bob, room.room_id, ours)
                await evil.heard(room.room_id, ours)
        await scene.alice.members(room.room_id)
        await scene.xenia.join(room.room_id)
        await scene.xenia.sync()
