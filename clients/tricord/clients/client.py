"""A user of a homeserver: every endpoint as a typed call, and following what happens."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from tricord.clients.api.sync import Sync
from tricord.clients.calls.accounts import AccountCalls
from tricord.clients.calls.ephemeral import EphemeralCalls
from tricord.clients.calls.membership import MembershipCalls
from tricord.clients.calls.messages import MessageCalls
from tricord.clients.calls.push_rules import PushRuleCalls
from tricord.clients.calls.rooms import RoomCalls
from tricord.clients.follow import Follower, Take
from tricord.clients.http import Http
from tricord.protocol.identifiers import DeviceId, UserId


class Client(AccountCalls, MembershipCalls, MessageCalls, RoomCalls, EphemeralCalls, PushRuleCalls):
    """One session of one user.

        async with Client("https://matrix.example.org") as client:
            await client.login("alice", "…")
            room_id = await client.create_room(name="Tea")
            await client.send_text(room_id, "Is anybody here?")

    Refusals are raised as `Refused`; a rate limit is waited for. `transport` replaces the network, for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        access_token: str | None = None,
        patience_seconds: float = 60,
        websocket: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.http = Http(base_url, access_token=access_token, patience_seconds=patience_seconds, transport=transport)
        self.user_id = UserId("")
        self.device_id = DeviceId("")
        # A transport of the tests' own carries requests, not sockets.
        self._follower = Follower(self.http, websocket=websocket and transport is None)

    @property
    def access_token(self) -> str | None:
        """The token of the session, for keeping; treat it as a password."""
        return self.http.access_token

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
        sync_filter: dict[str, Any] | None = None,
        full_state: bool = False,
    ) -> dict[str, Any]:
        """Ask once for what is new since a position; wait for something at most `timeout_seconds`."""
        query = {
            "since": since,
            "timeout": int(timeout_seconds * 1000),
            "filter": None if sync_filter is None else orjson.dumps(sync_filter).decode(),
            "full_state": full_state or None,
        }
        answer: dict[str, Any] = await self.http.call(Sync, query=query, answer_within_seconds=timeout_seconds + 60)
        return answer

    async def follow(
        self, take: Take, *, position: str | None = None, sync_filter: dict[str, Any] | None = None
    ) -> None:
        """Give everything that changes to `take`, delta by delta, for ever: by WebSocket where there is one.

        Each delta carries its position: keep it, and begin there next time. Without a position the first delta is an
        initial sync. Survives restarts of the homeserver; raises SignedOut.
        """
        await self._follower.run(take, position=position, sync_filter=sync_filter)
