"""Profiles of users of other servers, asked for and remembered for a while.

https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryprofile
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import orjson
import trio

from tricord.federation.errors import PeerError, PeerRefused
from tricord.federation.peers import Peers
from tricord.protocol.errors import NotFound
from tricord.protocol.identifiers import UserId, server_name_of
from tricord.protocol.strict_json import JsonObject

# Names change seldom, and rooms are told of it otherwise.
_FRESH_SECONDS = 300
# What was known is better than nothing where the server does not answer.
_STALE_SECONDS = 24 * 3600
_REFUSED_SECONDS = 60
_MOST_BYTES = 16 << 20
# The most that the specification allows a profile to be; others are shown and not kept.
_LARGEST = 64 << 10
_BYTES_BESIDE = 200


@dataclass(frozen=True, slots=True)
class _Known:
    """A profile, None if there is none; until when it is used unasked, and until when if nothing newer is to be had."""

    profile: JsonObject | None
    fresh_until: float
    stale_until: float
    size: int


class RemoteProfiles:
    """Asks other servers for profiles, each once in a while."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._known: OrderedDict[UserId, _Known] = OrderedDict()
        self._size = 0
        self._under_way: dict[UserId, trio.Event] = {}

    async def profile(self, user_id: UserId) -> JsonObject:
        """Return a remote user's profile; raise NotFound if it cannot be had."""
        while (under_way := self._under_way.get(user_id)) is not None:
            await under_way.wait()
        known = self._known.get(user_id)
        if known is None or known.fresh_until <= trio.current_time():
            known = await self._asked(user_id, known)
        else:
            self._known.move_to_end(user_id)
        if known.profile is None:
            raise NotFound(f"there is no profile of {user_id}")
        return known.profile

    async def _asked(self, user_id: UserId, before: _Known | None) -> _Known:
        done = self._under_way[user_id] = trio.Event()
        try:
            profile = await self._peers.query_profile(server_name_of(user_id), user_id)
        except PeerError as error:
            if isinstance(error, PeerRefused) and error.status in (403, 404):
                return self._remembered(user_id, None, _REFUSED_SECONDS, _REFUSED_SECONDS)
            if before is None or before.profile is None or before.stale_until <= trio.current_time():
                raise NotFound(f"the profile of {user_id} is not to be had: {error}") from error
            return before
        finally:
            del self._under_way[user_id]
            done.set()
        return self._remembered(user_id, profile, _FRESH_SECONDS, _STALE_SECONDS)

    def _remembered(self, user_id: UserId, profile: JsonObject | None, fresh: float, stale: float) -> _Known:
        now = trio.current_time()
        size = _BYTES_BESIDE + (0 if profile is None else len(orjson.dumps(profile)))
        known = _Known(profile, now + fresh, now + stale, size)
        self._forget(user_id)
        if size <= _LARGEST:
            self._known[user_id] = known
            self._size += size
        while self._size > _MOST_BYTES:
            self._forget(next(iter(self._known)))
        return known

    def _forget(self, user_id: UserId) -> None:
        known = self._known.pop(user_id, None)
        if known is not None:
            self._size -= known.size
