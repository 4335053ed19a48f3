"""What an operator can set: the TOML file's shape, with every default and what it means.

The descriptions here are what `tricord init` writes as comments and what `docs/settings.md` lists.
`settings_sources.py` reads files, environment and flags into these models.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from tricord.homeserver.accounts.rate_limits import RateLimitSettings
from tricord.homeserver.accounts.settings import LoginSettings, RegistrationSettings, UserDirectorySettings
from tricord.homeserver.media.settings import (
    MediaSettings,
    MediaStoreSettings,
    RemoteMediaSettings,
    ThumbnailSettings,
    UrlPreviewSettings,
)
from tricord.homeserver.moderation.settings import ModerationSettings, ServerNoticeSettings
from tricord.homeserver.rooms.delayed_settings import DelayedEventSettings
from tricord.homeserver.rooms.retention_settings import RetentionSettings
from tricord.homeserver.section import Networks, Section
from tricord.protocol.errors import MatrixError
from tricord.protocol.identifiers import parse_server_name
from tricord.protocol.room_versions import ROOM_VERSIONS

HIGHEST_PORT = 65_535


def _server_name(text: str) -> str:
    try:
        return parse_server_name(text)
    except MatrixError as error:
        raise ValueError(error.message) from None


def _server_names(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_server_name(text) for text in texts)


def _room_version(text: str) -> str:
    if text not in ROOM_VERSIONS:
        raise ValueError(f"room version {text!r} is not one of {', '.join(ROOM_VERSIONS)}")
    return text


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > HIGHEST_PORT:
        raise ValueError(f"{text!r} is not ADDRESS:PORT, such as 127.0.0.1:8008 or [::]:8448")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError(f"{host!r} is not an IP address to listen on, such as 127.0.0.1 or [::]") from None
    return text


Address = Annotated[str, AfterValidator(_address)]
ServerNames = Annotated[tuple[str, ...], AfterValidator(_server_names)]


class DatabaseSettings(Section):
    """The database that rooms and accounts are kept in."""

    url: SecretStr = Field(
        SecretStr(""),
        description="postgresql://user:password@host/name of a PostgreSQL ≥ 14; empty: an embedded one in data_dir",
    )
    connections: int = Field(12, ge=2, le=200, description="how many connections each process keeps open at most")


class ListenerSettings(Section):
    """An address to listen on."""

    bind: Address = Field(description="ADDRESS:PORT; port 0: any free port")
    serves: tuple[Literal["client", "federation"], ...] = Field(
        ("client",), min_length=1, description='"client", "federation", or both'
    )
    tls_certificate: Path | None = Field(None, description="PEM file with the certificate and its chain")
    tls_key: Path | None = Field(None, description="PEM file with the certificate's private key")
    trusted_proxies: Networks = Field(
        (), description="networks of reverse proxies whose X-Forwarded-For is believed, such as 127.0.0.0/8"
    )


class FederationSettings(Section):
    """How this server talks to others."""

    presence: bool = Field(True, description="whether to tell other servers which of our users are online")
    device_names: bool = Field(False, description="whether to tell other servers the names of our users' devices")
    notaries: ServerNames = Field(
        (), description="servers to ask, in this order, for the keys of servers that do not answer"
    )
    trusted_ca: Path | None = Field(
        None, description="PEM file of additional certificate authorities to trust for other servers"
    )
    allowed_addresses: Networks = Field(
        (), description="private networks that requests may nevertheless go to, such as 127.0.0.0/8"
    )
    address_overrides: dict[str, str] = Field(
        {}, description='where to find certain servers, instead of asking DNS: { "hs2.example" = "192.0.2.7:8448" }'
    )


class IdentityServerSettings(Section):
    """Who is asked whose e-mail address or telephone number it is when somebody is invited by one."""

    trusted: ServerNames = Field(
        (),
        description='identity servers that users may have us ask, such as "matrix.org"; none: people are invited '
        "by user id only",
    )


class PolicyServerSettings(Section):
    """Whether rooms may use this server as their policy server, and which events it approves.

    A room does by the state event `m.room.policy`, with this server's name and the key that
    `/.well-known/matrix/policy_server` tells, while a user of this server is in the room. Patterns have `*` for any
    text and `?` for any character. Words in encrypted messages are not seen.
    """

    enabled: bool = Field(False, description="whether this server acts as a policy server")
    allowed_servers: tuple[str, ...] = Field(("*",), description="patterns of servers whose users may send")
    denied_servers: tuple[str, ...] = Field((), description="patterns of servers whose users may not send")
    allowed_users: tuple[str, ...] = Field(("*",), description="patterns of users who may send")
    denied_users: tuple[str, ...] = Field((), description="patterns of users who may not send")
    denied_words: tuple[str, ...] = Field((), description="patterns of words and phrases that no text may contain")


class WellKnownSettings(Section):
    """What `/.well-known/matrix/…` answers."""

    client_base_url: str = Field(
        "",
        description="base URL for clients, also told to them when they sign in; empty: https:// and the server "
        "name, unless that is localhost",
    )
    server: str = Field("", description="HOST:PORT that other servers should use; empty: the document is not served")
    support_email: str = Field("", description="e-mail address for questions about this server")
    support_page: str = Field("", description="a web page about getting help")


class TurnSettings(Section):
    """Relays for calls, for which clients get temporary credentials."""

    uris: tuple[Annotated[str, StringConstraints(pattern=r"^turns?:\S+$")], ...] = Field(
        (), description='the relays, such as "turn:turn.example.org:3478?transport=udp"; none: there are none'
    )
    shared_secret: SecretStr = Field(
        SecretStr(""), description="the secret shared with the relays: `static-auth-secret` in coturn"
    )
    lifetime: int = Field(86_400, ge=60, description="for how many seconds credentials are valid")
    guests: bool = Field(False, description="whether guests get credentials too")


class RtcSettings(Section):
    """Group calls, as in Element Call."""

    livekit_service_urls: tuple[str, ...] = Field(
        (), description="URLs of the MatrixRTC authorization services in front of LiveKit, the preferred one first"
    )


class PushSettings(Section):
    """Notifications to browsers and phones."""

    contact: str = Field(
        "",
        description="mailto: or https: URL at which push services can reach you; empty: https:// and the server name",
    )


class MetricsSettings(Section):
    """Metrics for Prometheus: requests and how long they took, connections, queues, memory."""

    bind: Address | Literal[""] = Field(
        "",
        description="ADDRESS:PORT where anybody can read them at /metrics; each further process uses the next "
        "port; empty: nowhere",
    )


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least severe level shown")
    format: Literal["console", "json"] = Field("console", description="for people, or one JSON object per line")


def is_this_machine(server_name: str) -> bool:
    """Tell whether a server of this name can be reached from its own machine only."""
    host = urlsplit(f"https://{server_name}").hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


class Settings(Section):
    """Everything an operator can set."""

    server_name: Annotated[str, AfterValidator(_server_name)] = Field(
        "localhost", description="the part after the colon of user ids; cannot be changed later"
    )
    data_dir: Path = Field(
        Path("tricord-data"),
        description="directory for keys, media, and the embedded database",
    )
    default_room_version: Annotated[str, AfterValidator(_room_version)] = Field(
        "12", description="the version of rooms created here, unless the client asks for another one"
    )
    processes: int = Field(
        1, ge=1, le=64, description="how many processes serve; no more than there are processor cores to spare"
    )
    database: DatabaseSettings = DatabaseSettings()
    listeners: tuple[ListenerSettings, ...] = Field(
        (ListenerSettings(bind="127.0.0.1:8008"),), min_length=1, description="the addresses to answer on"
    )
    registration: RegistrationSettings = RegistrationSettings()
    login: LoginSettings = LoginSettings()
    moderation: ModerationSettings = ModerationSettings()
    server_notices: ServerNoticeSettings = ServerNoticeSettings()
    user_directory: UserDirectorySettings = UserDirectorySettings()
    federation: FederationSettings = FederationSettings()
    identity_servers: IdentityServerSettings = IdentityServerSettings()
    media: MediaSettings = MediaSettings()
    media_store: MediaStoreSettings = MediaStoreSettings()
    remote_media: RemoteMediaSettings = RemoteMediaSettings()
    thumbnails: ThumbnailSettings = ThumbnailSettings()
    url_previews: UrlPreviewSettings = UrlPreviewSettings()
    policy_server: PolicyServerSettings = PolicyServerSettings()
    well_known: WellKnownSettings = WellKnownSettings()
    turn: TurnSettings = TurnSettings()
    rtc: RtcSettings = RtcSettings()
    delayed_events: DelayedEventSettings = DelayedEventSettings()
    retention: RetentionSettings = RetentionSettings()
    push: PushSettings = PushSettings()
    rate_limits: RateLimitSettings = RateLimitSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
