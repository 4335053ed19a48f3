"""A peer that lies when it is asked: in templates, in states, in histories, and by not answering at all."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest
import trio
import trio.lowlevel

from tests.conversations.hostile import Room
from tests.conversations.scene import Scene
from tests.conversations.towns import heard
from tests.federation.web import Seen
from tricord.clients import Refused
from tricord.protocol.event_format import MAX_PREV_EVENTS, write_references
from tricord.protocol.events import Event, VerifiedEvent, parse_event
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId
from tricord.protocol.signing import SigningKey

# More than one request for history brings.
_MANY = 130


async def is_refused_to_xenia(scene: Scene, room_id: RoomId) -> None:
    with pytest.raises(Refused) as refusal, trio.fail_after(25):
        await scene.xenia.join(room_id, via=[scene.evil.name])
    assert "internal error" not in str(refusal.value)
    assert room_id not in (await scene.xenia.sync()).get("rooms", {}).get("join", {})


async def joins_after_all(scene: Scene, room: Room) -> None:
    scene.evil.script.clear()
    scene.evil.welcomes(room)
    await scene.xenia.join(room.room_id, via=[scene.evil.name])
    said = scene.evil.says(room, scene.mallory, "welcome")
    assert (await scene.evil.send(scene.hs, [said])).json()["pdus"] == {said.event_id: {}}
    await heard(scene.xenia, room.room_id, said.event_id)


# Templates


async def test_no_template_is_signed_that_proposes_something_else(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    room = evil.found(scene.room.version.name, scene.mallory)
    evil.welcomes(room)
    honest = next(script for pattern, script in evil.script if pattern == "make_join")
    others: list[dict[str, Any]] = [
        {"type": "m.room.power_levels"},
        {"type": "m.room.message"},
        {"sender": scene.alice.user_id},
        {"state_key": scene.alice.user_id},
        {"state_key": None},
        {"room_id": scene.room.room_id},
        {"prev_events": []},
        {"prev_events": ["$x"] * 1000},
        {"prev_events": "$x"},
        {"prev_events": [None]},
        {"auth_events": [["$x", {}]] * 11},
        {"auth_events": {}},
        {"auth_events": ["\0"]},
        {"content": {"membership": "ban"}},
        {"content": {}},
        {"content": None},
    ]
    for lie in others:

        def lying(seen: Seen, lie: dict[str, Any] = lie) -> Any:
            told: Any = honest(seen)
            return {**told, "event": {**told["event"], **lie}}

        evil.answers("make_join", lying)
        await is_refused_to_xenia(scene, room.room_id)
    answers: list[Any] = [{"room_version": "x", "event": {}}, {"event": []}, [], 404, b"{", b"", {"room_version": 1}]
    for answer in answers:
        evil.answers("make_join", answer)
        await is_refused_to_xenia(scene, room.room_id)
    assert not [asked for asked in evil.asked if "send_join" in asked]


async def test_only_the_place_is_taken_from_a_template(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    room = evil.found(scene.room.version.name, scene.mallory)
    evil.welcomes(room)
    honest = next(script for pattern, script in evil.script if pattern == "make_join")
    more = {
        "content": {"membership": "join", "displayname": "I am a fool", "third_party_invite": {}},
        "redacts": scene.room.ends[0].event_id,
        "origin_server_ts": 1,
        "depth": -5,
        "unsigned": {"x": 1},
        "odd": "yes",
    }

    def lying(seen: Seen) -> Any:
        told: Any = honest(seen)
        return {**told, "event": {**told["event"], **more}}

    evil.answers("make_join", lying)
    await scene.xenia.join(room.room_id, via=[evil.name])
    signed = room.state["m.room.member", scene.xenia.user_id].pdu
    assert signed["content"]["membership"] == "join"
    assert not {"redacts", "odd"} & signed.keys()
    assert "fool" not in repr(signed)
    assert signed["origin_server_ts"] > 1


# Joining


async def test_a_state_that_does_not_let_the_join_be_is_not_taken(any_scene: Scene) -> None:
    scene, evil, version = any_scene, any_scene.evil, any_scene.room.version.name
    room = evil.found(version, scene.mallory)
    closed = evil.found(version, scene.mallory, join_rule="invite")
    evil.welcomes(room)
    create = room.state["m.room.create", ""].pdu
    states: list[Any] = [
        [],
        [create],
        [pdu.pdu for key, pdu in room.state.items() if key[0] != "m.room.create"],
        [event.pdu for event in scene.room.state.values()],
        [create, *(event.pdu for event in scene.room.state.values())],
        [{**event.pdu, "signatures": {}} for event in room.state.values()],
        [{}] * 1000,
    ]
    for state in states:
        evil.welcomes(room, state=state, auth_chain=[event.pdu for event in room.state.values()] if state else [])
        await is_refused_to_xenia(scene, room.room_id)
        evil.welcomes(room, state=state, auth_chain=[])
        await is_refused_to_xenia(scene, room.room_id)
    answers: list[Any] = [
        [],
        {"state": {}, "auth_chain": []},
        b"[" * 100_000,
        b"{",
        500,
        {"state": [1], "auth_chain": []},
    ]
    for answer in answers:
        evil.answers("send_join", answer)
        await is_refused_to_xenia(scene, room.room_id)
    evil.welcomes(closed)
    await is_refused_to_xenia(scene, closed.room_id)
    await joins_after_all(scene, room)


async def test_forged_members_are_not_in_a_room_that_is_joined(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    room = evil.found(scene.room.version.name, scene.mallory)
    forged = [
        evil.event(room, user, "m.room.member", {"membership": "join"}, state_key=user)
        for user in (scene.frank, UserId(scene.alice.user_id), UserId("@ghost:nowhere.test"))
    ]
    state = [event.pdu for event in room.state.values()]
    evil.welcomes(room, state=[*state, *(event.pdu for event in forged)], auth_chain=state)
    await scene.xenia.join(room.room_id, via=[evil.name])
    assert set(await scene.xenia.joined_members(room.room_id)) == {scene.xenia.user_id, scene.mallory}
    await scene.xenia.send_text(room.room_id, "who is there?")
    await trio.sleep(0.2)
    assert not [pdu for pdu in scene.fair.seen_pdus() if pdu.get("room_id") == room.room_id]


async def test_thousands_of_events_that_nobody_can_verify_hold_nobody_up(scene: Scene) -> None:
    evil = scene.evil
    room = evil.found("11", scene.mallory)
    state = [event.pdu for event in room.state.values()]
    ghost = evil.event(room, scene.mallory, "m.odd", {}, state_key="0").pdu
    ghosts = [
        {**ghost, "state_key": str(number), "sender": f"@ghost:ghost{number}.test", "signatures":
            {f"ghost{number}.test": {"ed25519:1": "A" * 86}}} for number in range(4000)
    ]  # fmt: skip
    evil.welcomes(room, state=[*state, *ghosts], auth_chain=state)

    async def talk() -> None:
        slowest = 0.0
        while True:
            started = trio.current_time()
            await scene.alice.send_text(scene.room.room_id, "meanwhile")
            slowest = max(slowest, trio.current_time() - started)
            assert slowest < 10
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk)
        with trio.fail_after(60):
            await scene.xenia.join(room.room_id, via=[evil.name])
        nursery.cancel_scope.cancel()
    assert await scene.rows() < 1000


@pytest.mark.parametrize("what", ["make_join", "send_join"])
async def test_answers_without_end_are_cut_off(scene: Scene, what: str) -> None:
    evil = scene.evil
    room = evil.found("12", scene.mallory)
    evil.welcomes(room)
    evil.answers(what, b'{"x":"' + b"x" * (300 << 20 if what == "send_join" else 8 << 20))
    await is_refused_to_xenia(scene, room.room_id)


async def test_whoever_never_answers_keeps_nobody_else_waiting(scene: Scene) -> None:
    evil, fair, room_id = scene.evil, scene.fair, scene.room.room_id
    own = evil.found("12", scene.mallory)

    at_last = trio.Event()

    async def never(_: Seen) -> Any:
        await at_last.wait()
        return 500

    evil.answers("GET|POST", never)
    lost = evil.says(scene.room, scene.mallory, "after nothing", after=[EventId("$" + "x" * 43)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(evil.send, scene.hs, [lost])
        nursery.start_soon(is_refused_to_xenia, scene, own.room_id)
        await trio.sleep(0.3)
        for number in range(3):
            said = fair.says(fair.rooms[room_id], scene.frank, f"meanwhile {number}")
            fair.rooms[room_id].take_in(said)
            with trio.fail_after(8):
                assert (await fair.send(scene.hs, [said])).json()["pdus"] == {said.event_id: {}}
                await heard(scene.bob, room_id, said.event_id)
        at_last.set()


async def test_one_server_that_lies_does_not_keep_people_from_joining_through_another(any_scene: Scene) -> None:
    scene, evil, fair = any_scene, any_scene.evil, any_scene.fair
    room = fair.found(scene.room.version.name, scene.frank)
    evil.answers("make_join", {"event": {}, "room_version": room.version.name})
    fair.welcomes(room)
    await scene.xenia.join(room.room_id, via=[evil.name, fair.name])
    assert set(await scene.xenia.joined_members(room.room_id)) == {scene.xenia.user_id, scene.frank}


# History and state


async def test_a_state_is_made_of_events_of_its_room(any_scene: Scene) -> None:
    scene, evil, room = any_scene, any_scene.evil, any_scene.room
    own = evil.found(room.version.name, scene.mallory)
    evil.welcomes(own)
    await scene.xenia.join(own.room_id, via=[evil.name])
    foreign = [event.event_id for event in own.state.values()]
    nowhere = EventId("$" + "y" * 43)
    name = evil.event(room, scene.mallory, "m.room.name", {"name": "Mine"}, state_key="", after=[nowhere])
    both = [*foreign, *(event.event_id for event in room.state.values())]
    unknown = [["$" + "z" * 43] * 10, [], ["x"]]
    for state_ids in (foreign, both, *unknown):
        evil.answers("state_ids", {"pdu_ids": state_ids, "auth_chain_ids": foreign})
        evil.answers("/state/", {"pdus": [e.pdu for e in own.state.values()], "auth_chain": []})
        results = (await evil.send(scene.hs, [name])).json()["pdus"]
        assert "error" in results[name.event_id]
    assert await scene.alice.state(room.room_id, "m.room.name") is None


async def test_lies_about_history_are_not_shown(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    room = evil.found(scene.room.version.name, scene.mallory)
    hidden = [evil.says(room, scene.mallory, f"before {number}") for number in range(3)]
    room.take_in(evil.says(room, scene.mallory, "the last", after=[hidden[-1].event_id]))
    evil.welcomes(room)
    await scene.xenia.join(room.room_id, via=[evil.name])
    forged = evil.says(room, scene.frank, "frank was here", after=[])
    elsewhere = evil.says(scene.room, scene.mallory, "of another room")
    usurped = evil.event(room, evil.user("nobody"), "m.room.name", {"name": "Usurped"}, state_key="", after=[])
    lies: list[Any] = [
        {"pdus": [forged.pdu, elsewhere.pdu, usurped.pdu]},
        {"pdus": [{}] * 1000},
        {"pdus": [{"type": 7}, forged.pdu] * 100},
        {"pdus": {}},
        b"]",
        500,
    ]
    for lie in lies:
        evil.answers("GET .*/backfill/", lie)
        page = await scene.xenia.messages(room.room_id, limit=100)
        assert "frank was here" not in repr(page.chunk)
        assert "of another room" not in repr(page.chunk)
        assert "Usurped" not in repr(page.chunk)


async def test_history_has_events_with_more_references_than_there_may_be_now(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    room = evil.found(scene.room.version.name, scene.mallory)
    before = [evil.says(room, scene.mallory, f"side by side {number}") for number in range(MAX_PREV_EVENTS + 1)]
    wide = evil.says(room, scene.mallory, "where all meet", depth=before[0].depth + 1)
    references = write_references([event.event_id for event in before], room.version, {})
    pdu = evil.bent(wide, prev_events=references)
    event_id = parse_event(pdu, room.version, any_number_of_references=True).event_id
    last = evil.says(room, scene.mallory, "the last", after=[event_id], depth=wide.depth + 1)
    base = [event.pdu for event in reversed(room.events.values())]
    room.ends = [last]
    evil.welcomes(room)
    await scene.xenia.join(room.room_id, via=[evil.name])
    evil.answers("GET .*/backfill/", {"pdus": [last.pdu, pdu, *(event.pdu for event in before), *base]})
    page = await scene.xenia.messages(room.room_id, limit=100)
    shown = [event["content"].get("body") for event in page.chunk]
    assert "where all meet" in shown
    assert "side by side 20" in shown


async def test_history_goes_on_behind_events_that_the_rules_refuse(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    room = evil.found(scene.room.version.name, scene.mallory)
    early = evil.says(room, scene.mallory, "long ago")
    room.take_in(early)
    nobody = evil.user("nobody")
    for number in range(_MANY):
        refused = evil.says(room, nobody, f"I was never here {number}", after=[end.event_id for end in room.ends])
        room.take_in(refused)
    room.take_in(evil.says(room, scene.mallory, "the last"))
    evil.welcomes(room)
    await scene.xenia.join(room.room_id, via=[evil.name])

    def before(seen: Seen) -> dict[str, Any]:
        query = parse_qs(seen.target.partition("?")[2])
        waiting, told = [EventId(one) for one in query["v"]], dict[EventId, Event]()
        while waiting and len(told) < int(query["limit"][0]):
            event_id = waiting.pop(0)
            if event_id in room.events and event_id not in told:
                told[event_id] = room.events[event_id]
                waiting += room.events[event_id].prev_events
        return {"pdus": [event.pdu for event in told.values()]}

    evil.answers("GET .*/backfill/", before)
    shown: list[Any] = []
    page = await scene.xenia.messages(room.room_id, limit=20)
    for _ in range(_MANY):
        shown += page.chunk
        if page.end is None:
            break
        page = await scene.xenia.messages(room.room_id, start=page.end, limit=20)
    assert early.event_id in [event["event_id"] for event in shown]
    assert "never here" not in repr(shown)


async def test_what_was_redacted_is_not_shown_again_by_history(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    room = evil.found(scene.room.version.name, scene.mallory)
    early = evil.says(room, scene.mallory, "secret 0")
    room.take_in(early)
    late = evil.says(room, scene.mallory, "secret 1")
    room.take_in(late)
    in_between = _redacts(scene, room, early.event_id)
    room.take_in(in_between)
    evil.welcomes(room)
    await scene.xenia.join(room.room_id, via=[evil.name])
    now = _redacts(scene, room, late.event_id)
    room.take_in(now)
    assert (await evil.send(scene.hs, [now])).json()["pdus"] == {now.event_id: {}}
    base = [event.pdu for event in reversed(room.events.values()) if event.state_key is not None]
    evil.answers("GET .*/backfill/", {"pdus": [in_between.pdu, late.pdu, early.pdu, *base]})
    page = await scene.xenia.messages(room.room_id, limit=100)
    shown = {event["event_id"]: event for event in page.chunk}
    assert "secret" not in repr(page.chunk)
    assert shown[early.event_id]["unsigned"]["redacted_because"]["event_id"] == in_between.event_id
    assert shown[late.event_id]["unsigned"]["redacted_because"]["event_id"] == now.event_id


def _redacts(scene: Scene, room: Room, event_id: EventId) -> VerifiedEvent:
    in_content = room.version.redacts_in_content
    content = {"redacts": event_id} if in_content else {}
    redacts = None if in_content else event_id
    return scene.evil.event(room, scene.mallory, "m.room.redaction", content, redacts=redacts)


async def test_who_was_out_before_we_came_says_nothing_in_the_history_that_a_peer_tells(any_scene: Scene) -> None:
    scene, evil, fair = any_scene, any_scene.evil, any_scene.fair
    room = evil.found(scene.room.version.name, scene.mallory)
    joined = fair.event(room, scene.frank, "m.room.member", {"membership": "join"}, state_key=scene.frank)
    room.take_in(joined)
    with_frank = dict(room.state)
    banned = {"membership": "ban"}
    room.take_in(evil.event(room, scene.mallory, "m.room.member", banned, state_key=scene.frank))
    vouching = [
        stored.event_id
        for key, stored in with_frank.items()
        if key in {("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.member", scene.frank)}
        and not (key[0] == "m.room.create" and room.version.room_id_is_create_event_id)
    ]
    late = fair.says(room, scene.frank, "I was never out", auth=vouching)
    room.take_in(late)
    good = evil.says(room, scene.mallory, "Frank is out", after=[late.event_id])
    room.take_in(good)
    evil.welcomes(room)
    await scene.xenia.join(room.room_id, via=[evil.name])
    evil.answers("GET .*/backfill/", {"pdus": [good.pdu, late.pdu]})
    told = {event.event_id: event for event in with_frank.values()}
    evil.answers("state_ids", {"pdu_ids": list(told), "auth_chain_ids": list(told)})
    evil.answers("/state/", {"pdus": [event.pdu for event in told.values()], "auth_chain": []})
    page = await scene.xenia.messages(room.room_id, limit=100)
    assert "Frank is out" in repr(page.chunk)
    assert "I was never out" not in repr(page.chunk)


# Keys


@pytest.mark.parametrize("document", [b"{", b"[]", 500, {"server_name": "late.test"}, b'"' + b"x" * (8 << 20)])
async def test_servers_without_keys_are_nobody(scene: Scene, document: Any) -> None:
    answer = document if not callable(document) else document({})
    late = SigningKey.generate()
    scene.evil.answers("/_matrix/key", answer)
    refused = await scene.evil.request(scene.hs, "GET", "/_matrix/federation/v1/event/$x", key=late)
    assert refused.status_code == 401
    assert orjson.loads(refused.content)["errcode"] == "M_UNAUTHORIZED"


# Invitations


def invitation(scene: Scene, room: Room, user: str, **changes: Any) -> dict[str, Any]:
    sender = scene.evil.user("mallory")
    event = scene.evil.event(room, sender, "m.room.member", {"membership": "invite"}, state_key=user)
    create = [room.state["m.room.create", ""].pdu] if room.state else []
    return {"event": event.pdu, "room_version": room.version.name, "invite_room_state": create, "id": event, **changes}


async def invite(scene: Scene, body: dict[str, Any]) -> tuple[int, Any]:
    event = body.pop("id")
    answer = await scene.evil.request(scene.hs, "PUT", scene.evil.handed(event, "invite"), body)
    return answer.status_code, answer.json()


async def invited_rooms(scene: Scene) -> set[str]:
    return set((await scene.xenia.sync()).get("rooms", {}).get("invite", {}))


async def test_invitations_that_cannot_be_are_refused(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    room = evil.found(scene.room.version.name, scene.mallory)
    xenia = scene.xenia.user_id
    wrong = [
        invitation(scene, room, xenia, room_version="nonsense"),
        # Of versions 3 and 4, many an event would have the same id.
        invitation(scene, room, xenia, room_version="1" if room.version.name != "1" else "4"),
        invitation(scene, room, "@nobody:hs.test"),
        invitation(scene, room, scene.frank),
        invitation(scene, room, "@x:third.test"),
        invitation(scene, room, "nonsense"),
        invitation(scene, room, xenia, event=[]),
        invitation(scene, room, xenia, event=None),
        invitation(scene, room, xenia, invite_room_state=7),
        invitation(scene, room, xenia) | {"id": evil.says(room, scene.mallory, "x")},
    ]
    forged = invitation(scene, room, xenia)
    forged["event"] = {**forged["event"], "signatures": {evil.name: {evil.key.key_id: "A" * 86}}}
    wrong.append(forged)
    by_frank = evil.event(room, scene.frank, "m.room.member", {"membership": "invite"}, state_key=xenia)
    wrong.append({"event": by_frank.pdu, "room_version": room.version.name, "id": by_frank})
    before = await scene.rows()
    for body in wrong:
        status, answer = await invite(scene, body)
        assert 400 <= status < 500, (status, answer)
        assert answer["errcode"] != "M_UNKNOWN"
    assert await scene.rows() == before
    assert not await invited_rooms(scene)


async def test_what_comes_with_an_invitation_harms_no_sync(scene: Scene) -> None:
    odd: list[Any] = [
        [None, 7, "x", [], {}],
        [{"type": "m.room.name", "state_key": "", "sender": "x", "content": []}],
        [{"type": "m.room.name", "state_key": "", "sender": "x", "content": {"name": "x" * 60_000}}] * 30,
        [{"type": "m.room.name", "state_key": "", "sender": 7, "content": {"name": {}}}],
        [{"type": "m.room.create", "state_key": "", "sender": "x", "content": {"room_version": 7}}],
        [{"type": "m.room.name", "state_key": "", "sender": "x", "content": {"n": 1.5}}],
        [{"type": "m.room.member", "state_key": scene.xenia.user_id, "sender": "x", "content": {"membership": "join"}}],
        [{"type": "m\0", "state_key": "\0", "sender": "\0", "content": {"\0": "\0"}}],
        [{}] * 100_000,
    ]
    rooms = set()
    for state in odd:
        room = scene.evil.found("11", scene.mallory)
        body = invitation(scene, room, scene.xenia.user_id, invite_room_state=state)
        status, answer = await invite(scene, body)
        assert status == 200, answer
        rooms.add(room.room_id)
    shown = await scene.xenia.sync()
    assert set(shown["rooms"]["invite"]) == rooms
    assert len(orjson.dumps(shown)) < 500_000
    assert (await scene.xenia.sync(since=shown["next_batch"])).get("rooms", {}).get("invite", {}) == {}


async def test_an_invitation_vouches_for_nothing(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    room = evil.found(scene.room.version.name, scene.mallory, join_rule="invite", levels={"invite": 50})
    powerless, xenia = evil.user("nancy"), UserId(scene.xenia.user_id)
    join = evil.event(room, powerless, "m.room.member", {"membership": "join"}, state_key=powerless)
    room.state["m.room.member", powerless] = join
    event = evil.event(room, powerless, "m.room.member", {"membership": "invite"}, state_key=xenia)
    status, _ = await invite(scene, invitation(scene, room, xenia, event=event.pdu, id=event))
    assert status == 200
    assert await invited_rooms(scene) == {room.room_id}
    room.state["m.room.member", xenia] = event
    evil.welcomes(room)
    await is_refused_to_xenia(scene, room.room_id)


async def test_an_invitation_does_not_make_a_room_another_version(any_scene: Scene) -> None:
    scene, evil = any_scene, any_scene.evil
    wrong = "2" if scene.room.version.name == "1" else "1"
    if scene.room.version.name == "12":
        wrong = "11"
    room = evil.found(scene.room.version.name, scene.mallory)
    poison = Room(room.room_id, evil.found(wrong, scene.mallory).version, {}, [])
    if ":" not in room.room_id:
        return
    status, _ = await invite(scene, invitation(scene, poison, scene.xenia.user_id))
    assert status == 200
    assert await invited_rooms(scene) == {room.room_id}
    status, answer = await invite(scene, invitation(scene, room, scene.xenia.user_id))
    assert (status, answer["errcode"]) == (400, "M_INVALID_PARAM")
    await scene.xenia.sync()
    await joins_after_all(scene, room)


@pytest.mark.parametrize("membership", ["leave", "ban"])
async def test_only_who_invited_takes_an_invitation_back(any_scene: Scene, membership: str) -> None:
    scene, evil, fair = any_scene, any_scene.evil, any_scene.fair
    room = evil.found(scene.room.version.name, scene.mallory)
    xenia = UserId(scene.xenia.user_id)
    assert (await invite(scene, invitation(scene, room, xenia)))[0] == 200
    by_frank = fair.event(room, scene.frank, "m.room.member", {"membership": membership}, state_key=xenia)
    by_mallory = evil.event(room, scene.mallory, "m.room.member", {"membership": membership}, state_key=xenia)
    unsigned = {**by_mallory.pdu, "signatures": {}}
    assert (await fair.send(scene.hs, [by_frank])).status_code == 200
    assert (await fair.send(scene.hs, [by_mallory])).status_code == 200
    assert (await evil.send(scene.hs, [unsigned])).status_code == 200
    assert await invited_rooms(scene) == {room.room_id}
    assert (await evil.send(scene.hs, [by_mallory])).status_code == 200
    assert not await invited_rooms(scene)


async def test_a_server_cannot_be_asked_in_the_name_of_another(scene: Scene) -> None:
    body = {"origin": ServerName("fair.test"), "origin_server_ts": 1, "pdus": [], "edus": []}
    answer = await scene.evil.request(scene.hs, "PUT", "/_matrix/federation/v1/send/x", body)
    assert answer.status_code in (200, 400, 401, 403)
