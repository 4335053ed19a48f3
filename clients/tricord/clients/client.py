"""A user of a homeserver: every endpoint as a typed call, and following what happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from tricord.clients.api.sliding_sync import RoomAnswer, SlidingSync
from tricord.clients.api.sync import Sync
from tricord.clients.calls.accounts import AccountCalls
from tricord.clients.calls.administration import AdministrationCalls
from tricord.clients.calls.calling import CallingCalls
from tricord.clients.calls.dehydrated_devices import DehydratedDeviceCalls
from tricord.clients.calls.encryption import EncryptionCalls
from tricord.clients.calls.ephemeral import EphemeralCalls
from tricord.clients.calls.files import FileCalls
from tricord.clients.calls.key_backups import KeyBackupCalls
from tricord.clients.calls.membership import MembershipCalls
from tricord.clients.calls.people import PeopleCalls
from tricord.clients.calls.previews import PreviewCalls
from tricord.clients.calls.push_rules import PushRuleCalls
from tricord.clients.calls.pushers import PusherCalls
from tricord.clients.calls.relations import RelationCalls
from tricord.clients.calls.reports import ReportCalls
from tricord.clients.calls.rooms import RoomCalls
from tricord.clients.calls.server import ServerCalls
from tricord.clients.calls.sessions import SessionCalls
from tricord.clients.calls.spaces import SpaceCalls
from tricord.clients.calls.syncing import SyncCalls
from tricord.clients.calls.third_party import ThirdPartyCalls
from tricord.clients.encryption import bootstrap
from tricord.clients.encryption.bootstrap import SetUp
from tricord.clients.encryption.encryptor import Encryption, Encryptor, add_late
from tricord.clients.encryption.errors import EncryptionError
from tricord.clients.encryption.keeper import IdentityKeeper
from tricord.clients.encryption.opened import LateEvent
from tricord.clients.encryption.sliding import with_position
from tricord.clients.follow import Delta, Follower, Take
from tricord.clients.http import Http, Tokens
from tricord.clients.session import Session
from tricord.protocol.identifiers import DeviceId, EventId, RoomId, UserId

# The homeserver counts reactions together, which it could not if they were encrypted; nobody encrypts them.
_IN_CLEAR = frozenset({"m.reaction", "m.room.encrypted"})


class Client(
    SessionCalls,
    AccountCalls,
    MembershipCalls,
    FileCalls,
    RelationCalls,
    RoomCalls,
    SpaceCalls,
    PreviewCalls,
    PeopleCalls,
    ReportCalls,
    ThirdPartyCalls,
    EphemeralCalls,
    EncryptionCalls,
    KeyBackupCalls,
    DehydratedDeviceCalls,
    PushRuleCalls,
    PusherCalls,
    SyncCalls,
    CallingCalls,
    ServerCalls,
    AdministrationCalls,
):
    """One session of one user.

        async with Client("https://matrix.example.org") as client:
            await client.login("alice", "…")
            room_id = await client.create_room(name="Tea")
            await client.send_text(room_id, "Is anybody here?")

    Refusals are raised as `Refused`; a rate limit is waited for, and so is a homeserver that cannot be reached, both
    for at most `patience_seconds`. `on_new_tokens` is awaited with the session whenever its tokens have been renewed,
    before they are first used: keep it there. `websocket=False` follows over HTTP alone. `transport` replaces the
    network, for tests.

    With `encryption` encrypted rooms are read and written like any other: it names the file of the keys.
    """

    def __init__(
        self,
        base_url: str,
        *,
        access_token: str | None = None,
        session: Session | None = None,
        on_new_tokens: Callable[[Session], Awaitable[None]] | None = None,
        patience_seconds: float = 60,
        websocket: bool = True,
        encryption: Encryption | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        async def keep(tokens: Tokens) -> None:
            if on_new_tokens is not None:
                await on_new_tokens(Session(self.user_id, self.device_id, tokens.access_token, tokens.refresh_token))

        self.http = Http(
            base_url,
            tokens=None if access_token is None else Tokens(access_token),
            patience_seconds=patience_seconds,
            transport=transport,
            keep=keep,
        )
        self.user_id = UserId("")
        self.device_id = DeviceId("")
        if session is not None:
            self.use_session(session)
        self._given_late: list[LateEvent] = []
        self._encryptor = None if encryption is None else Encryptor(encryption, self.http, self._who)
        self._keeper = None if self._encryptor is None else IdentityKeeper(self, self._encryptor)
        # A transport of the tests' own carries requests, not sockets.
        self._follower = Follower(self.http, websocket=websocket and transport is None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._encryptor is not None:
            self._encryptor.close()
        await self.http.aclose()

    @property
    def encryption(self) -> Encryptor:
        """Our keys, and what they are used for. Raises EncryptionError if the client was made without encryption."""
        if self._encryptor is None:
            raise EncryptionError("this client was made without `encryption`")
        return self._encryptor

    @property
    def identity(self) -> IdentityKeeper:
        """Our identity: verifying, backing up, restoring. Raises EncryptionError without encryption."""
        if self._keeper is None:
            raise EncryptionError("this client was made without `encryption`")
        return self._keeper

    @property
    def encrypts(self) -> bool:
        """Whether the client was made with encryption."""
        return self._encryptor is not None

    def encrypt_nothing(self) -> None:
        """Go on without encryption."""
        if self._encryptor is not None:
            self._encryptor.close()
        self._encryptor = self._keeper = None

    async def sync(
        self,
        *,
        since: str | None = None,
        timeout_seconds: float = 0,
        sync_filter: dict[str, Any] | str | None = None,
        full_state: bool = False,
    ) -> dict[str, Any]:
        """Ask once for what is new since a position; wait for something at most `timeout_seconds`.

        `sync_filter` is a filter, or the id of one from `create_filter`. The answer's `next_batch` is the next `since`.
        With encryption, events whose key came late are in the timelines too, before the others; until the next sync.
        https://spec.matrix.org/v1.19/client-server-api/#syncing
        """
        query = {
            "since": since,
            "timeout": int(timeout_seconds * 1000),
            "filter": orjson.dumps(sync_filter).decode() if isinstance(sync_filter, dict) else sync_filter,
            "full_state": full_state or None,
        }
        self._late_are_handled()
        answer: dict[str, Any] = await self.http.call(Sync, query=query, answer_within_seconds=timeout_seconds + 60)
        if self._encryptor is not None:
            late = await self._encryptor.take(
                answer, since=since, position=answer["next_batch"], sync_filter=sync_filter
            )
            await self.identity.keep_up()
            add_late(answer, late)
            self._given_late = late
        return answer

    async def sliding_sync(
        self,
        *,
        pos: str | None = None,
        timeout_ms: int = 0,
        conn_id: str = "",
        lists: Mapping[str, Any] | None = None,
        room_subscriptions: Mapping[str, Any] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> SlidingSync.Response:
        """Return what is new, as `SyncCalls.sliding_sync`; with encryption opened, as `sync` does.

        The extensions `e2ee` and `to_device` are then to be enabled, in one connection; how far messages to our device
        were taken in is kept here.
        """
        encryptor = self._encryptor
        if encryptor is not None:
            self._late_are_handled()
            extensions = with_position(extensions, encryptor.machine.position_of_messages)
        answer = await super().sliding_sync(
            pos=pos,
            timeout_ms=timeout_ms,
            conn_id=conn_id,
            lists=lists,
            room_subscriptions=room_subscriptions,
            extensions=extensions,
        )
        if encryptor is not None:
            content = answer.model_dump()
            late = await encryptor.take_sliding(content, since=pos, subscriptions=room_subscriptions or {})
            await self.identity.keep_up()
            for room_id, room in content["rooms"].items():
                answer.rooms[room_id].timeline = room["timeline"]
            for one in reversed(late):
                answer.rooms.setdefault(one.room_id, RoomAnswer()).timeline.insert(0, one.opened)
            self._given_late = late
        return answer

    async def follow(
        self, take: Take, *, position: str | None = None, sync_filter: dict[str, Any] | str | None = None
    ) -> None:
        """Give everything that changes to `take`, delta by delta, for ever: by WebSocket where there is one.

        Each delta carries its position: keep it, and begin there next time. Without a position the first delta is an
        initial sync. Survives restarts of the homeserver and broken connections. Raises what `take` raises, SignedOut,
        and Refused if the homeserver does not know the position or the filter.
        """
        encryptor = self._encryptor
        if encryptor is None:
            await self._follower.run(take, position=position, sync_filter=sync_filter)
            return

        since = position

        async def take_opened(delta: Delta) -> None:
            nonlocal since
            late = await encryptor.take(delta.content, since=since, position=delta.position, sync_filter=sync_filter)
            await self.identity.keep_up()
            await take(Delta(delta.position, delta.content, tuple(late)))
            encryptor.machine.handled(late)
            since = delta.position

        await encryptor.settle_if_reachable()
        with encryptor.following(sync_filter):
            await self._follower.run(take_opened, position=position, sync_filter=sync_filter)

    async def set_up_identity(
        self,
        *,
        password: str | None = None,
        recovery_key: str | None = None,
        passphrase: str | None = None,
        reset: bool = False,
        backup: bool = True,
    ) -> SetUp:
        """See to it that we have an identity, that its secrets are stored, and that keys are backed up.

        Show the `recovery_key` of the answer to the user: with it another device becomes theirs. An identity that is
        there is used if its keys are here, or come with the recovery key or the passphrase; else raises
        IdentityElsewhere, unless it is to be `reset`, which takes the password. To be called as often as one likes.
        """
        return await bootstrap.set_up(
            self,
            self.identity,
            password=password,
            recovery_key=recovery_key,
            passphrase=passphrase,
            reset=reset,
            backup=backup,
        )

    async def restore_identity(self, *, recovery_key: str | None = None, passphrase: str | None = None) -> int:
        """Make this device one of ours, with the recovery key or the passphrase, and take all keys of the backup.

        Return how many there were. Raises WrongSecret, or Malformed if there is nothing to restore from.
        """
        return await bootstrap.restore(self, self.identity, recovery_key=recovery_key, passphrase=passphrase)

    async def login(
        self,
        user: str,
        password: str,
        *,
        device_id: str | None = None,
        device_name: str | None = None,
        refresh_token: bool = False,
    ) -> Session:
        """Sign in, as `SessionCalls.login`; with encryption as the device whose keys are stored, if they are."""
        if device_id is None and self._encryptor is not None:
            device_id = self._encryptor.known_device(user)
        session = await super().login(
            user, password, device_id=device_id, device_name=device_name, refresh_token=refresh_token
        )
        if self._encryptor is not None:
            self._encryptor.signed_in()
        return session

    async def send(
        self, room_id: RoomId, event_type: str, content: dict[str, Any], *, transaction_id: str | None = None
    ) -> EventId:
        """Send an event, as `MessageCalls.send`; encrypted, if the room is. Reactions are in clear, as everywhere."""
        event_type, content = await self._closed(room_id, event_type, content)
        return await super().send(room_id, event_type, content, transaction_id=transaction_id)

    async def send_later(
        self, room_id: RoomId, event_type: str, content: dict[str, Any], *, delay_ms: int, state_key: str | None = None
    ) -> str:
        """Have an event sent later, as `CallingCalls.send_later`; encrypted now, for those who are in the room now."""
        if state_key is None:
            event_type, content = await self._closed(room_id, event_type, content)
        return await super().send_later(room_id, event_type, content, delay_ms=delay_ms, state_key=state_key)

    async def send_in_clear(
        self, room_id: RoomId, event_type: str, content: dict[str, Any], *, transaction_id: str | None = None
    ) -> EventId:
        """Send an event for everybody to read, the homeserver too, whether or not the room is encrypted."""
        return await super().send(room_id, event_type, content, transaction_id=transaction_id)

    def opened(self, room_id: RoomId, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return events of a room opened, as far as we have the keys; what comes from our calls is so already."""
        return events if self._encryptor is None else self._encryptor.open(room_id, events)

    def _late_are_handled(self) -> None:
        """Take in that whoever asks for more has handled the late events that they were given."""
        if self._encryptor is not None and self._given_late:
            self._encryptor.machine.handled(self._given_late)
            self._given_late = []

    async def _closed(self, room_id: RoomId, event_type: str, content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return an event as it is to be sent: encrypted, if the room is."""
        encryptor = self._encryptor
        if encryptor is None or event_type in _IN_CLEAR or not await encryptor.is_encrypted(room_id):
            return event_type, content
        return "m.room.encrypted", await encryptor.encrypt(room_id, event_type, content)

    async def _encrypts_in(self, room_id: RoomId) -> bool:
        return self._encryptor is not None and await self._encryptor.is_encrypted(room_id)

    def _who(self) -> tuple[UserId, DeviceId]:
        return self.user_id, self.device_id
