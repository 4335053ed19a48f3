"""Routes of what the server says of itself: versions, capabilities, where it is, whom to ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tricord.clients.api.capabilities import GetCapabilities
from tricord.clients.api.versions import GetVersions
from tricord.clients.api.well_known import GetClientWellKnown, GetPolicyServer, GetServerWellKnown, GetSupport
from tricord.homeserver.accounts.settings import LoginSettings
from tricord.homeserver.client_api.rtc import rtc_transports
from tricord.homeserver.serving.call import Call, Route
from tricord.homeserver.settings import RtcSettings, WellKnownSettings, is_this_machine
from tricord.protocol.errors import NotFound
from tricord.protocol.identifiers import ServerName
from tricord.protocol.room_versions import ROOM_VERSIONS
from tricord.protocol.signing import SigningKey
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import encode_base64

# What clients of v1.1 to v1.19 ask for has the same form in all of them.
VERSIONS = [f"v1.{minor}" for minor in range(1, 20)]
# In the specification since, and looked for under these names by clients that are older than that.
UNSTABLE_FEATURES = {
    # Without it Element Web verifies nobody, and offers no keys to new users.
    "org.matrix.e2e_cross_signing": True,
    "org.matrix.msc2285.stable": True,  # private read receipts
    "org.matrix.msc3827.stable": True,  # room directories filtered by kinds of rooms
    "uk.half-shot.msc2666.query_mutual_rooms": True,
    "uk.half-shot.msc2666.query_mutual_rooms.stable": True,
    "uk.tcpip.msc4133": True,  # profile fields of any name
    "uk.tcpip.msc4133.stable": True,
}


def client_well_known(
    server_name: ServerName, settings: WellKnownSettings, rtc: RtcSettings | None = None
) -> JsonObject | None:
    """Return where clients find the server, as far as is known: clients go there instead of where they were told to.

    That a name of this machine only is reached by https is not to be expected.
    """
    if not settings.client_base_url and is_this_machine(server_name):
        return None
    found: JsonObject = {"m.homeserver": {"base_url": settings.client_base_url or f"https://{server_name}"}}
    if rtc is not None and rtc.livekit_service_urls:
        found["org.matrix.msc4143.rtc_foci"] = rtc_transports(rtc)
    return found


class ServerInfoApi:
    """What the server says of itself."""

    def __init__(
        self,
        server_name: ServerName,
        default_room_version: str,
        well_known: WellKnownSettings,
        login: LoginSettings,
        *,
        rtc: RtcSettings | None = None,
        policy_key: SigningKey | None = None,
        unstable_features: Mapping[str, bool] | None = None,
        web_push_key: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._server_name = server_name
        self._well_known = well_known
        self._rtc = rtc
        self._policy_key = policy_key
        self._web_push_key = web_push_key
        self._versions: JsonObject = {
            "versions": VERSIONS,
            "unstable_features": {**UNSTABLE_FEATURES, **(unstable_features or {})},
        }
        self._capabilities: JsonObject = {
            "m.change_password": {"enabled": True},
            "m.room_versions": {
                "default": default_room_version,
                "available": dict.fromkeys(ROOM_VERSIONS, "stable"),
            },
            "m.profile_fields": {"enabled": True},
            "m.set_displayname": {"enabled": True},
            "m.set_avatar_url": {"enabled": True},
            "m.3pid_changes": {"enabled": False},
            "m.get_login_token": {"enabled": login.login_tokens},
            "m.forget_forced_upon_leave": {"enabled": False},
        }

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(GetVersions, self.versions),
            Route(GetCapabilities, self.capabilities),
            Route(GetClientWellKnown, self.client_well_known),
            Route(GetServerWellKnown, self.server_well_known),
            Route(GetSupport, self.support),
            Route(GetPolicyServer, self.policy_server),
        ]

    async def versions(self, call: Call[Any, Any]) -> JsonObject:  # noqa: ARG002
        """Answer which versions are spoken."""
        return self._versions

    async def capabilities(self, call: Call[Any, Any]) -> JsonObject:
        """Answer what this server can, and lets the user do."""
        web_push_key = "" if self._web_push_key is None else await self._web_push_key()
        capabilities = {
            **self._capabilities,
            "org.matrix.msc4174.webpush": {"enabled": bool(web_push_key), "vapid": web_push_key},
        }
        if call.requester.is_admin:
            capabilities["m.account_moderation"] = {"suspend": True, "lock": True}
        return {"capabilities": capabilities}

    async def client_well_known(self, call: Call[Any, Any]) -> JsonObject:  # noqa: ARG002
        """Answer where clients find the server."""
        found = client_well_known(self._server_name, self._well_known, self._rtc)
        if found is None:
            raise NotFound("this server is for its own machine; clients find it where they are told to look")
        return found

    async def server_well_known(self, call: Call[Any, Any]) -> JsonObject:  # noqa: ARG002
        """Answer where servers find the server, if the operator has said so."""
        if not self._well_known.server:
            raise NotFound("this server is found without this document")
        return {"m.server": self._well_known.server}

    async def support(self, call: Call[Any, Any]) -> JsonObject:  # noqa: ARG002
        """Answer whom to ask."""
        answer: JsonObject = {}
        if self._well_known.support_email:
            answer["contacts"] = [{"role": "m.role.admin", "email_address": self._well_known.support_email}]
        if self._well_known.support_page:
            answer["support_page"] = self._well_known.support_page
        if not answer:
            raise NotFound("this server names no contacts")
        return answer

    async def policy_server(self, call: Call[Any, Any]) -> JsonObject:  # noqa: ARG002
        """Answer by which key this server recommends events, if it does."""
        if self._policy_key is None:
            raise NotFound("this server is not a policy server")
        return {"public_keys": {"ed25519": encode_base64(self._policy_key.public_key)}}
