"""How often one user may call endpoints: all of them together, and those that cost others something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tricord.clients.api.directory import GetPublicRooms, SearchPublicRooms
from tricord.clients.api.login import GetLoginToken, Refresh
from tricord.clients.api.media import (
    CreateMedia,
    DownloadMedia,
    DownloadMediaUnauthenticated,
    DownloadNamedMedia,
    DownloadNamedMediaUnauthenticated,
    GetThumbnail,
    GetThumbnailUnauthenticated,
    PreviewUrl,
    UploadCreatedMedia,
    UploadMedia,
)
from tricord.clients.api.membership import (
    BanUser,
    InviteUser,
    JoinRoom,
    JoinRoomById,
    KickUser,
    KnockRoom,
    LeaveRoom,
    UnbanUser,
)
from tricord.clients.api.messages import RedactEvent, SendMessage
from tricord.clients.api.openid import RequestOpenIdToken
from tricord.clients.api.people import SearchUsers
from tricord.clients.api.profile import DeleteProfileField, SetProfileField
from tricord.clients.api.registration import Register
from tricord.clients.api.reports import ReportEvent, ReportRoom, ReportUser
from tricord.clients.api.room_creation import CreateRoom
from tricord.clients.api.room_upgrades import UpgradeRoom
from tricord.clients.api.rooms import SetState
from tricord.clients.api.spaces import GetHierarchy, GetRoomSummary
from tricord.clients.endpoint import Endpoint
from tricord.federation.api.third_party import OnBind, OnBindByPost
from tricord.homeserver.accounts.rate_limits import RateLimitSettings, address_key
from tricord.homeserver.accounts.token_buckets import Rate, TokenBuckets
from tricord.homeserver.serving.call import Call
from tricord.homeserver.stream.common_memory import Buckets


class EndpointLimits:
    """Counts calls: by user, or by address where nobody is signed in."""

    def __init__(self, settings: RateLimitSettings, common: Buckets | None = None) -> None:
        self._enabled = settings.enabled
        self._common = common
        self._requests = TokenBuckets("requests", settings.requests, common)
        self._buckets: dict[type[Endpoint], TokenBuckets] = {}
        self._limit(
            "messages", settings.messages, SendMessage, SetState, RedactEvent, LeaveRoom, KickUser, BanUser, UnbanUser
        )
        self._joins = self._limit("joins", settings.joins, JoinRoom, JoinRoomById, KnockRoom)
        self._invitations = self._limit("invitations", settings.invites, InviteUser)
        self._limit("new rooms", settings.rooms, CreateRoom, UpgradeRoom)
        # Other servers may be asked for each of these.
        self._limit(
            "searches", settings.lookups, GetHierarchy, GetRoomSummary, GetPublicRooms, SearchPublicRooms, SearchUsers
        )
        self._limit("uploads", settings.uploads, UploadMedia, CreateMedia, UploadCreatedMedia)
        # The server fetches for these, and has images made.
        self._limit("downloads", settings.downloads, DownloadMedia, DownloadNamedMedia, GetThumbnail)
        self._limit(
            "downloads without token",
            settings.downloads,
            DownloadMediaUnauthenticated,
            DownloadNamedMediaUnauthenticated,
            GetThumbnailUnauthenticated,
        )
        self._limit("previews", settings.previews, PreviewUrl)
        self._limit("reports", settings.reports, ReportEvent, ReportRoom, ReportUser)
        self._limit("profile changes", settings.profile, SetProfileField, DeleteProfileField)
        self._limit("sign-ins", settings.account_probes, Register, Refresh, GetLoginToken, RequestOpenIdToken)
        self._limit("third-party bindings", settings.account_probes, OnBind, OnBindByPost)

    def check(self, call: Call[Any, Any]) -> None:
        """Count the call; raise LimitExceeded if there were too many."""
        if not self._enabled:
            return
        requester = call.requester_or_none
        if requester is not None:
            self._requests.take(requester.user_id)
        who = address_key(call.client_address) if requester is None else requester.user_id
        for buckets, cost in self._costs(call):
            buckets.take(who, cost)

    def _costs(self, call: Call[Any, Any]) -> Iterator[tuple[TokenBuckets, int]]:
        """Yield what the call is counted as, and how many times."""
        if (buckets := self._buckets.get(call.endpoint)) is not None:
            yield buckets, 1
        # The same thing by another way counts as the same.
        if call.endpoint is CreateRoom and call.body.invite:
            yield self._invitations, len(call.body.invite)
        elif call.endpoint is SetState and call.path["event_type"] == "m.room.member":
            membership = call.body.get("membership")
            if membership == "invite":
                yield self._invitations, 1
            elif membership in ("join", "knock"):
                yield self._joins, 1

    def _limit(self, name: str, rate: Rate, *endpoints: type[Endpoint]) -> TokenBuckets:
        """Let some endpoints share a bucket."""
        buckets = TokenBuckets(name, rate, self._common)
        self._buckets.update(dict.fromkeys(endpoints, buckets))
        return buckets
