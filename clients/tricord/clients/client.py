"""A user of a homeserver: every endpoint as a typed call, and following what happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from tricord.clients.api.sync import Sync
from tricord.clients.calls.accounts import AccountCalls
from tricord.clients.calls.administration import AdministrationCalls
from tricord.clients.calls.calling import CallingCalls
from tricord.clients.calls.dehydrated_devices import DehydratedDeviceCalls
from tricord.clients.calls.encryption import EncryptionCalls
from tricord.clients.calls.ephemeral import EphemeralCalls
from tricord.clients.calls.key_backups import KeyBackupCalls
from tricord.clients.calls.media import MediaCalls
from tricord.clients.calls.membership import MembershipCalls
from tricord.clients.calls.messages import MessageCalls
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
from tricord.clients.follow import Follower, Take
from tricord.clients.http import Http, Tokens
from tricord.clients.session import Session
from tricord.protocol.identifiers import DeviceId, UserId


class Client(
    SessionCalls,
    AccountCalls,
    MembershipCalls,
    MessageCalls,
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
    MediaCalls,
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
        # A transport of the tests' own carries requests, not sockets.
        self._follower = Follower(self.http, websocket=websocket and transport is None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

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
        https://spec.matrix.org/v1.19/client-server-api/#syncing
        """
        query = {
            "since": since,
            "timeout": int(timeout_seconds * 1000),
            "filter": orjson.dumps(sync_filter).decode() if isinstance(sync_filter, dict) else sync_filter,
            "full_state": full_state or None,
        }
        answer: dict[str, Any] = await self.http.call(Sync, query=query, answer_within_seconds=timeout_seconds + 60)
        return answer

    async def follow(
        self, take: Take, *, position: str | None = None, sync_filter: dict[str, Any] | str | None = None
    ) -> None:
        """Give everything that changes to `take`, delta by delta, for ever: by WebSocket where there is one.

        Each delta carries its position: keep it, and begin there next time. Without a position the first delta is an
        initial sync. Survives restarts of the homeserver and broken connections. Raises what `take` raises, SignedOut,
        and Refused if the homeserver does not know the position or the filter.
        """
        await self._follower.run(take, position=position, sync_filter=sync_filter)
