"""A peer with a real key that lies in requests and transactions: nothing of it stays, and everybody else is served."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from tests.conversations.scene import Scene, hostile_scene
from tests.conversations.towns import heard
from tests.postgres import PostgresServer
from tricord.federation.key_documents import own_document
from tricord.federation.request_auth import authorization_header
from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId, ServerName, UserId
from tricord.protocol.signing import SigningKey, sign_json

_NOW = "/_matrix/federation/v1/version"


# Requests


async def test_requests_that_are_not_signed_as_they_should_be_are_refused(scene: Scene) -> None:
    evil, room_id = scene.evil, scene.room.room_id
    path = f"/_matrix/federation/v1/event/{scene.room.ends[0].event_id}"
    other_key = SigningKey.generate()
    answers = [
        await evil.request(scene.hs, "GET", path, headers={}),
        await evil.request(scene.hs, "GET", path, headers={"Authorization": "X-Matrix origin=evil.test"}),
        await evil.request(scene.hs, "GET", path, headers={"Authorization": "Bearer x"}),
        await evil.request(scene.hs, "GET", path, named=ServerName("other.test")),
        await evil.request(scene.hs, "GET", path, key=other_key),
        await evil.request(scene.hs, "GET", path, key=SigningKey(evil.key.key_id, other_key._seed)),
        await evil.request(scene.hs, "GET", path, origin=scene.fair.name),
        await evil.request(scene.hs, "GET", path, origin=scene.hs),
        await evil.request(scene.hs, "GET", path, origin=ServerName("nowhere.test")),
        await evil.request(scene.hs, "PUT", "/_matrix/federation/v1/send/t", {"pdus": []}, headers={}),
    ]
    for answer in answers:
        assert answer.status_code == 401, answer.text
        assert answer.json()["errcode"] in ("M_UNAUTHORIZED", "M_FORBIDDEN")
    signed_over_another_body = await evil.request(
        scene.hs, "POST", f"/_matrix/federation/v1/get_missing_events/{room_id}", content=b"{}", headers={}
    )
    assert signed_over_another_body.status_code == 401


@pytest.mark.parametrize("lie", ["expired", "of another server", "unsigned", "not keys"])
async def test_keys_that_are_not_a_servers_own_sign_nothing(scene: Scene, lie: str) -> None:
    evil = scene.evil
    late = SigningKey.generate()
    document = own_document(evil.name, late, 0 if lie == "expired" else 2**40)
    if lie == "of another server":
        document = sign_json({**document, "server_name": "fair.test", "signatures": {}}, ServerName("fair.test"), late)
    if lie == "unsigned":
        document["signatures"] = {}
    if lie == "not keys":
        document["verify_keys"] = {late.key_id: {"key": base64.b64encode(b"\0" * 7).decode()}}
    old_keys = evil.keys
    evil.keys = lambda: document
    answer = await evil.request(scene.hs, "GET", "/_matrix/federation/v1/event/$x", key=late)
    assert answer.status_code == 401
    evil.keys = old_keys


async def test_transactions_that_are_too_large_are_refused_whole(scene: Scene) -> None:
    evil, room = scene.evil, scene.room
    said = evil.says(room, scene.mallory, "one too many")
    before = await scene.rows()
    assert (await evil.send(scene.hs, [said, *[{}] * 50])).status_code == 400
    assert (await evil.send(scene.hs, [said], [{}] * 101)).status_code == 400
    filling = {"edu_type": "m.none", "content": {"x": "y" * (14 << 20)}}
    assert (await evil.send(scene.hs, [said], [filling])).status_code == 413
    unsigned = await evil.request(
        scene.hs, "PUT", "/_matrix/federation/v1/send/t", content=b"[" * (15 << 20), headers={}
    )
    assert unsigned.status_code in (401, 413)
    assert await scene.rows() == before


async def test_bodies_that_are_no_json_are_refused_whole(scene: Scene) -> None:
    before = await scene.rows()
    for number in (b"NaN", b"Infinity", b"1e400"):
        content = b'{"origin":"evil.test","origin_server_ts":1,"pdus":[{"content":{"n":' + number + b"}}]}"
        uri = "/_matrix/federation/v1/send/odd"
        signed = {"Authorization": authorization_header("PUT", uri, scene.evil.name, scene.hs, scene.evil.key, content)}
        answer = await scene.evil.request(scene.hs, "PUT", uri, content=content, headers=signed)
        assert (answer.status_code, answer.json()["errcode"]) in ((400, "M_NOT_JSON"), (400, "M_BAD_JSON"))
    assert await scene.rows() == before


# Events


def malformed(scene: Scene, event: Event) -> dict[str, Any]:
    bent, ids = scene.evil.bent, list(event.prev_events)
    version = event.version
    reference: Any = [ids[0], {"sha256": ""}] if version.references_carry_hashes else ids[0]
    found = {
        "no type": bent(event, type=None),
        "depth text": bent(event, depth="7"),
        "depth negative": bent(event, depth=-1),
        "depth huge": bent(event, depth=2**63),
        "depth true": bent(event, depth=True),
        "no sender": bent(event, sender=None),
        "sender without domain": bent(event, sender="@mallory"),
        "type with NUL": bent(event, type="m.room\0message"),
        "state key with NUL": bent(event, type="m.odd", state_key="\0"),
        "previous with NUL": bent(
            event, prev_events=[[i, {}] if version.references_carry_hashes else i for i in ("$\0:x",)]
        ),
        "auth with NUL": bent(
            event, auth_events=[[i, {}] if version.references_carry_hashes else i for i in ("$\0:x",)]
        ),
        "content list": bent(event, content=[]),
        "content null": {**event.pdu, "content": None},
        "hashes text": bent(event, hashes=None) | {"hashes": "x"},
        "signatures list": {**event.pdu, "signatures": []},
        "signatures of lists": {**event.pdu, "signatures": {"evil.test": ["x"]}},
        "signature number": {**event.pdu, "signatures": {"evil.test": {scene.evil.key.key_id: 7}}},
        "many previous": bent(event, prev_events=[reference] * 21),
        "many auth": bent(event, auth_events=[reference] * 11),
        "references to numbers": bent(event, prev_events=[7]),
        "timestamp beyond": bent(event, origin_server_ts=2**63),
        "type long": bent(event, type="x" * 256),
        "too large": bent(event, content={"body": "x" * 65_536}),
        "no object": "event",
        "nothing": None,
        "room nowhere": bent(event, room_id="!nowhere:evil.test"),
        "room with NUL": bent(event, room_id="!\0:evil.test"),
        "room a number": bent(event, room_id=7),
    }
    if version.strict_canonical_json:
        found["float"] = {**event.pdu, "content": {"n": 1.5}}
        found["integer beyond"] = {**event.pdu, "content": {"n": 2**53}}
        found["depth beyond"] = bent(event, depth=2**63 - 1)
    if not version.references_carry_hashes:
        found["event id"] = bent(event, event_id="$x:evil.test")
    return found


async def test_good_events_are_taken_beside_every_kind_of_bad_one(any_scene: Scene) -> None:
    scene, evil, room = any_scene, any_scene.evil, any_scene.room
    for name, bad in malformed(scene, evil.says(room, scene.mallory, "bent")).items():
        good = []
        for number in range(3):
            good.append(evil.says(room, scene.mallory, f"{name} {number}"))
            room.take_in(good[-1])
        answer = await evil.send(scene.hs, [good[0], bad, *good[1:]])
        assert answer.status_code == 200, (name, answer.text)
        results = answer.json()["pdus"]
        assert all(results[event.event_id] == {} for event in good), (name, results)
        assert all(
            "error" in result for event_id, result in results.items() if event_id not in [e.event_id for e in good]
        )
    page = await scene.alice.messages(room.room_id, limit=10)
    assert good[-1].event_id in [event["event_id"] for event in page.chunk]


async def test_forty_nine_good_events_and_a_bad_one(scene: Scene) -> None:
    evil, room = scene.evil, scene.room
    good = []
    for number in range(49):
        good.append(evil.says(room, scene.mallory, f"{number}"))
        room.take_in(good[-1])
    bad = evil.bent(good[0], depth=-1)
    results = (await evil.send(scene.hs, [*good[:20], bad, *good[20:]])).json()["pdus"]
    assert results == {event.event_id: {} for event in good}
    await heard(scene.alice, room.room_id, good[-1].event_id)


async def test_a_transaction_counts_once(scene: Scene) -> None:
    evil, room = scene.evil, scene.room
    said = evil.says(room, scene.mallory, "once")
    answers: list[bytes] = []

    async def send() -> None:
        answers.append((await evil.send(scene.hs, [said], transaction_id="again")).content)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(send)
    await send()
    other = evil.says(room, scene.mallory, "never looked at")
    answers.append((await evil.send(scene.hs, [other], transaction_id="again")).content)
    assert len(set(answers)) == 1
    assert (await evil.send(scene.hs, [said])).json()["pdus"] == {said.event_id: {}}
    page = await scene.alice.messages(room.room_id, limit=50)
    assert [event["event_id"] for event in page.chunk].count(said.event_id) == 1
    assert not await scene.stored(other.event_id)
    room.take_in(said)


async def test_odd_transaction_ids_harm_nobody(scene: Scene) -> None:
    for odd in ("%00", "x" * 8000, "%2e%2e%2f", "%F0%9F%98%80"):
        answer = await scene.evil.send(scene.hs, transaction_id=odd)
        assert answer.status_code in (200, 400, 404, 414), (odd[:10], answer.text)


async def test_events_that_their_senders_server_did_not_sign_are_dropped(any_scene: Scene) -> None:
    scene, evil, room = any_scene, any_scene.evil, any_scene.room
    forged = [
        evil.says(room, scene.frank, "I am frank", auth=[room.state["m.room.create", ""].event_id]),
        evil.says(room, UserId(scene.alice.user_id), "I am alice"),
        evil.event(room, scene.frank, "m.room.member", {"membership": "leave"}, state_key=scene.frank),
    ]
    results = (await evil.send(scene.hs, forged)).json()["pdus"]
    for event in forged:
        assert "error" in results[event.event_id]
        assert not await scene.stored(event.event_id)
    assert scene.frank in await scene.alice.joined_members(room.room_id)


async def test_of_an_event_whose_hash_is_wrong_the_redacted_form_is_kept(any_scene: Scene) -> None:
    scene, evil, room = any_scene, any_scene.evil, any_scene.room
    said = evil.says(room, scene.mallory, "what was signed")
    changed = {**said.pdu, "content": {"msgtype": "m.text", "body": "what was not"}}
    assert (await evil.send(scene.hs, [changed])).json()["pdus"] == {said.event_id: {}}
    assert (await scene.alice.event(room.room_id, said.event_id))["content"] == {}
    room.take_in(said)


async def test_events_that_name_the_wrong_auth_events_are_not_shown(any_scene: Scene) -> None:
    scene, evil, room = any_scene, any_scene.evil, any_scene.room
    other = await scene.shared_room(room.version.name)
    state = {key: event.event_id for key, event in room.state.items()}
    levels, create = state["m.room.power_levels", ""], state["m.room.create", ""]
    mine, hers = state["m.room.member", scene.mallory], state["m.room.member", scene.alice.user_id]
    creates = [] if room.version.room_id_is_create_event_id else [create]
    wrong = {
        "none": [],
        "without the member": [*creates, levels],
        "another member": [*creates, levels, hers],
        "one too many": [*creates, levels, mine, hers],
        "twice": [*creates, levels, mine, mine],
        "of another room": [*creates, levels, other.state["m.room.member", scene.mallory].event_id],
        "nowhere to be had": [*creates, levels, mine, EventId("$" + "x" * 43)],
    }
    for name, auth in wrong.items():
        event = evil.says(room, scene.mallory, name, auth=auth)
        results = (await evil.send(scene.hs, [event])).json()["pdus"]
        assert "error" in results[event.event_id], name
        assert not await scene.is_shown(event.event_id), name


async def test_an_event_that_was_rejected_stays_so_and_vouches_for_nothing(any_scene: Scene) -> None:
    scene, evil, room = any_scene, any_scene.evil, any_scene.room
    content = {"users": {scene.mallory: 100}}
    if not room.version.room_id_is_create_event_id:
        content["users"][scene.alice.user_id] = 100
    usurping = evil.event(room, scene.mallory, "m.room.power_levels", content, state_key="")
    auth = [event.event_id for key, event in room.state.items() if key == ("m.room.member", scene.mallory)]
    if not room.version.room_id_is_create_event_id:
        auth.append(room.state["m.room.create", ""].event_id)
    rename = evil.event(
        room, scene.mallory, "m.room.name", {"name": "Mine"}, state_key="", after=[usurping.event_id],
        auth=[*auth, usurping.event_id],
    )  # fmt: skip
    for events in ([usurping], [usurping], [rename], [usurping, rename]):
        results = (await evil.send(scene.hs, events)).json()["pdus"]
        assert all("error" in results[event.event_id] for event in events), results
    assert await scene.alice.state(room.room_id, "m.room.name") is None


async def test_an_auth_chain_without_an_end_is_given_up(any_scene: Scene) -> None:
    scene, evil, room = any_scene, any_scene.evil, any_scene.room
    chain: list[Event] = []

    def more(_: object) -> Any:
        named = [chain[-1].event_id] if chain else []
        for _ in range(200):
            named = [
                evil.event(
                    room,
                    scene.mallory,
                    "m.room.member",
                    {"membership": "join"},
                    state_key=scene.mallory,
                    auth=[EventId("$" + f"{len(chain):043d}"), *named],
                ).event_id
            ]
        chain.append(evil.says(room, scene.mallory, "deeper", auth=named))
        return {"auth_chain": [chain[-1].pdu], "pdus": [chain[-1].pdu], "events": [chain[-1].pdu],
                "pdu_ids": [chain[-1].event_id], "auth_chain_ids": [chain[-1].event_id]}  # fmt: skip

    more(None)
    evil.answers("GET|POST", more)
    with trio.fail_after(60):
        results = (await evil.send(scene.hs, [chain[0]])).json()["pdus"]
    assert "error" in results[chain[0].event_id]
    assert len(evil.asked) < 30
    assert not await scene.is_shown(chain[0].event_id)


async def test_events_before_each_other_are_given_up(postgres: PostgresServer, tmp_path: Path) -> None:
    async with hostile_scene(postgres, tmp_path, "1") as scene:
        evil, room = scene.evil, scene.room
        model = evil.says(room, scene.mallory, "round and round")
        ring = []
        for number in range(3):
            before = [[f"$ring{(number + 1) % 3}:evil.test", {}]]
            event = {**model.pdu, "event_id": f"$ring{number}:evil.test", "prev_events": before}
            ring.append(evil.signed_pdu(event, room.version))
        vouching = []
        for number in range(3):
            auth = [*model.pdu["auth_events"], [f"$vouch{(number + 1) % 3}:evil.test", {}]]
            event = {**model.pdu, "event_id": f"$vouch{number}:evil.test", "auth_events": auth}
            vouching.append(evil.signed_pdu(event, room.version))
        evil.answers("get_missing_events", {"events": ring})
        evil.answers("event_auth", {"auth_chain": vouching})
        evil.answers("/event/", 404)
        evil.answers("state_ids", {"pdu_ids": ["$ring1:evil.test"], "auth_chain_ids": ["$vouch1:evil.test"]})
        for events in (ring, ring[:1], vouching, vouching[:1]):
            with trio.fail_after(60):
                results = (await evil.send(scene.hs, events)).json()["pdus"]
            assert all("error" in result for result in results.values())


@pytest.mark.parametrize("version", ["1", "5", "6", "11", "12"])
async def test_depth_bombs_stop_no_room(postgres: PostgresServer, tmp_path: Path, version: str) -> None:
    async with hostile_scene(postgres, tmp_path, version) as scene:
        evil, room = scene.evil, scene.room
        bomb = evil.says(room, scene.mallory, "deep", depth=room.version.max_depth)
        assert (await evil.send(scene.hs, [bomb])).json()["pdus"] == {bomb.event_id: {}}
        room.take_in(bomb)
        after = await scene.bob.send_text(room.room_id, "after it")
        await heard(scene.alice, room.room_id, after)
        page = await scene.alice.messages(room.room_id, limit=2)
        assert [event["event_id"] for event in page.chunk] == [after, bomb.event_id]


# Handing over member events


@pytest.mark.parametrize("act", ["join", "leave", "knock"])
async def test_what_is_handed_over_must_be_what_the_path_says(any_scene: Scene, act: str) -> None:
    scene, evil, room = any_scene, any_scene.evil, any_scene.room
    if act == "knock" and not room.version.knocking:
        return
    other = await scene.shared_room(room.version.name)
    user, membership = evil.user("nancy"), {"membership": act}
    good = evil.event(room, user, "m.room.member", membership, state_key=user)
    hers = evil.event(room, scene.frank, "m.room.member", membership, state_key=scene.frank)
    wrong = {
        "another room": (evil.handed(good, act, path_room=other.room_id), good.pdu),
        "another event": (evil.handed(good, act, path_event="$" + "x" * 43), good.pdu),
        "not of the origin": (evil.handed(hers, act), hers.pdu),
        "no member event": _message(scene, act),
    }
    odd: dict[str, tuple[dict[str, Any], UserId]] = {
        "another membership": ({"membership": "ban"}, user),
        "a list": ({"membership": [act]}, user),
        "another user": (membership, scene.mallory),
        "our user": (membership, UserId(scene.xenia.user_id)),
    }
    for name, (content, state_key) in odd.items():
        event = evil.event(room, user, "m.room.member", content, state_key=state_key)
        wrong[name] = evil.handed(event, act), event.pdu
    for name, bad in malformed(scene, good).items():
        wrong[name] = evil.handed(good, act), bad if isinstance(bad, dict) else {"event": bad}
    before, sent = await scene.rows(), len(scene.fair.seen_pdus())
    for name, (path, body) in wrong.items():
        answer = await evil.request(scene.hs, "PUT", path, body)
        assert answer.status_code in (400, 403, 413), (name, answer.text)
        allowed = ("M_BAD_JSON", "M_INVALID_PARAM", "M_FORBIDDEN", "M_TOO_LARGE", "M_MISSING_PARAM")
        assert answer.json()["errcode"] in allowed, (name, answer.text)
    assert await scene.rows() == before
    assert len(scene.fair.seen_pdus()) == sent


def _message(scene: Scene, act: str) -> tuple[str, Any]:
    event = scene.evil.says(scene.room, scene.mallory, "no member event")
    return scene.evil.handed(event, act), event.pdu


# What passes


async def test_what_passes_is_only_believed_of_a_servers_own_users(scene: Scene) -> None:
    room_id, event_id = scene.room.room_id, scene.room.ends[0].event_id
    frank, alice, xenia = scene.frank, scene.alice.user_id, scene.xenia.user_id
    huge = "x" * (1 << 20)

    def edus(user: Any) -> list[tuple[str, Any]]:
        receipt = {"event_ids": [event_id], "data": {"ts": 1}}
        return [
            ("m.typing", {"room_id": room_id, "user_id": user, "typing": True}),
            ("m.receipt", {room_id: {"m.read": {user: receipt}}}),
            ("m.presence", {"push": [{"user_id": user, "presence": "online", "status_msg": "lies"}]}),
            ("m.device_list_update", {"user_id": user, "device_id": "D", "stream_id": 1}),
            ("m.signing_key_update", {"user_id": user}),
            (
                "m.direct_to_device",
                {"sender": user, "type": "m.lie", "message_id": "1", "messages": {alice: {"*": {}}}},
            ),
        ]

    speakers = (frank, alice, xenia, "@", huge, 7, None, "\0")
    odd: tuple[Any, ...] = (
        None, [], "x", 7, huge, {"x": huge}, {huge: {}}, {"push": huge}, {"push": [None]}, {room_id: 7}
    )  # fmt: skip
    wrong: list[Any] = [{"edu_type": kind, "content": content} for user in speakers for kind, content in edus(user)]
    wrong += [{"edu_type": kind, "content": content} for kind, _ in edus(frank) for content in odd]
    wrong += [None, [], {}, {"edu_type": []}, {"edu_type": "m.unknown", "content": {}}]
    nowhere = {"room_id": "!x:evil.test", "user_id": scene.mallory, "typing": True}
    wrong.append({"edu_type": "m.typing", "content": nowhere})
    for start in range(0, len(wrong), 8):
        said = scene.evil.says(scene.room, scene.mallory, f"beside {start}")
        scene.room.take_in(said)
        typing = {"room_id": room_id, "user_id": scene.mallory, "typing": start % 16 == 0}
        edus_ = [*wrong[start : start + 8], {"edu_type": "m.typing", "content": typing}]
        answer = await scene.evil.send(scene.hs, [said], edus_)
        assert answer.status_code == 200, answer.text
        assert answer.json()["pdus"] == {said.event_id: {}}
    shown = repr(await scene.bob.sync())
    assert "lies" not in shown
    assert "m.lie" not in shown
    for room in (await scene.bob.sync())["rooms"]["join"].values():
        for event in room.get("ephemeral", {}).get("events", []):
            assert set(event["content"].get("user_ids", [])) <= {scene.mallory}
            assert frank not in repr(event["content"])


def _with_each_leaf(value: Any, leaf: Any) -> Iterator[Any]:
    """Yield a value with one leaf after the other replaced."""
    if isinstance(value, dict):
        for key, inner in value.items():
            for changed in _with_each_leaf(inner, leaf):
                yield {**value, key: changed}
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            for changed in _with_each_leaf(inner, leaf):
                yield [*value[:place], changed, *value[place + 1 :]]
    else:
        yield leaf


async def test_values_that_cannot_be_kept_spoil_nothing_of_what_passes(scene: Scene) -> None:
    mallory, alice = scene.mallory, scene.alice.user_id
    room_id, event_id = scene.room.room_id, scene.room.ends[0].event_id
    keys = {"user_id": mallory, "usage": ["master"], "keys": {"ed25519:x": "x"}, "signatures": {mallory: {"a:b": "c"}}}
    device = {"user_id": mallory, "device_id": "D", "algorithms": ["a"], "keys": {"ed25519:D": "x"}}
    presence = {"user_id": mallory, "presence": "online", "last_active_ago": 1, "status_msg": "x"}
    edus: list[tuple[str, Any]] = [
        ("m.typing", {"room_id": room_id, "user_id": mallory, "typing": True}),
        (
            "m.receipt",
            {room_id: {"m.read": {mallory: {"event_ids": [event_id], "data": {"ts": 1, "thread_id": "main"}}}}},
        ),
        ("m.presence", {"push": [presence]}),
        (
            "m.device_list_update",
            {
                "user_id": mallory,
                "device_id": "D",
                "device_display_name": "x",
                "stream_id": 1,
                "prev_id": [1],
                "deleted": False,
                "keys": device,
            },
        ),
        ("m.signing_key_update", {"user_id": mallory, "master_key": keys, "self_signing_key": keys}),
        (
            "m.direct_to_device",
            {"sender": mallory, "type": "m.odd", "message_id": "1", "messages": {alice: {"*": {"x": [1]}}}},
        ),
    ]
    leaves: tuple[Any, ...] = (10**40, -(10**19), 2**63, 1.5, "\0", "x\0y", True, None, [], {})
    odd = [
        {"edu_type": kind, "content": content}
        for leaf in leaves
        for kind, whole in edus
        for content in _with_each_leaf(whole, leaf)
    ]
    for start in range(0, len(odd), 90):
        said = scene.evil.says(scene.room, scene.mallory, f"beside {start}")
        scene.room.take_in(said)
        with capture_logs() as logs:
            answer = await scene.evil.send(scene.hs, [said], odd[start : start + 90])
        assert answer.status_code == 200, answer.text
        assert answer.json()["pdus"] == {said.event_id: {}}
        assert not [line for line in logs if line["log_level"] in ("error", "critical")]
    for person in (scene.alice, scene.bob):
        assert said.event_id in repr(await person.sync())
