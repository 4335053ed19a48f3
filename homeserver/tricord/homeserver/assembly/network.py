"""Other servers: asking them, and knowing who they are."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tricord.federation.addresses import AllowedAddresses
from tricord.federation.client import FederationClient
from tricord.federation.dns import SystemDns
from tricord.federation.health import PeerHealth
from tricord.federation.https import HttpsTransport
from tricord.federation.keys import KeyRing
from tricord.federation.media import RemoteFiles
from tricord.federation.peers import Peers
from tricord.federation.request_auth import RequestAuthenticator
from tricord.federation.transport import NoNetwork, Transport
from tricord.federation.way_out import WayOut
from tricord.homeserver.assembly.foundation import Foundation
from tricord.homeserver.peers.key_store import StoredKeys
from tricord.homeserver.peers.remote_profiles import RemoteProfiles
from tricord.homeserver.peers.remote_queries import RemoteQueries
from tricord.homeserver.rooms.verification import Verifier
from tricord.homeserver.settings import Settings
from tricord.homeserver.settings_sources import SettingsError
from tricord.protocol.identifiers import ServerName


class Network:
    """What talks to other servers."""

    def __init__(self, base: Foundation, transport: Transport) -> None:
        self.health = PeerHealth()
        client = FederationClient(transport, base.server_name, base.key, self.health)
        self.peers = Peers(client)
        self.files = RemoteFiles(client, ask_old_endpoints=base.settings.remote_media.ask_old_endpoints)
        self.keys = KeyRing(
            base.server_name,
            base.key,
            self.peers,
            StoredKeys(base.database),
            base.clock.now_ms,
            retired_keys=base.retired_keys,
            notaries=[ServerName(name) for name in base.settings.federation.notaries],
        )
        self.verifier = Verifier(self.keys)
        self.queries = RemoteQueries(self.peers)
        self.profiles = RemoteProfiles(self.peers)
        self.authenticator = RequestAuthenticator(base.server_name, self.keys, self.health, base.clock)


@contextlib.asynccontextmanager
async def open_way_out(settings: Settings) -> AsyncIterator[WayOut]:
    """Give the way to hosts that users name: push gateways, for one. Raises SettingsError."""
    federation = settings.federation
    try:
        way_out = WayOut(SystemDns(), AllowedAddresses(federation.allowed_addresses), federation.trusted_ca)
    except OSError as error:  # which ssl's errors are
        raise _no_certificates(settings) from error
    try:
        yield way_out
    finally:
        await way_out.aclose()


@contextlib.asynccontextmanager
async def open_transport(settings: Settings) -> AsyncIterator[Transport]:
    """Give the way to other servers, if this one meets any. Raises SettingsError."""
    if not any("federation" in listener.serves for listener in settings.listeners):
        yield NoNetwork()
        return
    try:
        transport = HttpsTransport.on_this_machine(
            allowed_addresses=settings.federation.allowed_addresses,
            address_overrides=settings.federation.address_overrides,
            trusted_ca=settings.federation.trusted_ca,
        )
    except OSError as error:  # which ssl's errors are
        raise _no_certificates(settings) from error
    try:
        yield transport
    finally:
        await transport.aclose()


def _no_certificates(settings: Settings) -> SettingsError:
    return SettingsError(f"federation.trusted_ca: {settings.federation.trusted_ca} holds no certificates")
