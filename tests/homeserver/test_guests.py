"""People come in as guests, do what guests may, and stay as users if they like it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trio

from tests.servers import PASSWORD, running_homeserver
from tricord.clients import Client, Refused
from tricord.homeserver.app import Homeserver

_PATIENCE_SECONDS = 60


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    return {"registration": {"enabled": True, "guests": True}}


@pytest.fixture
async def guest(homeserver: Homeserver) -> AsyncIterator[Client]:
    async with Client(homeserver.urls[0]) as client:
        await client.register_guest(device_name="Kiosk")
        yield client


@pytest.fixture
def http(homeserver: Homeserver, guest: Client) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {guest.access_token}"}
    return httpx.AsyncClient(base_url=f"{homeserver.urls[0]}/_matrix/client", headers=headers)


def admitting(how: str) -> dict[str, Any]:
    return {"type": "m.room.guest_access", "state_key": "", "content": {"guest_access": how}}


async def test_a_guest_joins_reads_and_speaks_where_guests_are_admitted(alice: Client, guest: Client) -> None:
    room_id = await alice.create_room(preset="public_chat", initial_state=[admitting("can_join")])
    closed = await alice.create_room(preset="public_chat", initial_state=[admitting("forbidden")])
    assert (await guest.whoami()).is_guest
    await guest.join(room_id)
    await guest.send_text(room_id, "I am new here")
    await guest.set_profile("displayname", "Somebody")
    assert (await guest.devices())[0].display_name == "Kiosk"
    await guest.rename_device(guest.device_id, "Telephone")
    assert room_id in (await guest.sync())["rooms"]["join"]
    with pytest.raises(Refused) as refusal:
        await guest.join(closed)
    assert (refusal.value.status, refusal.value.errcode) == (403, "M_GUEST_ACCESS_FORBIDDEN")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v3/createRoom"),
        ("POST", "/v3/rooms/{room}/invite"),
        ("POST", "/v3/rooms/{room}/kick"),
        ("POST", "/v3/rooms/{room}/upgrade"),
        ("POST", "/v3/rooms/{room}/report"),
        ("POST", "/v3/knock/{room}"),
        ("PUT", "/v3/directory/list/room/{room}"),
        ("GET", "/v1/rooms/{room}/hierarchy"),
        ("POST", "/v3/user_directory/search"),
        ("PUT", "/v3/profile/{user}/avatar_url"),
        ("DELETE", "/v3/profile/{user}/org.example"),
        ("DELETE", "/v3/devices/X"),
        ("POST", "/v3/account/password"),
        ("PUT", "/v3/user/{user}/account_data/org.example"),
        ("GET", "/v3/pushrules/"),
    ],
)
async def test_what_guests_may_not_do_is_refused(
    alice: Client, guest: Client, http: httpx.AsyncClient, method: str, path: str
) -> None:
    room_id = await alice.create_room(preset="public_chat", initial_state=[admitting("can_join")])
    await guest.join(room_id)
    body = {"avatar_url": "mxc://a/b", "new_version": "11", "reason": "", "search_term": "x", "user_id": alice.user_id}
    answer = await http.request(
        method, path.format(room=quote(room_id), user=quote(guest.user_id)), json=None if method == "GET" else body
    )
    assert (answer.status_code, answer.json()["errcode"]) == (403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_a_guest_reads_rooms_that_the_world_may_read(alice: Client, guest: Client) -> None:
    readable = {
        "type": "m.room.history_visibility",
        "state_key": "",
        "content": {"history_visibility": "world_readable"},
    }
    room_id = await alice.create_room(preset="private_chat", initial_state=[readable])
    private = await alice.create_room(preset="public_chat")
    said = await alice.send_text(room_id, "Hear ye")
    assert (await guest.messages(room_id)).chunk[0]["event_id"] == said
    assert (await guest.context(room_id, said)).event["event_id"] == said
    assert len(await guest.full_state(room_id)) > 5
    assert len(await guest.members(room_id)) == 1
    with pytest.raises(Refused):
        await guest.messages(private)


async def test_guests_leave_when_they_are_no_longer_admitted(alice: Client, guest: Client) -> None:
    room_id = await alice.create_room(preset="public_chat", initial_state=[admitting("can_join")])
    await guest.join(room_id)
    await alice.set_state(room_id, "m.room.guest_access", {"guest_access": "forbidden"})
    with trio.fail_after(_PATIENCE_SECONDS):
        since = None
        while guest.user_id in await alice.joined_members(room_id):
            since = (await alice.sync(since=since, timeout_seconds=1))["next_batch"]
    assert await alice.joined_rooms() == [room_id]


async def test_a_guest_becomes_a_user_and_keeps_name_and_rooms(
    homeserver: Homeserver, alice: Client, guest: Client
) -> None:
    room_id = await alice.create_room(preset="public_chat", initial_state=[admitting("can_join")])
    await guest.join(room_id)
    name = guest.user_id
    earlier = guest.access_token
    await guest.become_user(PASSWORD)
    assert guest.user_id == name
    assert not (await guest.whoami()).is_guest
    assert await guest.joined_rooms() == [room_id]
    await guest.create_room()
    async with Client(homeserver.urls[0], access_token=earlier) as before:
        assert not (await before.whoami()).is_guest
        with pytest.raises(Refused):
            await before.become_user(PASSWORD)
    async with Client(homeserver.urls[0]) as again:
        await again.login(name, PASSWORD)


async def test_only_the_guest_becomes_that_user(homeserver: Homeserver, alice: Client, guest: Client) -> None:
    name = guest.user_id.partition(":")[0].removeprefix("@")
    async with httpx.AsyncClient(base_url=homeserver.urls[0]) as http:
        for token, username, status, errcode in (
            (guest.access_token, "alice", 400, "M_INVALID_USERNAME"),
            (guest.access_token, None, 400, "M_MISSING_PARAM"),
            (alice.access_token, "alice", 403, "M_FORBIDDEN"),
            ("nonsense", name, 401, "M_UNKNOWN_TOKEN"),
            (None, name, 400, "M_USER_IN_USE"),
        ):
            body = {"username": username, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
            answer = await http.post("/_matrix/client/v3/register", json=body | {"guest_access_token": token})
            assert (answer.status_code, answer.json()["errcode"]) == (status, errcode)


async def test_no_guests_come_unless_the_operator_lets_them(database_url: str, tmp_path: Path) -> None:
    async with running_homeserver(database_url, tmp_path) as homeserver, Client(homeserver.urls[0]) as client:
        with pytest.raises(Refused) as refusal:
            await client.register_guest()
        assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")


async def test_what_a_guest_asks_for_beside_a_name_of_the_device_is_ignored(homeserver: Homeserver) -> None:
    async with httpx.AsyncClient(base_url=homeserver.urls[0]) as http:
        body = {"username": "king", "password": PASSWORD, "device_id": "MINE", "inhibit_login": True}
        answer = (await http.post("/_matrix/client/v3/register?kind=guest", json=body)).json()
    assert "king" not in answer["user_id"]
    assert answer["device_id"] != "MINE"
    assert answer["access_token"]
