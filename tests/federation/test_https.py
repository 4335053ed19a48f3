from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from tests.authority import Authority
from tests.federation.servers import HERE, new_key
from tests.federation.web import LOOPBACK, Host, ScriptedDns, hosting, reply
from tricord.federation.addresses import AllowedAddresses
from tricord.federation.client import FederationClient
from tricord.federation.discovery import Discovery
from tricord.federation.errors import PeerAnswerInvalid, PeerUnreachable
from tricord.federation.https import HttpsTransport
from tricord.federation.peers import Peers
from tricord.federation.places import Place
from tricord.federation.way_out import WayOut
from tricord.federation.well_known import WellKnown
from tricord.protocol.identifiers import ServerName

THERE = ServerName("there.example")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Internet:
    """A transport whose DNS a test writes down."""

    def __init__(self, trusted_ca: Path | None, *allowed: str) -> None:
        self.dns = ScriptedDns()
        self._way_out = WayOut(self.dns, AllowedAddresses(allowed), trusted_ca)
        self.transport = HttpsTransport(Discovery(self.dns, WellKnown(self._way_out)), self._way_out)
        self.peers = Peers(FederationClient(self.transport, HERE, new_key()))


@pytest.fixture
async def internet(authority: Authority) -> AsyncIterator[Internet]:
    internet = Internet(authority.certificate, "127.0.0.0/8")
    yield internet
    await internet.transport.aclose()


def version(name: str) -> bytes:
    return reply(orjson.dumps({"server": {"name": name, "version": "1"}}))


async def test_a_server_is_found_by_its_service_record_and_known_by_its_certificate(
    internet: Internet, authority: Authority
) -> None:
    async with hosting(Host(answer=lambda _: version("there")), authority.tls_for("there.example")) as host:
        internet.dns.hosts["machine.example"] = [LOOPBACK]
        internet.dns.records["_matrix-fed._tcp.there.example"] = [Place.at("machine.example", host.port)]
        assert await internet.peers.version(THERE) == ("there", "1")
        assert await internet.peers.version(THERE) == ("there", "1")
        assert host.connections == 1
        assert host.server_names == ["there.example"]
        assert host.seen[0].headers["host"] == "there.example"


async def test_the_certificate_of_the_machine_in_the_record_is_not_enough(
    internet: Internet, authority: Authority
) -> None:
    async with hosting(Host(answer=lambda _: version("x")), authority.tls_for("machine.example")) as host:
        internet.dns.hosts["machine.example"] = [LOOPBACK]
        internet.dns.records["_matrix-fed._tcp.there.example"] = [Place.at("machine.example", host.port)]
        with pytest.raises(PeerUnreachable, match="ertificate"):
            await internet.peers.version(THERE)
        assert host.seen == []


async def test_a_server_at_an_address_needs_a_certificate_for_it_and_is_told_no_name(
    internet: Internet, authority: Authority
) -> None:
    async with hosting(Host(answer=lambda _: version("ip")), authority.tls_for(LOOPBACK)) as host:
        name = ServerName(f"{LOOPBACK}:{host.port}")
        assert await internet.peers.version(name) == ("ip", "1")
        assert host.server_names == [None]
        assert host.seen[0].headers["host"] == name
    async with hosting(Host(), authority.tls_for("there.example")) as host:
        with pytest.raises(PeerUnreachable, match="ertificate"):
            await internet.peers.version(ServerName(f"{LOOPBACK}:{host.port}"))


async def test_a_certificate_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    internet = Internet(None, "127.0.0.0/8")
    internet.dns.hosts["there.example"] = [LOOPBACK]
    async with hosting(Host(), authority.tls_for("there.example")) as host:
        with pytest.raises(PeerUnreachable, match="ertificate"):
            await internet.peers.version(ServerName(f"there.example:{host.port}"))
        assert host.seen == []


async def test_a_server_in_a_network_that_is_not_allowed_is_not_connected_to(authority: Authority) -> None:
    internet = Internet(authority.certificate)
    internet.dns.hosts["there.example"] = [LOOPBACK]
    async with hosting(Host(), authority.tls_for("there.example")) as host:
        for name in (f"there.example:{host.port}", f"{LOOPBACK}:{host.port}"):
            with pytest.raises(PeerUnreachable, match="may not go"):
                await internet.peers.version(ServerName(name))
        assert host.connections == 0


async def test_an_answer_that_is_too_large_is_an_invalid_one(internet: Internet, authority: Authority) -> None:
    internet.dns.hosts["there.example"] = [LOOPBACK]
    async with hosting(Host(answer=lambda _: reply(b" " * (3 << 20))), authority.tls_for("there.example")) as host:
        with pytest.raises(PeerAnswerInvalid, match="larger"):
            await internet.peers.version(ServerName(f"there.example:{host.port}"))


async def test_settings_make_the_transport_of_this_machine(authority: Authority) -> None:
    async with hosting(Host(answer=lambda _: version("there")), authority.tls_for("there.example")) as host:
        transport = HttpsTransport.on_this_machine(
            allowed_addresses=["127.0.0.0/8"],
            address_overrides={"there.example": f"{LOOPBACK}:{host.port}"},
            trusted_ca=authority.certificate,
        )
        peers = Peers(FederationClient(transport, HERE, new_key()))
        assert await peers.version(THERE) == ("there", "1")
        assert host.server_names == ["there.example"]
        await transport.aclose()
