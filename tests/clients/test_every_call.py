"""Every endpoint that is described can be called, and the real homeserver answers what the description says."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import tricord.clients.api
from tests.clients.either_server import real_server
from tests.homeserver.encryption.devices import ALGORITHM, Device
from tests.homeserver.encryption.identities import Identity
from tests.homeserver.media.images import image
from tricord.clients import Client, Refused
from tricord.clients.endpoint import Endpoint
from tricord.clients.http import Http
from tricord.clients.testing import PASSWORD, Person
from tricord.protocol.identifiers import DeviceId, RoomAlias, RoomId, UserId

# Other spellings of what is called, pages for browsers, and what is for Synapse's scripts.
NOT_CALLED = {
    "GetPushRules",
    "UpdateDelayedEventByBody",
    "ReadDehydratedDeviceEvents",
    "JoinRoomById",
    "DownloadMediaUnauthenticated",
    "DownloadNamedMediaUnauthenticated",
    "GetThumbnailUnauthenticated",
    "GetFallbackPage",
    "SubmitFallbackPage",
    "GetRegistrationNonce",
    "RegisterWithSharedSecret",
}

# Called, and refused: there are no bridges here, no previews of URLs, and nobody is an administrator.
REFUSED = {
    "PreviewUrl",
    "GetLocked",
    "SetLocked",
    "GetSuspended",
    "SetSuspended",
    "GetProtocol",
    "GetLocationsOfProtocol",
    "GetUsersOfProtocol",
    "GetLocations",
    "GetUsers",
    "SetNetworkVisibility",
}


def described() -> set[str]:
    """Return the names of all endpoints of the client API."""
    for module in pkgutil.iter_modules(tricord.clients.api.__path__):
        importlib.import_module(f"tricord.clients.api.{module.name}")
    return {
        endpoint.__name__
        for endpoint in Endpoint.__subclasses__()
        if endpoint.__module__.startswith("tricord.clients.api")
    }


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the endpoints that have been called."""
    names: set[str] = set()
    exchange = Http.exchange

    async def noted(self: Http, endpoint: type[Endpoint], *arguments: Any, **options: Any) -> Any:
        answer = await exchange(self, endpoint, *arguments, **options)
        names.add(endpoint.__name__)
        return answer

    monkeypatch.setattr(Http, "exchange", noted)
    return names


async def sessions_and_accounts(alice: Person, url: str) -> None:
    assert (await alice.whoami()).user_id == alice.user_id
    assert (await alice.versions()).versions
    assert "m.room_versions" in await alice.capabilities()
    assert (await alice.turn_server()).uris == []
    for call in (alice.is_locked, alice.set_locked, alice.is_suspended, alice.set_suspended):
        with pytest.raises(Refused):
            await call(alice.user_id)
    assert (await alice.who_is(alice.user_id)).user_id == alice.user_id
    assert (await alice.well_known()).homeserver.base_url
    assert (await alice.server_well_known()).server
    assert (await alice.support()).contacts
    assert (await alice.policy_server()).public_keys.ed25519
    assert "m.login.password" in [flow.type for flow in await alice.login_flows()]
    assert await alice.is_available("nobody")
    assert not await alice.registration_token_is_valid("nonsense")
    assert await alice.third_party_ids() == []

    async with Client(url) as phone:
        await phone.login_with_token(await alice.login_token(PASSWORD), device_name="Phone")
        assert phone.user_id == alice.user_id
        await alice.rename_device(phone.device_id, "Telephone")
        assert (await alice.device(phone.device_id)).display_name == "Telephone"
        await alice.delete_device(phone.device_id, PASSWORD)
        await phone.login("alice", PASSWORD, device_id="PHONE")
        assert {device.device_id for device in await alice.devices()} == {alice.device_id, "PHONE"}
        await alice.delete_devices([DeviceId("PHONE")], PASSWORD)
        with pytest.raises(Refused):
            await alice.delete_devices([alice.device_id], "wrong")

    await alice.set_profile("displayname", "Alice")
    await alice.set_profile("org.example.colour", {"name": "blue"})
    assert await alice.profile_field("org.example.colour") == {"name": "blue"}
    await alice.delete_profile("org.example.colour")
    assert await alice.profile() == {"displayname": "Alice"}
    await alice.set_account_data("org.example.note", {"text": "a"})
    assert await alice.account_data("org.example.note") == {"text": "a"}
    assert (await alice.openid_token()).matrix_server_name == "localhost"
    filter_id = await alice.create_filter({"room": {"timeline": {"limit": 3}}})
    assert await alice.get_filter(filter_id) == {"room": {"timeline": {"limit": 3}}}


async def rooms(alice: Person, bob: Person) -> None:
    room_id = await alice.create_room(name="Tea", preset="public_chat")
    alias = RoomAlias("#tea:localhost")
    await alice.set_alias(alias, room_id)
    assert (await alice.resolve_alias(alias)).servers == ["localhost"]
    assert await alice.aliases(room_id) == [alias]
    await alice.set_directory_visibility(room_id, "public")
    assert await bob.directory_visibility(room_id) == "public"
    assert [room.name for room in (await bob.public_rooms(limit=10)).chunk] == ["Tea"]
    assert (await bob.public_rooms(search="coffee")).chunk == []
    await alice.delete_alias(alias)

    await bob.join(room_id)
    assert await bob.joined_rooms() == [room_id]
    await bob.leave(room_id, reason="no cake")
    await bob.forget(room_id)
    await alice.invite(room_id, bob.user_id)
    await alice.kick(room_id, bob.user_id)
    await alice.ban(room_id, bob.user_id)
    await alice.unban(room_id, bob.user_id)
    await alice.set_state(room_id, "m.room.join_rules", {"join_rule": "knock"})
    await bob.knock(room_id)
    await alice.invite(room_id, bob.user_id)
    await bob.join(room_id)
    # What looks like a folder in a path is a state key like any other.
    for state_key in ("", ".", "..", "a/b", "ä %2F?#"):
        await alice.set_state(room_id, "org.example.thing", {"key": state_key}, state_key)
    for state_key in ("", ".", "..", "a/b", "ä %2F?#"):
        assert await bob.state(room_id, "org.example.thing", state_key) == {"key": state_key}
    assert await bob.state(room_id, "org.example.other") is None
    assert len(await bob.full_state(room_id)) > 8
    assert len(await bob.members(room_id, membership="join")) == 2
    assert (await bob.joined_members(room_id))[alice.user_id].display_name == "Alice"

    space_id = await alice.create_room(name="Kitchen", creation_content={"type": "m.space"})
    await alice.set_state(space_id, "m.space.child", {"via": ["localhost"]}, room_id)
    assert [room.name async for room in alice.rooms_of_space(space_id)] == ["Kitchen", "Tea"]
    assert (await alice.hierarchy(space_id, suggested_only=True)).rooms[0].children_state == []
    assert (await alice.room_summary(room_id, via=["localhost"])).membership == "join"
    old = await alice.create_room(room_version="11")
    assert await alice.upgrade(old, "12", additional_creators=[bob.user_id]) in await alice.joined_rooms()

    said = await alice.send_text(room_id, "Hello", html="<b>Hello</b>")
    answer = await bob.reply(room_id, said, "Good day")
    edited = await bob.edit(room_id, answer, "Good evening", html="<i>Good evening</i>")
    reaction = await bob.react(room_id, said, "👋")
    assert {event["event_id"] for event in (await alice.relations(room_id, said)).chunk} >= {reaction}
    kinds = await alice.relations(room_id, answer, rel_type="m.replace")
    assert [event["event_id"] for event in kinds.chunk] == [edited]
    typed = await alice.relations(room_id, said, rel_type="m.annotation", event_type="m.reaction")
    assert [event["event_id"] for event in typed.chunk] == [reaction]
    threaded = {"msgtype": "m.text", "body": "aside", "m.relates_to": {"rel_type": "m.thread", "event_id": said}}
    await bob.send(room_id, "m.room.message", threaded)
    assert [root["event_id"] for root in (await alice.threads(room_id)).chunk] == [said]
    updates = await alice.thread_updates(include_roots=True)
    assert updates.chunk[room_id][said].thread_root is not None
    with pytest.raises(ValueError, match="rel_type"):
        await alice.relations(room_id, said, event_type="m.reaction")
    assert [one["result"]["event_id"] for one in (await bob.search("aside", room_ids=[room_id]))["results"]]
    event = await bob.event(room_id, said)
    assert event["content"]["formatted_body"] == "<b>Hello</b>"
    assert await bob.event_at(room_id, event["origin_server_ts"]) == said
    assert (await bob.context(room_id, said, event_filter={"types": ["m.room.message"]})).event["event_id"] == said
    assert (await bob.messages(room_id, limit=2)).chunk[1]["event_id"] == reaction
    await bob.redact(room_id, reaction)
    assert [one.user_id for one in (await bob.search_users("ali")).results] == [alice.user_id]
    assert await bob.mutual_rooms(alice.user_id) == [room_id]
    peeked = await bob.peek(room_id, limit=1)
    assert peeked.membership == "join"
    assert (await bob.follow_room(room_id, start=peeked.messages.end, timeout_seconds=0)).chunk == []
    assert (await bob.initial_sync(archived=True)).rooms[0]["messages"]["chunk"]
    assert (await bob.event_alone(said))["event_id"] == said
    await bob.report_event(room_id, said, "rude")
    await bob.report_room(room_id)
    await bob.report_user(alice.user_id, "rude")

    await alice.set_typing(room_id)
    await alice.mark_read(room_id, said, thread="main")
    await alice.set_read_markers(room_id, fully_read=said, read=said, read_private=said)
    await alice.set_account_data("org.example.note", {"text": "b"}, room_id=room_id)
    assert await alice.account_data("org.example.note", room_id=room_id) == {"text": "b"}
    await alice.set_tag(room_id, "m.favourite", order=0.5)
    assert await alice.tags(room_id) == {"m.favourite": {"order": 0.5}}
    await alice.delete_tag(room_id, "m.favourite")
    await alice.set_presence("online", status="at tea")
    assert (await bob.presence_of(alice.user_id)).status_msg == "at tea"
    assert (await alice.sync(full_state=True))["rooms"]["join"]
    window = {"all": {"ranges": [[0, 0]], "timeline_limit": 1, "required_state": []}}
    later = await alice.send_later(room_id, "m.room.message", {"body": "later"}, delay_ms=3_600_000)
    assert [event.delay_id for event in await alice.delayed_events(room_id=room_id)] == [later]
    await alice.update_delayed_event(later, "cancel")
    assert (await alice.delayed_event(later)).outcome == "cancel"
    assert await alice.rtc_transports() == []
    seen = await alice.sliding_sync(lists=window)
    assert (seen.lists["all"].count, len(seen.rooms)) == (len(await alice.joined_rooms()), 1)
    assert (await alice.sliding_sync(pos=seen.pos, lists=window)).rooms == {}


async def networks(alice: Person, room_id: RoomId) -> None:
    assert await alice.protocols() == {}
    nobody = UserId("@nobody:localhost")
    for ask in (
        alice.protocol("irc"),
        alice.third_party_locations("irc", channel="#tea"),
        alice.third_party_users("irc", nick="tea"),
        alice.locations_of_alias(RoomAlias("#tea:localhost")),
        alice.third_parties_of_user(nobody),
        alice.set_network_visibility("irc", room_id, "public"),
    ):
        with pytest.raises(Refused):
            await ask


async def media(alice: Person, bob: Person, folder: Path) -> None:
    file = folder / "notes.txt"
    file.write_bytes(b"tea" * 200_000)
    uri = await alice.upload(file, content_type="text/plain")
    async with bob.download(uri) as download:
        assert (download.content_type, download.length) == ("text/plain", 600_000)
        assert download.content_disposition == 'inline; filename="notes.txt"'
        await download.save(folder / "copy.txt")
    assert (folder / "copy.txt").read_bytes() == file.read_bytes()
    async with bob.download(uri, file_name="cake.txt", first_byte=599_997) as download:
        assert await download.read() == b"tea"
        assert "cake.txt" in download.content_disposition
    picture = await alice.upload(image("PNG", 200, 200), content_type="image/png")
    async with bob.thumbnail(picture, 32, 32, method="crop") as thumbnail:
        assert thumbnail.content_type == "image/jpeg"
    created = await alice.create_media()
    await alice.upload_created(created.content_uri, b"later", file_name="later")
    async with bob.download(created.content_uri) as download:
        assert await download.read() == b"later"
    assert (await bob.media_config()).upload_size
    with pytest.raises(Refused):
        async with bob.download("mxc://localhost/unknown"):
            pass
    with pytest.raises(Refused):
        await bob.url_preview("https://example.org/")


async def notifications(alice: Person) -> None:
    assert "override" in await alice.push_rules()
    gateway = {"url": "https://push.example/_matrix/push/v1/notify"}
    await alice.set_pusher("app", "key", gateway, app_display_name="An app", device_display_name="A phone")
    assert [pusher.pushkey for pusher in await alice.pushers()] == ["key"]
    await alice.remove_pusher("app", "key")
    assert not await alice.pushers()
    await alice.notifications(limit=5, only_highlights=True)
    await alice.set_push_rule("content", "tea", ["notify"], pattern="tea")
    await alice.set_push_rule("content", "cake", ["notify"], pattern="cake", after="tea")
    assert (await alice.push_rule("content", "cake"))["pattern"] == "cake"
    await alice.enable_push_rule("content", "tea", enabled=False)
    assert not await alice.push_rule_is_enabled("content", "tea")
    await alice.set_push_rule_actions("content", "tea", ["notify", {"set_tweak": "highlight"}])
    assert await alice.push_rule_actions("content", "tea") == ["notify", {"set_tweak": "highlight"}]
    await alice.delete_push_rule("content", "tea")
    with pytest.raises(Refused):
        await alice.push_rule("content", "tea")


async def encryption(alice: Person, bob: Person) -> None:
    device = Device(alice)
    assert await alice.upload_keys(device.keys(), one_time_keys=device.pre_keys(1)) == {ALGORITHM: 1}
    assert alice.device_id in (await bob.query_keys({alice.user_id: []})).device_keys[alice.user_id]
    claimed = await bob.claim_keys({alice.user_id: {alice.device_id: ALGORITHM}})
    assert list(claimed.one_time_keys[alice.user_id][alice.device_id]) == [f"{ALGORITHM}:K1"]
    assert alice.user_id in (await alice.key_changes(after="s1_0", upto="s1_9")).changed
    identity = Identity(device)
    await alice.upload_cross_signing_keys(**identity.json())
    signed = {alice.user_id: {alice.device_id: identity.self_signing.sign(device.keys())}}
    assert await alice.upload_signatures(signed) == {}
    version = await alice.create_key_backup("m.megolm_backup.v1.curve25519-aes-sha2", {})
    await alice.update_key_backup(version, (await alice.key_backup()).algorithm, {"public_key": "x"})
    key = {"first_message_index": 0, "forwarded_count": 0, "is_verified": True, "session_data": {}}
    one, two = RoomId("!one:hs.test"), RoomId("!two:hs.test")
    for keys in ({one: {"a": key}}, {one: {"a": key, "b": key}}, {one: {"a": key}, two: {"c": key}}):
        await alice.back_up_keys(version, keys)
    assert (await alice.key_backup(version)).count == 3
    assert await alice.backed_up_keys(version) == {one: {"a": key, "b": key}, two: {"c": key}}
    assert await alice.backed_up_keys_of(version, two) == {"c": await alice.backed_up_key(version, two, "c")}
    assert (await alice.delete_backed_up_keys(version, one, "a")).count == 2
    assert (await alice.delete_backed_up_keys(version, one)).count == 1
    assert (await alice.delete_backed_up_keys(version)).count == 0
    await alice.delete_key_backup(version)
    sleeper = Device(alice, DeviceId("SLEEPER"))
    data = {"algorithm": "org.example"}
    assert await alice.put_dehydrated_device(sleeper.device_id, data, sleeper.keys()) == sleeper.device_id
    assert (await alice.dehydrated_device()).device_data == data
    assert (await alice.dehydrated_device_events(sleeper.device_id)).events == []
    assert await alice.delete_dehydrated_device() == sleeper.device_id
    await bob.send_to_device("org.example.hello", {alice.user_id: {alice.device_id: {"text": "hi"}}})
    assert (await alice.sync())["to_device"]["events"][0]["content"] == {"text": "hi"}


async def the_end(alice: Person, bob: Person) -> None:
    await alice.change_password(PASSWORD, PASSWORD + "!")
    await alice.refresh()
    await alice.logout()
    await alice.login("alice", PASSWORD + "!")
    await alice.logout_all()
    await bob.deactivate(PASSWORD, erase=True)
    with pytest.raises(Refused):
        await bob.login("bob", PASSWORD)


async def test_every_endpoint_is_called(database_url: str, tmp_path: Path, called: set[str]) -> None:
    well_known = {
        "client_base_url": "https://localhost",
        "server": "localhost:8448",
        "support_email": "help@localhost",
    }
    async with real_server(database_url, tmp_path, well_known=well_known, policy_server={"enabled": True}) as real:
        alice, bob = await real.user("alice", refresh_token=True), await real.user("bob")
        await sessions_and_accounts(alice, real.url)
        await rooms(alice, bob)
        await networks(alice, (await alice.joined_rooms())[0])
        await notifications(alice)
        await encryption(alice, bob)
        await media(alice, bob, tmp_path)
        await the_end(alice, bob)
    assert described() - called == NOT_CALLED | REFUSED
