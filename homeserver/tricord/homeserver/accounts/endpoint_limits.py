"""How often one user may call the endpoints that cost others something."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.login import GetLoginToken, Refresh
from tricord.clients.api.membership import InviteUser, JoinRoom, JoinRoomById, KnockRoom
from tricord.clients.api.messages import RedactEvent, SendMessage
from tricord.clients.api.profile import DeleteProfileField, SetProfileField
from tricord.clients.api.registration import Register
from tricord.clients.api.room_creation import CreateRoom
from tricord.clients.api.rooms import SetState
from tricord.clients.endpoint import Endpoint
from tricord.homeserver.accounts.rate_limits import RateLimitSettings, address_key
from tricord.homeserver.accounts.token_buckets import Rate, TokenBuckets
from tricord.homeserver.serving.call import Call


class EndpointLimits:
    """Counts calls: by user, or by address where nobody is signed in."""

    def __init__(self, settings: RateLimitSettings) -> None:
        self._buckets: dict[type[Endpoint], TokenBuckets] = {}
        if settings.enabled:
            self._limit("messages", settings.messages, SendMessage, SetState, RedactEvent)
            self._limit("joins", settings.joins, JoinRoom, JoinRoomById, KnockRoom)
            self._limit("invitations", settings.invites, InviteUser)
            self._limit("new rooms", settings.rooms, CreateRoom)
            self._limit("profile changes", settings.profile, SetProfileField, DeleteProfileField)
            self._limit("sign-ins", settings.account_probes, Register, Refresh, GetLoginToken)

    def check(self, call: Call[Any, Any]) -> None:
        """Count the call; raise LimitExceeded if there were too many."""
        buckets = self._buckets.get(call.endpoint)
        if buckets is not None:
            requester = call.requester_or_none
            buckets.take(address_key(call.client_address) if requester is None else requester.user_id)

    def _limit(self, name: str, rate: Rate, *endpoints: type[Endpoint]) -> None:
        """Let some endpoints share a bucket."""
        self._buckets.update(dict.fromkeys(endpoints, TokenBuckets(name, rate)))
