"""matrix-nio, a client library that others wrote for asyncio, unmodified, against `tricord serve`.

Every answer must be of the class nio gives for a success. nio checks answers against schemas of its own: one that is
not as it expects becomes an error class too.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import nio
import pytest
import trio

from tests.homeserver.media.images import image, opened
from tests.servers import PASSWORD, SERVER_NAME, server_process
from tricord.clients import Client

pytestmark = pytest.mark.peer

A = TypeVar("A")
_PATIENCE_SECONDS = 60


def good(answer: Any, kind: type[A]) -> A:
    """Return an answer of nio's that must be a success of this class."""
    assert type(answer) is kind, f"{answer}"
    return answer


async def on_asyncio(conversation: Callable[[str], Awaitable[None]], database_url: str, folder: Path) -> None:
    """Run `tricord serve`, and a conversation of asyncio's with it, in a thread of its own."""

    async def bounded(url: str) -> None:
        await asyncio.wait_for(conversation(url), _PATIENCE_SECONDS)

    async with server_process(database_url, folder) as server:
        await trio.to_thread.run_sync(lambda: asyncio.run(bounded(server.url)))


class People:
    """nio clients that are closed at the end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._clients: list[nio.AsyncClient] = []

    async def __aenter__(self) -> Self:
        """Give the empty house."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every client."""
        for client in self._clients:
            await client.close()

    def stranger(self, user: str = "") -> nio.AsyncClient:
        """Return a client that is not signed in. Time-outs and refusals for haste are failures, not waited out."""
        config = nio.AsyncClientConfig(max_timeouts=1, max_limit_exceeded=0, encryption_enabled=False)
        client = nio.AsyncClient(self._url, user, config=config)
        self._clients.append(client)
        return client

    async def registered(self, name: str) -> nio.AsyncClient:
        """Return a client that has made an account."""
        client = self.stranger()
        answer = good(await client.register(name, PASSWORD, device_name="kitchen"), nio.RegisterResponse)
        assert answer.user_id == f"@{name}:{SERVER_NAME}"
        return client

    async def two_in_a_room(self, **options: Any) -> tuple[nio.AsyncClient, nio.AsyncClient, str]:
        """Return Alice, Bob, and a room of hers that he was invited to and joined."""
        alice, bob = await self.registered("alice"), await self.registered("bob")
        room = good(await alice.room_create(invite=[bob.user_id], **options), nio.RoomCreateResponse).room_id
        await synced(bob)
        assert room in bob.invited_rooms
        good(await bob.join(room), nio.JoinResponse)
        await synced(alice, bob)
        return alice, bob, room


async def synced(*clients: nio.AsyncClient, **options: Any) -> nio.SyncResponse:
    """Let clients catch up; return the last one's answer."""
    answers = [good(await client.sync(timeout=0, **options), nio.SyncResponse) for client in clients]
    return answers[-1]


async def said(client: nio.AsyncClient, room: str, text: str, **more: Any) -> str:
    """Send a text and return its event id."""
    content = {"msgtype": "m.text", "body": text, **more}
    event_id: str = good(await client.room_send(room, "m.room.message", content), nio.RoomSendResponse).event_id
    return event_id


async def test_they_register_sign_in_and_out(database_url: str, tmp_path: Path) -> None:
    async def conversation(url: str) -> None:
        async with People(url) as people:
            alice = await people.registered("alice")
            again = people.stranger(alice.user_id)
            flows = good(await again.login_info(), nio.LoginInfoResponse).flows
            assert "m.login.password" in flows
            good(await again.login(PASSWORD, device_name="garden"), nio.LoginResponse)
            me = good(await again.whoami(), nio.WhoamiResponse)
            assert (me.user_id, me.device_id, me.is_guest) == (alice.user_id, again.device_id, False)

            devices = good(await alice.devices(), nio.DevicesResponse).devices
            assert {device.display_name for device in devices} == {"kitchen", "garden"}
            good(await again.update_device(again.device_id, {"display_name": "attic"}), nio.UpdateDeviceResponse)
            asked = good(await alice.delete_devices([again.device_id]), nio.DeleteDevicesAuthResponse)
            password = {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": alice.user_id},
                "password": PASSWORD,
                "session": asked.session,
            }
            good(await alice.delete_devices([again.device_id], auth=password), nio.DeleteDevicesResponse)
            assert good(await again.whoami(), nio.WhoamiError).status_code == "M_UNKNOWN_TOKEN"

            wrong = people.stranger(alice.user_id)
            assert good(await wrong.login("wrong"), nio.LoginError).status_code == "M_FORBIDDEN"
            token = alice.access_token
            good(await alice.logout(), nio.LogoutResponse)
            alice.access_token = token
            assert good(await alice.whoami(), nio.WhoamiError).status_code == "M_UNKNOWN_TOKEN"

    await on_asyncio(conversation, database_url, tmp_path)


async def test_they_say_change_and_take_back(database_url: str, tmp_path: Path) -> None:
    async def conversation(url: str) -> None:
        async with People(url) as people:
            alice, bob, room = await people.two_in_a_room(name="Tea", topic="what to drink")
            hello = await said(alice, room, "Helo")
            edit = await said(
                alice,
                room,
                "* Hello",
                **{
                    "m.new_content": {"msgtype": "m.text", "body": "Hello"},
                    "m.relates_to": {"rel_type": "m.replace", "event_id": hello},
                },
            )
            reply = await said(bob, room, "Hi!", **{"m.relates_to": {"m.in_reply_to": {"event_id": hello}}})
            content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": hello, "key": "👍"}}
            reaction = good(await bob.room_send(room, "m.reaction", content), nio.RoomSendResponse).event_id
            mistake = await said(bob, room, "I did not mean this")
            good(await bob.room_redact(room, mistake, reason="a mistake"), nio.RoomRedactResponse)

            timeline = (await synced(alice)).rooms.join[room].timeline.events
            seen = {event.event_id: event for event in timeline}
            assert isinstance(seen[hello], nio.RoomMessageText)
            assert isinstance(seen[reply], nio.RoomMessageText)
            assert isinstance(seen[reaction], nio.ReactionEvent)
            assert (seen[reaction].reacts_to, seen[reaction].key) == (hello, "👍")
            assert isinstance(seen[mistake], nio.RedactedEvent)
            assert (seen[mistake].redacter, seen[mistake].reason) == (bob.user_id, "a mistake")
            assert seen[edit].source["content"]["m.new_content"]["body"] == "Hello"
            assert alice.rooms[room].name == "Tea"
            assert alice.rooms[room].topic == "what to drink"
            assert set(alice.rooms[room].users) == {alice.user_id, bob.user_id}

            one = good(await bob.room_get_event(room, hello), nio.RoomGetEventResponse).event
            assert one.body == "Helo"
            around = good(await bob.room_context(room, reply, limit=4), nio.RoomContextResponse)
            assert around.event.event_id == reply
            assert edit in {event.event_id for event in around.events_before}
            related = [event.event_id async for event in bob.room_get_event_relations(room, hello)]
            assert set(related) == {edit, reaction}

    await on_asyncio(conversation, database_url, tmp_path)


async def test_they_see_typing_receipts_presence_and_read_markers(database_url: str, tmp_path: Path) -> None:
    async def conversation(url: str) -> None:
        async with People(url) as people:
            alice, bob, room = await people.two_in_a_room()
            hello = await said(alice, room, "Hello")
            good(await bob.room_typing(room), nio.RoomTypingResponse)
            good(await bob.update_receipt_marker(room, hello, thread_id=None), nio.UpdateReceiptMarkerResponse)
            await synced(alice)
            assert alice.rooms[room].typing_users == [bob.user_id]
            assert alice.rooms[room].read_receipts[bob.user_id].event_id == hello
            good(await bob.room_typing(room, typing_state=False), nio.RoomTypingResponse)
            good(await bob.room_read_markers(room, hello, read_event=hello), nio.RoomReadMarkersResponse)
            good(await bob.set_presence("unavailable", "at lunch"), nio.PresenceSetResponse)
            await synced(alice, bob)
            assert alice.rooms[room].typing_users == []
            assert bob.rooms[room].fully_read_marker == hello
            presence = good(await alice.get_presence(bob.user_id), nio.PresenceGetResponse)
            assert (presence.presence, presence.status_msg) == ("unavailable", "at lunch")

    await on_asyncio(conversation, database_url, tmp_path)


async def test_they_page_back_to_the_first_event_and_no_further(database_url: str, tmp_path: Path) -> None:
    async def conversation(url: str) -> None:
        async with People(url) as people:
            alice, bob, room = await people.two_in_a_room()
            texts = [await said(alice, room, f"number {number}") for number in range(25)]
            latest = (await synced(bob)).rooms.join[room].timeline
            back: list[Any] = list(reversed(latest.events))
            start: str | None = latest.prev_batch
            while start is not None:
                page = good(await bob.room_messages(room, start, limit=7), nio.RoomMessagesResponse)
                assert page.start == start
                back += page.chunk
                start = page.end
            ids = [event.event_id for event in back]
            assert len(ids) == len(set(ids))
            assert [event_id for event_id in reversed(ids) if event_id in texts] == texts
            assert isinstance(back[-1], nio.RoomCreateEvent)

            forward = good(
                await bob.room_messages(room, direction=nio.MessageDirection.front, limit=5), nio.RoomMessagesResponse
            )
            assert [event.event_id for event in forward.chunk] == ids[::-1][:5]

    await on_asyncio(conversation, database_url, tmp_path)


async def test_a_sync_that_waits_is_answered_when_something_is_said(database_url: str, tmp_path: Path) -> None:
    async def conversation(url: str) -> None:
        async with People(url) as people:
            alice, bob, room = await people.two_in_a_room()
            heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

            async def listen(_room: nio.MatrixRoom, event: nio.RoomMessageText) -> None:
                heard.put_nowait((event.sender, event.body))

            bob.add_event_callback(listen, nio.RoomMessageText)
            following = asyncio.create_task(bob.sync_forever(timeout=30_000))
            await asyncio.wait_for(bob.synced.wait(), 10)
            for number in range(5):
                await said(alice, room, f"number {number}")
                assert await asyncio.wait_for(heard.get(), 5) == (alice.user_id, f"number {number}")
            following.cancel()

    await on_asyncio(conversation, database_url, tmp_path)


async def test_they_read_and_change_state_and_members(database_url: str, tmp_path: Path) -> None:
    async def conversation(url: str) -> None:
        async with People(url) as people:
            alice, bob, room = await people.two_in_a_room(
                alias="tea", visibility=nio.RoomVisibility.public, preset=nio.RoomPreset.public_chat
            )
            good(await alice.update_room_topic(room, "biscuits"), nio.RoomPutStateResponse)
            topic = good(await bob.room_get_state_event(room, "m.room.topic"), nio.RoomGetStateEventResponse)
            assert topic.content["topic"] == "biscuits"
            state = good(await bob.room_get_state(room), nio.RoomGetStateResponse).events
            assert {"m.room.create", "m.room.member", "m.room.power_levels"} <= {event["type"] for event in state}
            members = good(await bob.joined_members(room), nio.JoinedMembersResponse).members
            assert {member.user_id for member in members} == {alice.user_id, bob.user_id}
            assert good(await bob.joined_rooms(), nio.JoinedRoomsResponse).rooms == [room]
            found = good(await bob.room_resolve_alias(f"#tea:{SERVER_NAME}"), nio.RoomResolveAliasResponse)
            assert found.room_id == room
            listed = good(await bob.list_public_rooms(), nio.responses.PublicRoomsResponse).public_rooms
            assert [each.room_id for each in listed] == [room]
            good(await bob.room_get_visibility(room), nio.RoomGetVisibilityResponse)
            good(await alice.room_put_alias(f"#coffee:{SERVER_NAME}", room), nio.RoomPutAliasResponse)
            good(await alice.room_delete_alias(f"#coffee:{SERVER_NAME}"), nio.RoomDeleteAliasResponse)

            refused = await bob.room_put_state(room, "m.room.name", {"name": "Bob's"})
            assert good(refused, nio.RoomPutStateError).status_code == "M_FORBIDDEN"
            good(await alice.room_kick(room, bob.user_id, "too loud"), nio.RoomKickResponse)
            good(await bob.join(f"#tea:{SERVER_NAME}"), nio.JoinResponse)
            good(await alice.room_ban(room, bob.user_id), nio.RoomBanResponse)
            assert good(await bob.join(room), nio.JoinError).status_code == "M_FORBIDDEN"
            good(await alice.room_unban(room, bob.user_id), nio.RoomUnbanResponse)
            good(await alice.room_invite(room, bob.user_id), nio.RoomInviteResponse)
            good(await bob.join(room), nio.JoinResponse)
            good(await bob.room_leave(room), nio.RoomLeaveResponse)
            good(await bob.room_forget(room), nio.RoomForgetResponse)
            await synced(alice, bob)
            assert bob.rooms == {}
            assert list(alice.rooms[room].users) == [alice.user_id]

    await on_asyncio(conversation, database_url, tmp_path)


async def test_they_change_profiles_filters_and_push_rules(database_url: str, tmp_path: Path) -> None:
    async def conversation(url: str) -> None:
        async with People(url) as people:
            alice, bob, room = await people.two_in_a_room()
            good(await alice.set_displayname("Alice in W."), nio.ProfileSetDisplayNameResponse)
            good(await alice.set_avatar("mxc://hs.test/face"), nio.ProfileSetAvatarResponse)
            profile = good(await bob.get_profile(alice.user_id), nio.ProfileGetResponse)
            assert (profile.displayname, profile.avatar_url) == ("Alice in W.", "mxc://hs.test/face")
            name = good(await bob.get_displayname(alice.user_id), nio.ProfileGetDisplayNameResponse)
            assert name.displayname == "Alice in W."
            face = good(await bob.get_avatar(alice.user_id), nio.ProfileGetAvatarResponse)
            assert face.avatar_url == "mxc://hs.test/face"
            for _ in range(100):
                await synced(bob)
                if bob.rooms[room].users[alice.user_id].avatar_url:
                    break
                await asyncio.sleep(0.05)
            assert bob.rooms[room].user_name(alice.user_id) == "Alice in W."

            narrow = good(
                await bob.upload_filter(room={"timeline": {"types": ["m.room.message"], "limit": 3}}),
                nio.UploadFilterResponse,
            )
            for number in range(5):
                await said(alice, room, f"number {number}")
            filtered = (await synced(bob, sync_filter=narrow.filter_id, full_state=True)).rooms.join[room].timeline
            assert [event.body for event in filtered.events] == ["number 2", "number 3", "number 4"]

            kind = nio.PushRuleKind.content
            loud = [nio.PushNotify(), nio.PushSetTweak("highlight", True)]
            good(await bob.set_pushrule("global", kind, "tea", actions=loud, pattern="tea"), nio.SetPushRuleResponse)
            good(
                await bob.set_pushrule_actions("global", kind, "tea", actions=[nio.PushNotify()]),
                nio.SetPushRuleActionsResponse,
            )
            good(await bob.enable_pushrule("global", kind, "tea", enable=False), nio.EnablePushRuleResponse)
            rules = next(
                event
                for event in (await synced(bob, full_state=True)).account_data_events
                if isinstance(event, nio.PushRulesEvent)
            )
            assert [rule.id for rule in rules.global_rules.content if not rule.default] == ["tea"]
            good(await bob.delete_pushrule("global", kind, "tea"), nio.DeletePushRuleResponse)

    await on_asyncio(conversation, database_url, tmp_path)


async def test_they_send_each_other_images_files_voices_and_videos(database_url: str, tmp_path: Path) -> None:
    sent = [
        ("m.image", "tee ü.png", "image/png", image("PNG", 300, 200), nio.RoomMessageImage),
        ("m.file", "notes.txt", "text/plain", b"tea" * 100_000, nio.RoomMessageFile),
        ("m.audio", "voice.ogg", "audio/ogg", os.urandom(50_000), nio.RoomMessageAudio),
        ("m.video", "film.mp4", "video/mp4", os.urandom(3_000_000), nio.RoomMessageVideo),
    ]

    async def conversation(url: str) -> None:
        async with People(url) as people:
            alice, bob, room = await people.two_in_a_room()
            for msgtype, name, kind, data, _ in sent:
                uploaded, _ = await alice.upload(
                    lambda *_, data=data: io.BytesIO(data), kind, filename=name, filesize=len(data)
                )
                uri = good(uploaded, nio.UploadResponse).content_uri
                content = {"msgtype": msgtype, "body": name, "url": uri, "info": {"mimetype": kind, "size": len(data)}}
                good(await alice.room_send(room, "m.room.message", content), nio.RoomSendResponse)
            events = (await synced(bob)).rooms.join[room].timeline.events[-len(sent) :]
            for event, (_, name, kind, data, known_as) in zip(events, sent, strict=True):
                assert isinstance(event, known_as)
                got = good(await bob.download(event.url), nio.MemoryDownloadResponse)
                assert (got.body, got.content_type, got.filename) == (data, kind, name)
            server, _, media_id = events[0].url.removeprefix("mxc://").partition("/")
            small = good(
                await bob.thumbnail(server, media_id, 96, 96, method=nio.ResizingMethod.crop), nio.ThumbnailResponse
            )
            assert opened(small.body).size == (96, 96)

            secret, key = await alice.upload(lambda *_: io.BytesIO(b"for your eyes only"), "image/png", encrypt=True)
            hidden = good(await bob.download(good(secret, nio.UploadResponse).content_uri), nio.MemoryDownloadResponse)
            assert hidden.content_type == "application/octet-stream"
            assert key is not None
            read = nio.crypto.attachments.decrypt_attachment(
                hidden.body, key["key"]["k"], key["hashes"]["sha256"], key["iv"]
            )
            assert read == b"for your eyes only"

    await on_asyncio(conversation, database_url, tmp_path)


async def test_they_talk_with_those_who_use_our_own_library(database_url: str, tmp_path: Path) -> None:
    async with server_process(database_url, tmp_path) as server, Client(server.url) as ours:
        await ours.register("ours", PASSWORD)
        room = await ours.create_room(preset="public_chat")

        async def conversation() -> None:
            async with People(server.url) as people:
                theirs = await people.registered("theirs")
                good(await theirs.join(room), nio.JoinResponse)
                await said(theirs, room, "Hello from asyncio")

        await trio.to_thread.run_sync(lambda: asyncio.run(conversation()))
        timeline = (await ours.sync())["rooms"]["join"][room]["timeline"]["events"]
        assert timeline[-1]["content"]["body"] == "Hello from asyncio"
