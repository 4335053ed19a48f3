"""Whose access token it is: asked with every request, so remembered."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import trio

from tricord.homeserver.accounts.revocations import Revocations
from tricord.homeserver.accounts.sightings import Sightings
from tricord.homeserver.accounts.tokens import token_hash
from tricord.homeserver.clock import Clock
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.gathered_reads import GatheredReads
from tricord.homeserver.storage.sessions import Holder, delete_token_pair, holders_of_access_tokens
from tricord.protocol.errors import UnknownToken, UserLocked

# A revocation drops the entry at once. This is for what is not announced: that a user became an administrator.
_TRUSTED_SECONDS = 60


@dataclass(frozen=True, slots=True)
class _Entry:
    requester: Requester
    expires_ts: int | None
    looked_up_at: float


class Requesters:
    """Turns access tokens into requesters."""

    def __init__(
        self, database: Database, revocations: Revocations, sightings: Sightings, clock: Clock, *, limit: int = 50_000
    ) -> None:
        self._database = database
        self._sightings = sightings
        self._clock = clock
        self._limit = limit
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._hashes_of_session: dict[int, set[bytes]] = {}
        self._revocations_seen = 0
        self._holders = GatheredReads[bytes, Holder](lambda hashes: database.read(holders_of_access_tokens, hashes))
        self._revocations = revocations
        revocations.on_revoked(self._forget_sessions)
        revocations.on_replaced(lambda session_id: self._forget_sessions(frozenset((session_id,))))
        revocations.on_gap(self._forget_everything)

    async def authenticate(
        self, token: str, *, client_address: str, user_agent: str, locked_users_too: bool = False
    ) -> Requester:
        """Return who holds the token; raise UnknownToken or UserLocked if that lets nobody in."""
        hashed = token_hash(token)
        entry = self._entries.get(hashed)
        if entry is None or entry.looked_up_at + _TRUSTED_SECONDS < trio.current_time():
            entry = await self._look_up(hashed, locked_users_too=locked_users_too)
        if entry.expires_ts is not None and entry.expires_ts <= self._clock.now_ms():
            raise UnknownToken("the access token has expired", soft_logout=True)
        requester = entry.requester
        if requester.device_id is not None:
            self._sightings.note(requester.user_id, requester.device_id, address=client_address, user_agent=user_agent)
        return requester

    def let_go(self) -> None:
        """Forget what would be looked up again anyway; called every minute."""
        before = trio.current_time() - _TRUSTED_SECONDS
        # Whose token was looked up last is the last.
        for hashed, entry in list(self._entries.items()):
            if entry.looked_up_at >= before:
                break
            self._forget(hashed)

    async def _look_up(self, hashed: bytes, *, locked_users_too: bool) -> _Entry:
        revocations_before = self._revocations_seen
        holder = (await self._holders.get([hashed])).get(hashed)
        if holder is None or holder.deactivated:
            self._forget(hashed)
            raise UnknownToken("unknown access token")
        if holder.locked and not locked_users_too:
            self._forget(hashed)
            raise UserLocked
        if holder.replaces is not None:
            await self._end_replaced(holder, holder.replaces)
        requester = Requester(
            user_id=holder.user_id,
            device_id=holder.device_id,
            session_id=holder.session_id,
            is_guest=holder.is_guest,
            is_admin=holder.is_admin,
            is_suspended=holder.suspended,
        )
        entry = _Entry(requester, holder.expires_ts, trio.current_time())
        # Had the session ended between the reading and now, nobody would ever drop the entry.
        # Of a locked user nothing is remembered: the next endpoint may not be for them.
        if revocations_before == self._revocations_seen and not holder.locked:
            self._remember(hashed, entry)
        return entry

    async def _end_replaced(self, holder: Holder, replaced: int) -> None:
        """End the tokens that this one replaces, now that the client is known to have it."""
        await self._database.run(delete_token_pair, holder.session_id, replaced)
        await self._revocations.announce_replaced(holder.session_id)

    def _remember(self, hashed: bytes, entry: _Entry) -> None:
        self._entries[hashed] = entry
        self._entries.move_to_end(hashed)
        self._hashes_of_session.setdefault(entry.requester.session_id, set()).add(hashed)
        if len(self._entries) > self._limit:
            self._forget(next(iter(self._entries)))

    def _forget(self, hashed: bytes) -> None:
        entry = self._entries.pop(hashed, None)
        if entry is not None:
            hashes = self._hashes_of_session[entry.requester.session_id]
            hashes.discard(hashed)
            if not hashes:
                del self._hashes_of_session[entry.requester.session_id]

    def _forget_sessions(self, session_ids: frozenset[int]) -> None:
        self._revocations_seen += 1
        for session_id in session_ids:
            for hashed in tuple(self._hashes_of_session.get(session_id, ())):
                self._forget(hashed)

    def _forget_everything(self) -> None:
        self._revocations_seen += 1
        self._entries.clear()
        self._hashes_of_session.clear()
