"""Who is not in a room reads nothing there and does nothing there, whatever the endpoint."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any
from urllib.parse import quote

import orjson
import pytest
import trio

import tricord.clients.api
from tests.security.house import House, Somebody
from tricord.clients.endpoint import Endpoint

# What one event is called to somebody who may not know of it: no such thing.
EVENT_READS = {
    "GetEvent",
    "GetContext",
    "GetRelations",
    "GetRelationsOfKind",
    "GetRelationsOfKindAndType",
    "ReportEvent",
}
# Endpoints that are about the requester's own relation to the room, or about what anybody may know.
OWN_BUSINESS = {
    "ForgetRoom": {200},
    "GetVisibility": {200},
    "GetRoomAccountData": {404},
    "GetTags": {200},
    "GetRoomSummary": {404},
    "ReportRoom": {200},
}


def all_endpoints() -> list[type[Endpoint]]:
    """Return every endpoint there is a description of."""
    return [
        value
        for module in pkgutil.iter_modules(tricord.clients.api.__path__)
        for value in vars(importlib.import_module(f"tricord.clients.api.{module.name}")).values()
        if isinstance(value, type) and issubclass(value, Endpoint) and value.__module__.endswith(f".{module.name}")
    ]


def endpoints_of_rooms() -> list[type[Endpoint]]:
    # Backups of keys name rooms, and are everybody's own.
    about = [one for one in all_endpoints() if "/room_keys/" not in one.path]
    return [one for one in about if {"room_id", "room_id_or_alias"} & set(one.parameters())]


def call_of(endpoint: type[Endpoint], house: House, event_id: str, requester: Somebody) -> tuple[str, Any]:
    """Return the path and the body of a call that would do something if it were allowed."""
    values = {
        "room_id": house.room,
        "room_id_or_alias": house.room,
        "event_id": event_id,
        "event_type": "m.room.message" if "send" in endpoint.path or "relations" in endpoint.path else "m.room.topic",
        "state_key": "",
        "txn_id": "t1",
        "user_id": requester.user_id,
        "receipt_type": "m.read",
        "rel_type": "m.annotation",
        "tag": "u.mine",
        "type": "org.example",
        "data_type": "org.example",
        "network_id": "irc",
    }
    path = endpoint.path
    for name in endpoint.parameters():
        path = path.replace(f"{{{name}}}", quote(values[name], safe=""))
    query = {"GetMessages": "?dir=b", "TimestampToEvent": "?ts=0&dir=f"}.get(endpoint.__name__, "")
    body: Any = {
        "InviteUser": {"user_id": requester.user_id},
        "KickUser": {"user_id": house.bob.user_id},
        "BanUser": {"user_id": house.bob.user_id},
        "UnbanUser": {"user_id": house.bob.user_id},
        "SetTyping": {"typing": True, "timeout": 30_000},
        "SetReadMarkers": {"m.read": event_id, "m.fully_read": event_id},
        "SetVisibility": {"visibility": "public"},
        "SetNetworkVisibility": {"visibility": "public"},
        "UpgradeRoom": {"new_version": "11"},
        "ReportEvent": {"reason": "x"},
        "ReportRoom": {"reason": "x"},
        "SetTag": {"order": 0.5},
        "ScheduleEvent": {"delay": 60_000, "content": {"body": "x"}},
    }.get(endpoint.__name__, {"body": "x"})
    return path + query, None if endpoint.method == "GET" else body


@pytest.mark.parametrize("endpoint", endpoints_of_rooms(), ids=lambda endpoint: endpoint.__name__)
async def test_an_outsider_is_refused(house: House, endpoint: type[Endpoint]) -> None:
    secret = await house.alice.say(house.room, "between us")
    before = (await house.bob.sync())["next_batch"]
    path, body = call_of(endpoint, house, secret, house.outsider)
    answer = await house.outsider.request(endpoint.method, path, body)
    status, errcode = answer.status_code, answer.json().get("errcode")
    if endpoint.__name__ in OWN_BUSINESS:
        assert status in OWN_BUSINESS[endpoint.__name__], answer.text
    elif endpoint.__name__ in EVENT_READS:
        assert (status, errcode) in {(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")}, answer.text
    else:
        assert (status, errcode) == (403, "M_FORBIDDEN"), answer.text
    assert "between us" not in answer.text
    news = await house.bob.sync(before)
    assert "rooms" not in news
    own = await house.outsider.sync()
    assert "rooms" not in own
    assert "org.example" not in str(own)


@pytest.mark.parametrize("visibility", ["shared", "joined"])
async def test_who_is_kicked_is_told_nothing_newer(house: House, visibility: str) -> None:
    content = {"history_visibility": visibility}
    await house.alice.granted("PUT", f"/v3/rooms/{house.room}/state/m.room.history_visibility/", content)
    await house.alice.say(house.room, "with Bob")
    old = (await house.bob.sync())["next_batch"]
    async with house.bob.websocket(position=old) as followed:
        await house.alice.granted("POST", f"/v3/rooms/{house.room}/kick", {"user_id": house.bob.user_id})
        between = (await house.bob.sync(old))["next_batch"]
        await house.alice.say(house.room, "without him")
        await house.alice.granted("PUT", f"/v3/rooms/{house.room}/state/m.room.topic/", {"topic": "him"})
        await house.alice.granted("PUT", f"/v3/rooms/{house.room}/typing/{house.alice.user_id}", {"typing": True})

        subscription = {"include_leave": True, "rooms": [house.room], "timeline": {"limit": 100}}
        everything = orjson.dumps({"room": subscription}).decode()
        for since in (None, old, between):
            for query in ({}, {"full_state": "true"}, {"filter": everything}, {"use_state_after": "true"}):
                told = str(await house.bob.sync(since, **query))
                assert "without him" not in told
                assert "'topic'" not in told
                assert "m.typing" not in told
        for position in ({}, {"position": old}, {"position": between}):
            async with house.bob.websocket(**position, filter={"room": {"include_leave": True}}) as socket:
                told = await received(socket, 0.2)
                assert "without him" not in told
                assert '"topic"' not in told
        told = await received(followed, 0.2)
        assert '"membership":"leave"' in told
        assert "without him" not in told

    for path in ("/messages?dir=b", "/messages?dir=f", "/state", "/members"):
        answer = await house.bob.request("GET", f"/v3/rooms/{house.room}{path}")
        assert "without him" not in answer.text
        assert '"topic"' not in answer.text
    assert (await house.bob.refused("GET", f"/v3/rooms/{house.room}/joined_members"))[0] == 403
    path = f"/v3/rooms/{house.room}/send/m.room.message/after"
    assert await house.bob.refused("PUT", path, {"body": "x"}) == (403, "M_FORBIDDEN")


async def test_who_is_banned_after_a_kick_is_told_nothing_from_between(house: House) -> None:
    old = (await house.bob.sync())["next_batch"]
    await house.alice.granted("POST", f"/v3/rooms/{house.room}/kick", {"user_id": house.bob.user_id})
    await house.alice.granted("PUT", f"/v3/rooms/{house.room}/state/m.room.topic/", {"topic": "him"})
    for number in range(5):
        await house.alice.say(house.room, f"without him {number}")
    await house.alice.granted("PUT", f"/v3/rooms/{house.room}/state/m.room.name/", {"name": "him"})
    await house.alice.granted("POST", f"/v3/rooms/{house.room}/ban", {"user_id": house.bob.user_id})
    room: dict[str, Any] = {"include_leave": True}
    for limit in (1, 3, 100):
        for extra in ({}, {"types": ["m.room.member"]}, {"types": ["m.room.message"]}):
            room["timeline"] = {"limit": limit, **extra}
            wanted = orjson.dumps({"room": room}).decode()
            for since in (None, old):
                for query in ({}, {"full_state": "true"}, {"use_state_after": "true"}):
                    told = (await house.bob.sync(since, filter=wanted, **query))["rooms"]["leave"][house.room]
                    assert "without him" not in str(told), (since, query)
                    assert "{'topic': 'him'}" not in str(told), (since, query)
                    assert "{'name': 'him'}" not in str(told), (since, query)


async def test_who_declines_an_invitation_is_not_shown_the_room(house: House) -> None:
    old = (await house.outsider.sync())["next_batch"]
    await house.alice.granted("PUT", f"/v3/rooms/{house.room}/state/org.example.secret/", {"a": 1})
    await house.alice.granted("POST", f"/v3/rooms/{house.room}/invite", {"user_id": house.outsider.user_id})
    await house.outsider.granted("POST", f"/v3/rooms/{house.room}/leave")
    for since in (None, old):
        for query in ({}, {"full_state": "true"}, {"use_state_after": "true"}):
            told = await house.outsider.sync(since, filter='{"room":{"include_leave":true}}', **query)
            assert "org.example.secret" not in str(told)
            assert house.bob.user_id not in str(told)


async def received(socket: Any, seconds: float) -> str:
    """Return all that comes within a while."""
    told = ""
    with trio.move_on_after(seconds):
        while True:
            told += await socket.get_message()
    return told


async def test_who_was_never_asked_in_is_not_shown_who_is_there(house: House) -> None:
    private = await house.alice.create_room(preset="private_chat", name="Secret plans")
    for path in (f"/v3/rooms/{private}/aliases", f"/v3/profile/{house.alice.user_id}", "/v3/publicRooms"):
        answer = await house.outsider.request("GET", path)
        assert "Secret plans" not in answer.text
    for path in ("/v3/publicRooms", "/v3/user_directory/search"):
        answer = await house.outsider.request("POST", path, {"search_term": "Secret", "filter": {}})
        assert "Secret plans" not in answer.text


async def test_nobody_reads_or_writes_what_belongs_to_somebody_else(house: House) -> None:
    alice, mallory = house.alice, house.outsider
    await alice.granted("PUT", f"/v3/user/{alice.user_id}/account_data/org.example", {"mine": True})
    flt = (await alice.granted("POST", f"/v3/user/{alice.user_id}/filter", {}))["filter_id"]
    for method, path in (
        ("GET", f"/v3/user/{alice.user_id}/account_data/org.example"),
        ("PUT", f"/v3/user/{alice.user_id}/account_data/org.example"),
        ("GET", f"/v3/user/{alice.user_id}/rooms/{house.room}/account_data/org.example"),
        ("PUT", f"/v3/user/{alice.user_id}/rooms/{house.room}/account_data/org.example"),
        ("GET", f"/v3/user/{alice.user_id}/rooms/{house.room}/tags"),
        ("PUT", f"/v3/user/{alice.user_id}/rooms/{house.room}/tags/u.x"),
        ("DELETE", f"/v3/user/{alice.user_id}/rooms/{house.room}/tags/u.x"),
        ("GET", f"/v3/user/{alice.user_id}/filter/{flt}"),
        ("POST", f"/v3/user/{alice.user_id}/filter"),
        ("PUT", f"/v3/presence/{alice.user_id}/status"),
        ("PUT", f"/v3/profile/{alice.user_id}/displayname"),
        ("PUT", f"/v3/rooms/{house.room}/typing/{alice.user_id}"),
    ):
        body = {"displayname": "x", "presence": "online", "typing": True} if method != "GET" else None
        assert await mallory.refused(method, path, body) == (403, "M_FORBIDDEN"), path
    assert await mallory.refused("GET", f"/v3/devices/{alice.device_id}") == (404, "M_NOT_FOUND")
    assert await mallory.refused("GET", f"/v3/user/{mallory.user_id}/filter/{flt}") == (404, "M_NOT_FOUND")


async def test_presence_is_for_those_who_share_a_room(house: House) -> None:
    await house.alice.granted(
        "PUT", f"/v3/presence/{house.alice.user_id}/status", {"presence": "online", "status_msg": "thinking of Bob"}
    )
    assert (await house.bob.granted("GET", f"/v3/presence/{house.alice.user_id}/status"))["presence"] == "online"
    answer = await house.outsider.request("GET", f"/v3/presence/{house.alice.user_id}/status")
    assert (answer.status_code, answer.json()["errcode"]) == (403, "M_FORBIDDEN")
    assert "thinking" not in str(await house.outsider.sync())
