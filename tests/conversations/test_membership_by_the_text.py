"""What servers refuse each other when memberships change, in the words of the specification.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest

from tests.conversations.hostile import Room
from tests.conversations.scene import Scene, hostile_scene
from tests.federation.web import Seen
from tests.postgres import PostgresServer
from tests.servers import PROCESSES
from tricord.clients import Refused
from tricord.homeserver.rooms import server_reads
from tricord.protocol.events import Event
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.server_acl import ServerAcl
from tricord.protocol.strict_json import JsonObject

_FEDERATION = "/_matrix/federation"


@pytest.fixture(params=["11", "12"])
async def any_scene(postgres: PostgresServer, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with hostile_scene(postgres, tmp_path, request.param) as found:
        yield found


async def asked_for(scene: Scene, act: str, room_id: RoomId, user_id: UserId, *versions: str) -> httpx.Response:
    query = "?" + "&".join(f"ver={version}" for version in versions) if versions else ""
    path = f"{_FEDERATION}/v1/make_{act}/{quote(room_id)}/{quote(user_id)}{query}"
    return await scene.evil.request(scene.hs, "GET", path)


def is_refusal(answer: httpx.Response, status: int, errcode: str) -> bool:
    told = answer.status_code, answer.json().get("errcode")
    assert told == (status, errcode), answer.text
    return True


# Being asked


async def test_what_is_no_such_membership_is_an_invalid_parameter(any_scene: Scene) -> None:
    for act in ("join", "leave", "knock"):
        for event, body in no_memberships(any_scene, act):
            answer = await any_scene.evil.request(any_scene.hs, "PUT", any_scene.evil.handed(event, act), body)
            assert is_refusal(answer, 400, "M_INVALID_PARAM")


def no_memberships(scene: Scene, act: str) -> list[tuple[Event, JsonObject]]:
    evil, room = scene.evil, scene.room
    nancy, content = evil.user("nancy"), {"membership": act}
    forged: JsonObject = {evil.name: {evil.key.key_id: "A" * 86}}
    good = evil.event(room, nancy, "m.room.member", content, state_key=nancy)
    of_frank = evil.event(room, scene.frank, "m.room.member", content, state_key=scene.frank)
    others = [
        of_frank,
        evil.event(room, nancy, "m.room.topic", {**content, "topic": ""}, state_key=nancy),
        evil.event(room, nancy, "m.room.member", content),
        evil.event(room, nancy, "m.room.member", {"membership": "ban"}, state_key=nancy),
        evil.event(room, nancy, "m.room.member", content, state_key=scene.mallory),
    ]
    return [
        (good, {**good.pdu, "signatures": forged}),
        (good, {**good.pdu, "signatures": {}}),
        *((event, event.pdu) for event in others),
    ]


async def test_templates_are_for_users_of_the_asking_server_and_bear_an_origin(scene: Scene) -> None:
    room_id = scene.room.room_id
    for act in ("join", "leave", "knock"):
        assert is_refusal(await asked_for(scene, act, room_id, scene.frank, "12"), 403, "M_FORBIDDEN")
    proposed = (await asked_for(scene, "join", room_id, scene.evil.user("nancy"), "12")).json()
    assert proposed["room_version"] == "12"
    assert proposed["event"]["origin"] == scene.hs
    assert not {"signatures", "hashes", "event_id"} & proposed["event"].keys()


async def test_a_version_that_is_not_named_is_incompatible_and_told(scene: Scene) -> None:
    for act, versions in product(("join", "knock"), ((), ("1", "11"), ("nonsense",))):
        answer = await asked_for(scene, act, scene.room.room_id, scene.evil.user("nancy"), *versions)
        assert is_refusal(answer, 400, "M_INCOMPATIBLE_ROOM_VERSION")
        assert answer.json()["room_version"] == "12"


async def test_rooms_that_are_not_here_are_not_found(scene: Scene) -> None:
    for act in ("join", "knock", "leave"):
        answer = await asked_for(scene, act, RoomId("!none:hs.test"), scene.evil.user("nancy"), "12")
        assert is_refusal(answer, 404, "M_NOT_FOUND")


async def test_who_is_not_in_a_room_cannot_leave_it(scene: Scene) -> None:
    answer = await asked_for(scene, "leave", scene.room.room_id, scene.evil.user("nancy"))
    assert is_refusal(answer, 403, "M_FORBIDDEN")


async def restricted(scene: Scene, *allow: JsonObject, invite: int = 0) -> RoomId:
    """Make a room that the members of others may join."""
    rule = {"join_rule": "restricted", "allow": list(allow)}
    return await scene.alice.create_room(
        preset="private_chat",
        initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": rule}],
        power_level_content_override={"invite": invite},
    )


def members_of(room_id: str) -> JsonObject:
    return {"type": "m.room_membership", "room_id": room_id}


async def test_restricted_rooms_say_why_nobody_is_let_in(scene: Scene) -> None:
    known, nancy = scene.room.room_id, scene.evil.user("nancy")
    forbidden: list[list[JsonObject]] = [[], [{"type": "m.nonsense"}], [{"type": "m.room_membership"}]]
    forbidden += [[members_of(known)], [members_of(known), members_of("!none:other.test")]]
    for allow in forbidden:
        room_id = await restricted(scene, *allow)
        assert is_refusal(await asked_for(scene, "join", room_id, nancy, "12"), 403, "M_FORBIDDEN")
    room_id = await restricted(scene, members_of("!none:other.test"))
    assert is_refusal(await asked_for(scene, "join", room_id, nancy, "12"), 400, "M_UNABLE_TO_AUTHORISE_JOIN")


async def test_who_meets_a_condition_is_let_in_with_our_signature(scene: Scene) -> None:
    room_id = await restricted(scene, members_of(scene.room.room_id))
    event = await scene.evil.member_event(scene.hs, room_id, scene.mallory)
    assert event.content["join_authorised_via_users_server"] == scene.alice.user_id
    told = await scene.evil.granted(scene.hs, "PUT", scene.evil.handed(event), event.pdu)
    assert set(told["event"]["signatures"]) == {scene.evil.name, scene.hs}


async def test_a_server_without_anybody_who_may_invite_says_that_another_should_be_asked(scene: Scene) -> None:
    evil, xenia = scene.evil, scene.xenia
    room = evil.found("12", scene.mallory, levels={"invite": 50})
    evil.welcomes(room)
    await xenia.join(room.room_id, via=[evil.name])
    rule = {"join_rule": "restricted", "allow": [members_of(scene.room.room_id)]}
    restriction = evil.event(room, scene.mallory, "m.room.join_rules", rule, state_key="")
    assert (await evil.send(scene.hs, [restriction])).json()["pdus"] == {restriction.event_id: {}}
    path = f"{_FEDERATION}/v1/make_join/{quote(room.room_id)}/{quote(scene.frank)}?ver=12"
    assert is_refusal(await scene.fair.request(scene.hs, "GET", path), 400, "M_UNABLE_TO_GRANT_JOIN")


# Access lists


async def test_a_server_that_is_shut_out_is_refused_at_every_endpoint(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is that of https://spec.matrix.org/v1.19/server-server-api/#server-access-control-lists-acls."""
    read_lists: list[Any] = []

    def read_list(content: JsonObject) -> ServerAcl:
        read_lists.append(content)
        return ServerAcl(content)

    monkeypatch.setattr(server_reads, "ServerAcl", read_list)
    evil, room_id, nancy = scene.evil, scene.room.room_id, scene.evil.user("nancy")
    last = scene.room.ends[-1]
    path, event = quote(room_id), quote(last.event_id)
    missing = {"earliest_events": [], "latest_events": [last.event_id]}
    requests: list[tuple[str, str, Any]] = [
        ("GET", f"v1/state/{path}?event_id={event}", None),
        ("GET", f"v1/state_ids/{path}?event_id={event}", None),
        ("GET", f"v1/backfill/{path}?v={event}&limit=1", None),
        ("GET", f"v1/event_auth/{path}/{event}", None),
        ("POST", f"v1/get_missing_events/{path}", missing),
    ]
    for act, user in (("join", nancy), ("leave", scene.mallory), ("knock", nancy)):
        handed = evil.event(scene.room, user, "m.room.member", {"membership": act}, state_key=user)
        sent = evil.handed(handed, act).removeprefix(f"{_FEDERATION}/")
        requests += [("GET", f"v1/make_{act}/{path}/{quote(user)}?ver=12", None), ("PUT", sent, handed.pdu)]
    uri, body = invitation(scene, scene.room)
    invite = uri.removeprefix(f"{_FEDERATION}/")
    requests += [("PUT", invite, body), ("PUT", invite.replace("v2/", "v1/"), body["event"])]
    await scene.alice.set_state(room_id, "m.room.server_acl", {"allow": ["*"], "deny": ["evil.test"]})
    for method, uri, content in requests:
        answer = await evil.request(scene.hs, method, f"{_FEDERATION}/{uri}", content)
        assert is_refusal(answer, 403, "M_FORBIDDEN"), uri
    read = {room_id: {"m.read": {scene.mallory: {"event_ids": [last.event_id], "data": {"ts": 1}}}}}
    typing = {"room_id": room_id, "user_id": scene.mallory, "typing": True}
    edus = [{"edu_type": "m.receipt", "content": read}, {"edu_type": "m.typing", "content": typing}]
    said = evil.says(scene.room, scene.mallory, "still here")
    results = (await evil.send(scene.hs, [said], edus)).json()["pdus"]
    assert "shut out" in results[said.event_id]["error"]
    assert not await scene.is_shown(said.event_id)
    # Were it a list of thousands, nobody could have us read it for each request.
    assert len(read_lists) <= PROCESSES
    ephemeral = (await scene.bob.sync())["rooms"]["join"][room_id].get("ephemeral", {})
    assert scene.mallory not in repr(ephemeral)
    await scene.alice.set_state(room_id, "m.room.server_acl", {"allow": ["*"]})


# Invitations


def invitation(scene: Scene, room: Room, shown: Any = None) -> tuple[str, dict[str, Any]]:
    """Return the path and the body by which xenia is invited."""
    content, xenia = {"membership": "invite"}, scene.xenia.user_id
    event = scene.evil.event(room, scene.mallory, "m.room.member", content, state_key=xenia)
    shown = [event.pdu for event in room.state.values()] if shown is None else shown
    body: dict[str, Any] = {
        "event": event.pdu,
        "room_version": room.version.name,
        "invite_room_state": shown,
    }
    return scene.evil.handed(event, "invite"), body


async def test_what_is_no_invitation_is_not_signed(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    room = evil.found(scene.room.version.name, scene.mallory)
    xenia = scene.xenia.user_id
    for event in (
        evil.event(room, scene.mallory, "m.room.power_levels", {"membership": "invite"}, state_key=xenia),
        evil.event(room, scene.mallory, "m.room.member", {"membership": "join"}, state_key=xenia),
        evil.event(room, scene.frank, "m.room.member", {"membership": "invite"}, state_key=xenia),
        evil.event(room, scene.mallory, "m.room.member", {"membership": "invite"}, state_key=scene.frank),
        evil.event(room, scene.mallory, "m.room.member", {"membership": "invite"}),
    ):
        no_invitation = {"event": event.pdu, "room_version": room.version.name, "invite_room_state": []}
        answer = await evil.request(scene.hs, "PUT", evil.handed(event, "invite"), no_invitation)
        assert is_refusal(answer, 400, "M_INVALID_PARAM")
    path, body = invitation(scene, room)
    body["event"] = {**body["event"], "signatures": {evil.name: {evil.key.key_id: "A" * 86}}}
    assert is_refusal(await evil.request(scene.hs, "PUT", path, body), 400, "M_INVALID_PARAM")
    path, body = invitation(scene, room)
    answer = await evil.request(scene.hs, "PUT", path, {**body, "room_version": "nonsense"})
    assert is_refusal(answer, 400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert answer.json()["room_version"] == "nonsense"


async def test_what_an_invitation_shows_is_what_was_signed(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    version = scene.room.version.name
    room, other = evil.found(version, scene.mallory), evil.found(version, scene.mallory)
    create = room.state["m.room.create", ""].pdu
    name = evil.event(room, scene.mallory, "m.room.name", {"name": "Bank"}, state_key="")
    forged = {**name.pdu, "signatures": {evil.name: {evil.key.key_id: "A" * 86}}}
    of_frank = evil.event(room, scene.frank, "m.room.name", {"name": "Bank"}, state_key="")
    wrong: dict[str, list[Any]] = {
        "forged": [create, forged],
        "signed by another": [create, of_frank.pdu],
        "not signed": [create, {**name.pdu, "signatures": {}}],
        "of another room": [
            create,
            evil.event(other, scene.mallory, "m.room.name", {"name": "Bank"}, state_key="").pdu,
        ],
        "another create event": [other.state["m.room.create", ""].pdu],
        "no event": [create, {**name.pdu, "prev_events": 7}],
        "no create event": [name.pdu],
        "nothing": [],
    }
    for what, shown in wrong.items():
        path, body = invitation(scene, room, shown)
        answer = await evil.request(scene.hs, "PUT", path, body)
        if version == "12":
            assert is_refusal(answer, 400, "M_INVALID_PARAM"), what
            continue
        assert answer.status_code == 200, (what, answer.text)
        # In older rooms the invitation counts, and what is wrong with it is not shown.
        seen = (await scene.xenia.sync())["rooms"]["invite"][room.room_id]["invite_state"]["events"]
        assert ("Bank" in repr(seen)) == (what == "no create event"), what
    # What nobody can verify now is not shown, and does not keep anybody from being invited.
    gone = evil.event(room, UserId("@x:gone.test"), "m.room.name", {"name": "Bank"}, state_key="").pdu
    path, body = invitation(scene, room, [create, {**gone, "signatures": {"gone.test": {"ed25519:1": "A" * 86}}}])
    assert (await evil.request(scene.hs, "PUT", path, body)).status_code == 200
    seen = (await scene.xenia.sync())["rooms"]["invite"][room.room_id]["invite_state"]["events"]
    assert "Bank" not in repr(seen)


async def test_a_server_that_knows_no_better_may_show_excerpts_in_its_invitations(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    room = evil.found(scene.room.version.name, scene.mallory)
    create = room.state["m.room.create", ""].pdu
    name = evil.event(room, scene.mallory, "m.room.name", {"name": "Bank"}, state_key="")
    excerpt = {key: create[key] for key in ("type", "state_key", "sender", "content")}
    excerpts = [excerpt, {**excerpt, "type": "m.room.name", "content": {"name": "Bank"}}]
    for shown in ([create, name.pdu], excerpts):
        path, body = invitation(scene, room, shown)
        assert (await evil.request(scene.hs, "PUT", path, body)).status_code == 200
        seen = (await scene.xenia.sync())["rooms"]["invite"][room.room_id]["invite_state"]["events"]
        assert {"name": "Bank"} in [event["content"] for event in seen]
        assert "signatures" not in repr(seen)


async def test_invitations_show_whole_events_the_create_event_among_them(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    bodies: list[Any] = []

    def refused(seen: Seen) -> tuple[int, JsonObject]:
        bodies.append(orjson.loads(seen.body))
        return 403, {"errcode": "M_FORBIDDEN", "error": "no"}

    evil.answers("/invite/", refused)
    with pytest.raises(Refused):
        await scene.alice.invite(scene.room.room_id, evil.user("nancy"))
    shown = bodies[0]["invite_room_state"]
    assert {"m.room.create", "m.room.join_rules", "m.room.member"} <= {event["type"] for event in shown}
    assert all({"hashes", "signatures", "auth_events"} <= event.keys() for event in shown)


async def test_who_knocks_is_shown_whole_events_the_create_event_among_them(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    rule = {"join_rule": "knock"}
    room_id = await scene.alice.create_room(
        preset="private_chat",
        room_version=scene.room.version.name,
        initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": rule}],
    )
    event = await evil.member_event(scene.hs, room_id, evil.user("nancy"), "knock")
    told = await evil.granted(scene.hs, "PUT", evil.handed(event, "knock"), event.pdu)
    assert "m.room.create" in {one["type"] for one in told["knock_room_state"]}
    assert all({"hashes", "signatures", "auth_events"} <= one.keys() for one in told["knock_room_state"])


async def test_who_knocks_elsewhere_is_shown_nothing_that_was_not_signed(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    room = evil.found(scene.room.version.name, scene.mallory, join_rule="knock")
    evil.welcomes(room)
    honest = next(script for pattern, script in evil.script if pattern == "make_join")

    def template(seen: Seen) -> Any:
        told: Any = honest(seen)
        return {**told, "event": {**told["event"], "content": {"membership": "knock"}}}

    name = evil.event(room, scene.mallory, "m.room.name", {"name": "Door"}, state_key="")
    topic = evil.event(room, scene.mallory, "m.room.topic", {"topic": "Bank"}, state_key="").pdu
    create = room.state["m.room.create", ""].pdu
    evil.answers("make_knock", template)
    evil.answers("send_knock", {"knock_room_state": [create, name.pdu, {**topic, "signatures": {}}]})
    await scene.xenia.knock(room.room_id, via=[evil.name])
    shown = (await scene.xenia.sync())["rooms"]["knock"][room.room_id]["knock_state"]["events"]
    assert {"name": "Door"} in [event["content"] for event in shown]
    assert "Bank" not in repr(shown)


# Asking


async def test_why_a_join_was_refused_is_passed_on_unless_it_is_our_servers_fault(scene: Scene) -> None:
    told = {
        (403, "M_FORBIDDEN"): (403, "M_FORBIDDEN"),
        (404, "M_NOT_FOUND"): (404, "M_NOT_FOUND"),
        (400, "M_UNABLE_TO_AUTHORISE_JOIN"): (400, "M_UNABLE_TO_AUTHORISE_JOIN"),
        (400, "M_UNABLE_TO_GRANT_JOIN"): (400, "M_UNABLE_TO_GRANT_JOIN"),
        (400, "M_INCOMPATIBLE_ROOM_VERSION"): (400, "M_INCOMPATIBLE_ROOM_VERSION"),
        (400, "M_INVALID_PARAM"): (502, "M_UNKNOWN"),
        (400, "M_MISSING_PARAM"): (502, "M_UNKNOWN"),
    }
    for ((status, errcode), expected), step in product(told.items(), ("make_join", "send_join")):
        room = scene.evil.found("12", scene.mallory)
        scene.evil.welcomes(room)
        scene.evil.answers(step, (status, {"errcode": errcode, "error": "because", "room_version": "99"}))
        with pytest.raises(Refused) as refused:
            await scene.xenia.join(room.room_id, via=[scene.evil.name])
        assert (refused.value.status, refused.value.errcode) == expected
        assert "because" in str(refused.value)


async def test_why_an_invitation_was_refused_is_passed_on(scene: Scene) -> None:
    for status, errcode, expected in (
        (403, "M_FORBIDDEN", (403, "M_FORBIDDEN")),
        (403, "M_INVITE_BLOCKED", (403, "M_INVITE_BLOCKED")),
        (400, "M_INVALID_PARAM", (502, "M_UNKNOWN")),
    ):
        scene.evil.answers("/invite/", (status, {"errcode": errcode, "error": "because"}))
        with pytest.raises(Refused) as refused:
            await scene.alice.invite(scene.room.room_id, scene.evil.user("nancy"))
        assert (refused.value.status, refused.value.errcode) == expected


async def test_the_join_that_is_handed_over_bears_its_origin(scene: Scene) -> None:
    room = scene.evil.found("12", scene.mallory)
    scene.evil.welcomes(room)
    await scene.xenia.join(room.room_id, via=[scene.evil.name])
    assert room.state["m.room.member", scene.xenia.user_id].pdu["origin"] == scene.hs
