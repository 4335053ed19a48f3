from __future__ import annotations

from collections.abc import AsyncIterator

import dns.asyncresolver
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest
import trio

from tricord.federation import srv_records
from tricord.federation.dns import SystemDns
from tricord.federation.errors import HostUnreachable
from tricord.federation.places import Place

ZONE = {
    "_matrix-fed._tcp.a.example.": ["20 5 8449 two.example.", "10 0 8448 one.example."],
    "_matrix-fed._tcp.closed.example.": ["0 0 0 ."],
}


@pytest.fixture
async def questions(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """Run a name server for the zone, and give what it was asked."""
    asked: list[str] = []
    socket = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    await socket.bind(("127.0.0.1", 0))

    async def serve() -> None:
        while True:
            data, peer = await socket.recvfrom(4096)
            query = dns.message.from_wire(data)
            name = query.question[0].name.to_text()
            asked.append(name)
            answer = dns.message.make_response(query)
            if name in ZONE:
                answer.answer.append(dns.rrset.from_text(name, 300, "IN", "SRV", *ZONE[name]))
            elif "broken" in name:
                answer.set_rcode(dns.rcode.SERVFAIL)
            elif "empty" not in name:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            await socket.sendto(answer.to_wire(), peer)

    def resolver() -> dns.asyncresolver.Resolver:
        local = dns.asyncresolver.Resolver(configure=False)
        local.nameservers = ["127.0.0.1"]
        local.port = socket.getsockname()[1]
        local.cache = dns.resolver.LRUCache(10)
        return local

    monkeypatch.setattr(srv_records, "_resolver", resolver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield asked
        nursery.cancel_scope.cancel()
    socket.close()


async def test_services_come_by_priority_and_are_remembered(questions: list[str]) -> None:
    system = SystemDns()
    for _ in range(2):
        assert await system.services("_matrix-fed._tcp.a.example") == [
            Place(10, "one.example", 8448, 0),
            Place(20, "two.example", 8449, 5),
        ]
    assert len(questions) == 1


@pytest.mark.parametrize("name", ["_matrix._tcp.none.example", "_matrix._tcp.empty.example"])
async def test_no_record_means_no_service(questions: list[str], name: str) -> None:
    assert await SystemDns().services(name) == []


@pytest.mark.parametrize("name", ["_matrix-fed._tcp.closed.example", "_m._tcp.broken.example", "_m._tcp.a..b"])
async def test_closed_services_and_broken_dns_are_unreachable(questions: list[str], name: str) -> None:
    with pytest.raises(HostUnreachable):
        await SystemDns().services(name)


async def test_a_machine_without_name_servers_knows_no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> dns.asyncresolver.Resolver:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(srv_records, "_resolver", none)
    assert await SystemDns().services("_matrix._tcp.a.example") == []
