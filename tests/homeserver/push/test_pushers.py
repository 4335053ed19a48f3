"""Users who are not looking are notified: at push gateways and in browsers, over TLS."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.authority import Authority
from tests.federation.web import LOOPBACK, Host, Seen, hosting, reply
from tests.servers import running_homeserver, signed_in
from tricord.clients import Client, Refused
from tricord.homeserver.app import Homeserver
from tricord.protocol.identifiers import RoomId, UserId

_PATIENCE_SECONDS = 60


@dataclass
class Gateway:
    """A push gateway, or a push service: what it got, and what it answers."""

    host: Host
    statuses: list[int] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    _arrived: trio.Event = field(default_factory=trio.Event)

    @property
    def url(self) -> str:
        return f"https://{LOOPBACK}:{self.host.port}/_matrix/push/v1/notify"

    def take(self, seen: Seen) -> bytes:
        self.seen.append(seen)
        self._arrived.set()
        self._arrived = trio.Event()
        status = self.statuses.pop(0) if self.statuses else 200
        return reply(orjson.dumps({"rejected": self.rejected}), status=status)

    async def requests(self, count: int) -> list[Seen]:
        """Return the requests once there are so many."""
        with trio.fail_after(_PATIENCE_SECONDS):
            while len(self.seen) < count:
                await self._arrived.wait()
        return self.seen

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Return the notifications once there are so many."""
        await self.requests(count)
        return [orjson.loads(seen.body)["notification"] for seen in self.seen]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "ca").mkdir()
    return Authority(tmp_path / "ca")


@pytest.fixture
async def gateway(authority: Authority) -> AsyncIterator[Gateway]:
    host = Host()
    gateway = Gateway(host)
    host.answer = gateway.take
    async with hosting(host, authority.tls_for(LOOPBACK)):
        yield gateway


@pytest.fixture
def changed_settings(authority: Authority) -> dict[str, Any]:
    return {"federation": {"trusted_ca": authority.certificate, "allowed_addresses": [f"{LOOPBACK}/32"]}}


async def shared_room(alice: Client, bob: Client) -> RoomId:
    room = await alice.create_room(name="Tea", preset="public_chat")
    await bob.join(room)
    return room


async def pushed_to(client: Client, gateway: Gateway, key: str = "phone", **data: Any) -> None:
    await client.set_pusher(
        "app", key, {"url": gateway.url, **data}, app_display_name="An app", device_display_name="A phone"
    )


async def test_a_message_is_pushed_with_all_that_a_phone_shows(alice: Client, bob: Client, gateway: Gateway) -> None:
    await bob.set_profile("displayname", "Bob")
    room = await shared_room(alice, bob)
    await pushed_to(alice, gateway, colour="green")
    sent = await bob.send_text(room, "The kettle is on")
    (notification,) = await gateway.until(1)
    (device,) = notification.pop("devices")
    assert device["pushkey_ts"] > 1_600_000_000
    assert {key: device[key] for key in ("app_id", "pushkey", "data")} == {
        "app_id": "app",
        "pushkey": "phone",
        "data": {"colour": "green"},
    }
    assert notification == {
        "event_id": sent,
        "room_id": room,
        "type": "m.room.message",
        "sender": "@bob:hs.test",
        "sender_display_name": "Bob",
        "room_name": "Tea",
        "content": {"msgtype": "m.text", "body": "The kettle is on"},
        "counts": {"unread": 1},
        "prio": "high",
    }


async def test_a_phone_is_told_what_is_left_when_something_is_read_elsewhere(
    alice: Client, bob: Client, gateway: Gateway
) -> None:
    room = await shared_room(alice, bob)
    await pushed_to(alice, gateway)
    texts = [await bob.send_text(room, text) for text in ("one", "two", "three")]
    await gateway.until(3)
    await alice.mark_read(room, texts[1])
    left = (await gateway.until(4))[3]
    assert left["counts"] == {"unread": 1}
    assert "event_id" not in left
    assert [device["pushkey"] for device in left["devices"]] == ["phone"]
    await alice.mark_read(room, texts[2])
    assert (await gateway.until(5))[4]["counts"] == {"unread": 0}
    await bob.send_text(room, "four")
    assert (await gateway.until(6))[5]["counts"] == {"unread": 1}


async def test_only_names_are_pushed_where_the_client_wants_no_more(
    alice: Client, bob: Client, gateway: Gateway
) -> None:
    room = await shared_room(alice, bob)
    await pushed_to(alice, gateway, format="event_id_only")
    sent = await bob.send_text(room, "A secret")
    (notification,) = await gateway.until(1)
    assert set(notification) == {"event_id", "room_id", "counts", "prio", "devices"}
    assert notification["event_id"] == sent
    assert b"secret" not in gateway.seen[0].body


async def test_one_is_not_notified_of_oneself_nor_of_what_rules_keep_quiet(
    alice: Client, bob: Client, gateway: Gateway
) -> None:
    room, quiet = await shared_room(alice, bob), await shared_room(alice, bob)
    await alice.set_push_rule("room", quiet, [])
    await pushed_to(alice, gateway)
    await alice.send_text(room, "To myself")
    await bob.send_text(quiet, "Psst")
    sent = await bob.send_text(room, "Hello")
    notifications = await gateway.until(1)
    assert [notification["event_id"] for notification in notifications] == [sent]


async def test_an_invitation_is_pushed_to_the_one_invited(alice: Client, bob: Client, gateway: Gateway) -> None:
    await pushed_to(bob, gateway)
    room = await alice.create_room(invite=[UserId("@bob:hs.test")], name="Tea")
    (notification,) = await gateway.until(1)
    assert notification["room_id"] == room
    assert notification["type"] == "m.room.member"
    assert notification["user_is_target"]


async def test_what_ignored_people_say_and_where_they_invite_to_is_not_pushed(
    alice: Client, bob: Client, homeserver: Homeserver, gateway: Gateway
) -> None:
    async with signed_in(homeserver, "carol") as carol:
        room = await shared_room(alice, bob)
        await carol.join(room)
        await alice.set_account_data("m.ignored_user_list", {"ignored_users": {bob.user_id: {}}})
        await pushed_to(alice, gateway)
        await bob.send_text(room, "Hey")
        await bob.create_room(invite=[alice.user_id])
        sent = await carol.send_text(room, "Hello")
        notifications = await gateway.until(1)
        assert [notification["event_id"] for notification in notifications] == [sent]
        assert notifications[0]["counts"] == {"unread": 1}
        listed = (await alice.notifications()).notifications
        assert [one["event"]["event_id"] for one in listed] == [sent]


async def test_a_gateway_that_fails_is_asked_again_until_it_answers(
    alice: Client, bob: Client, gateway: Gateway
) -> None:
    room = await shared_room(alice, bob)
    gateway.statuses = [502, 502]
    await pushed_to(alice, gateway)
    sent = await bob.send_text(room, "Hello")
    notifications = await gateway.until(3)
    assert [notification["event_id"] for notification in notifications] == [sent] * 3


async def test_a_key_that_the_gateway_rejects_is_forgotten(alice: Client, bob: Client, gateway: Gateway) -> None:
    room = await shared_room(alice, bob)
    gateway.rejected = ["phone"]
    await pushed_to(alice, gateway)
    await bob.send_text(room, "Hello")
    await gateway.until(1)
    with trio.fail_after(_PATIENCE_SECONDS):
        while await alice.pushers():  # noqa: ASYNC110  # nobody is told that a pusher is gone
            await trio.sleep(0.01)


async def test_what_came_while_the_server_was_down_for_is_pushed_once_after_the_restart(
    database_url: str, tmp_path: Path, changed_settings: dict[str, Any], gateway: Gateway
) -> None:
    async with (
        running_homeserver(database_url, tmp_path, **changed_settings) as homeserver,
        signed_in(homeserver, "alice") as alice,
        signed_in(homeserver, "bob") as bob,
    ):
        room = await shared_room(alice, bob)
        await pushed_to(alice, gateway)
        first = await bob.send_text(room, "Told")
        await gateway.until(1)
        gateway.statuses = [503] * 50
        second = await bob.send_text(room, "Not told")
        await gateway.until(2)
    gateway.statuses = []
    async with (
        running_homeserver(database_url, tmp_path, **changed_settings) as homeserver,
        signed_in(homeserver, "carol"),
    ):
        notifications = await gateway.until(3)
    told = [notification["event_id"] for notification in notifications]
    assert told[0] == first
    assert set(told[1:]) == {second}


async def test_whoever_signs_out_is_notified_no_more(homeserver: Homeserver, alice: Client, gateway: Gateway) -> None:
    await pushed_to(alice, gateway)
    await alice.logout()
    async with Client(homeserver.urls[0]) as again:
        await again.login("alice", "correct horse battery staple")
        assert not await again.pushers()


async def test_a_pusher_of_another_user_with_the_same_key_gives_way_unless_both_are_wanted(
    alice: Client, bob: Client, gateway: Gateway
) -> None:
    await pushed_to(alice, gateway)
    await pushed_to(bob, gateway)
    assert not await alice.pushers()
    names: dict[str, Any] = {"app_display_name": "An app", "device_display_name": "A phone"}
    await alice.set_pusher("app", "phone", {"url": gateway.url}, append=True, **names)
    assert len(await alice.pushers()) == len(await bob.pushers()) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"data": {}},
        {"data": {"url": "http://push.example/_matrix/push/v1/notify"}},
        {"data": {"url": "https://push.example/elsewhere"}},
        {"data": {"url": "https://[oops/_matrix/push/v1/notify"}},
        {"kind": "pigeon"},
        {"app_id": "a" * 65},
        {"app_id": ""},
        {"pushkey": "k" * 513},
        {"pushkey": ""},
        {"lang": "x" * 5000},
    ],
)
async def test_what_could_not_be_pushed_to_is_refused(alice: Client, changed: dict[str, Any]) -> None:
    url = "https://push.example/_matrix/push/v1/notify"
    wanted: dict[str, Any] = {"app_id": "app", "pushkey": "key", "data": {"url": url}, **changed}
    with pytest.raises(Refused) as refusal:
        await alice.set_pusher(**wanted, app_display_name="An app", device_display_name="A phone")
    assert refusal.value.status == 400


async def test_a_private_address_is_never_called(database_url: str, tmp_path: Path, gateway: Gateway) -> None:
    async with (
        running_homeserver(database_url, tmp_path) as homeserver,
        signed_in(homeserver, "alice") as alice,
        signed_in(homeserver, "bob") as bob,
    ):
        room = await shared_room(alice, bob)
        await pushed_to(alice, gateway)
        await bob.send_text(room, "Hello")
        await alice.notifications()
    assert gateway.host.connections == 0


async def test_a_browser_reads_its_notification_and_nobody_else_can(
    alice: Client, bob: Client, gateway: Gateway
) -> None:
    room = await shared_room(alice, bob)
    browser, secret = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
    public = browser.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    await alice.set_pusher(
        "app",
        base64.urlsafe_b64encode(public).decode(),
        {"url": gateway.url, "auth": base64.urlsafe_b64encode(secret).decode()},
        kind="webpush",
        app_display_name="A page",
        device_display_name="A browser",
    )
    sent = await bob.send_text(room, "The kettle is on")
    seen = (await gateway.requests(1))[0]
    assert seen.headers["content-encoding"] == "aes128gcm"
    assert seen.headers["authorization"].startswith("vapid t=")
    message = read_by(browser, public, secret, seen.body)
    assert message["event_id"] == sent
    assert message["content"]["body"] == "The kettle is on"
    assert b"kettle" not in seen.body


def read_by(browser: ec.EllipticCurvePrivateKey, public: bytes, secret: bytes, body: bytes) -> dict[str, Any]:
    """Decrypt a message as a browser does."""

    def derived(material: bytes, salt: bytes, info: bytes, length: int) -> bytes:
        return HKDF(hashes.SHA256(), length, salt, info).derive(material)

    salt, size = body[:16], body[20]
    point, ciphertext = body[21 : 21 + size], body[21 + size :]
    shared = browser.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point))
    material = derived(shared, secret, b"WebPush: info\0" + public + point, 32)
    key = derived(material, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = derived(material, salt, b"Content-Encoding: nonce\0", 12)
    plaintext = AESGCM(key).decrypt(nonce, ciphertext, None).rstrip(b"\0")
    assert plaintext.endswith(b"\x02")
    message: dict[str, Any] = orjson.loads(plaintext[:-1])
    return message


async def test_what_one_was_notified_of_can_be_paged_through(alice: Client, bob: Client) -> None:
    room = await shared_room(alice, bob)
    contents: list[dict[str, Any]] = [{}, {"m.mentions": {"user_ids": ["@alice:hs.test"]}}, {}]
    text = {"msgtype": "m.text", "body": "Hello"}
    sent = [await bob.send(room, "m.room.message", text | content) for content in contents]
    await alice.send_text(room, "Hm")
    last = await bob.send_text(room, "four")
    first_page = await alice.notifications(limit=2)
    assert [one["event"]["event_id"] for one in first_page.notifications] == [last, sent[2]]
    assert [one["read"] for one in first_page.notifications] == [False, True]
    second_page = await alice.notifications(after=first_page.next_token, limit=10)
    assert [one["event"]["event_id"] for one in second_page.notifications] == [sent[1], sent[0]]
    assert second_page.next_token is None
    highlights = await alice.notifications(only_highlights=True)
    assert [one["event"]["event_id"] for one in highlights.notifications] == [sent[1]]
