from __future__ import annotations

import pytest

from tests.federation.test_well_known import ScriptedWeb
from tests.federation.web import ScriptedDns
from tricord.federation.discovery import Discovery
from tricord.federation.dns import SystemDns
from tricord.federation.errors import HostUnreachable
from tricord.federation.places import Place, in_order
from tricord.federation.route import Route
from tricord.federation.server_names import split_server_name
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import ServerName


class World:
    """What DNS and the web say."""

    def __init__(self) -> None:
        self.dns = ScriptedDns()
        self.web = ScriptedWeb()

    async def route(self, name: str, **overrides: str) -> Route:
        from tricord.federation.well_known import WellKnown

        return await Discovery(self.dns, WellKnown(self.web), overrides).route(ServerName(name))


@pytest.fixture
def world() -> World:
    return World()


def to(name: str, host_header: str, *places: tuple[str, int]) -> Route:
    return Route(name, host_header, tuple(Place.at(host, port) for host, port in places))


@pytest.mark.parametrize(
    ("name", "route"),
    [
        ("1.2.3.4", to("1.2.3.4", "1.2.3.4", ("1.2.3.4", 8448))),
        ("1.2.3.4:5", to("1.2.3.4", "1.2.3.4:5", ("1.2.3.4", 5))),
        ("[2a01::1]", to("2a01::1", "[2a01::1]", ("2a01::1", 8448))),
        ("[2a01::1]:5", to("2a01::1", "[2a01::1]:5", ("2a01::1", 5))),
    ],
)
async def test_step_1_an_address_is_where_it_says(world: World, name: str, route: Route) -> None:
    assert await world.route(name) == route
    assert (world.web.asked, world.dns.asked) == ([], [])


async def test_step_2_a_port_is_taken_as_it_is_and_nobody_is_asked(world: World) -> None:
    assert await world.route("a.example:443") == to("a.example", "a.example:443", ("a.example", 443))
    assert (world.web.asked, world.dns.asked) == ([], [])


@pytest.mark.parametrize(
    ("delegated", "route"),
    [
        ("1.2.3.4", to("1.2.3.4", "1.2.3.4", ("1.2.3.4", 8448))),
        ("[2a01::1]:5", to("2a01::1", "[2a01::1]:5", ("2a01::1", 5))),
        ("b.example:443", to("b.example", "b.example:443", ("b.example", 443))),
        ("b.example", to("b.example", "b.example", ("b.example", 8448))),
    ],
)
async def test_step_3_a_host_may_delegate(world: World, delegated: str, route: Route) -> None:
    world.web.says("a.example", f'{{"m.server":"{delegated}"}}'.encode())
    assert await world.route("a.example") == route


async def test_steps_3_3_and_3_4_services_of_the_delegated_host_are_its_own(world: World) -> None:
    world.web.says("a.example", b'{"m.server":"b.example"}')
    world.dns.records["_matrix._tcp.b.example"] = [Place.at("old.example", 1)]
    assert await world.route("a.example") == to("b.example", "b.example", ("old.example", 1))
    world.dns.records["_matrix-fed._tcp.b.example"] = [Place.at("new.example", 2)]
    assert await world.route("a.example") == to("b.example", "b.example", ("new.example", 2))


async def test_steps_4_and_5_services_of_a_host_without_document(world: World) -> None:
    world.web.says("a.example", b"no", status=404)
    world.dns.records["_matrix._tcp.a.example"] = [Place.at("old.example", 1)]
    assert await world.route("a.example") == to("a.example", "a.example", ("old.example", 1))
    world.dns.records["_matrix-fed._tcp.a.example"] = [Place.at("new.example", 2)]
    assert await world.route("a.example") == to("a.example", "a.example", ("new.example", 2))


async def test_step_6_nothing_known_leads_to_the_usual_port(world: World) -> None:
    assert await world.route("a.example") == to("a.example", "a.example", ("a.example", 8448))
    assert world.dns.asked == ["_matrix-fed._tcp.a.example", "_matrix._tcp.a.example"]


async def test_a_delegated_host_does_not_delegate_further(world: World) -> None:
    world.web.says("a.example", b'{"m.server":"b.example"}')
    world.web.says("b.example", b'{"m.server":"c.example"}')
    assert (await world.route("a.example")).name == "b.example"


async def test_dns_that_does_not_answer_is_not_taken_for_no_records(world: World) -> None:
    world.dns.broken.add("_matrix-fed._tcp.a.example")
    with pytest.raises(HostUnreachable):
        await world.route("a.example")


async def test_an_override_is_used_with_the_name_it_stands_for(world: World) -> None:
    route = await world.route("a.example", **{"a.example": "1.2.3.4:5"})
    assert route == to("a.example", "a.example", ("1.2.3.4", 5))
    assert (world.web.asked, world.dns.asked) == ([], [])


@pytest.mark.parametrize("name", ["", "a b", "a.example:0", "a.example:99999", "[::1", "a/b"])
async def test_what_is_no_server_name_is_unreachable(world: World, name: str) -> None:
    with pytest.raises(HostUnreachable):
        await world.route(name)


def test_odd_spellings_of_addresses_are_names() -> None:
    assert split_server_name("127.1:80") == ("127.1", 80)
    with pytest.raises(InvalidParam):
        split_server_name("a.example:65536")


def test_places_are_tried_by_priority_and_all_of_them() -> None:
    places = [Place(2, "c", 1), Place(1, "a", 1, 10), Place(1, "b", 1, 0)]
    orders = {tuple(place.host for place in in_order(places)) for _ in range(500)}
    assert orders == {("a", "b", "c"), ("b", "a", "c")}


async def test_the_system_knows_addresses_as_such() -> None:
    dns = SystemDns()
    assert [str(address) for address in await dns.addresses("::1")] == ["::1"]
    assert "127.0.0.1" in [str(address) for address in await dns.addresses("localhost")]
    for name in ("a" * 300, "a..b", "no-such-host.invalid"):
        with pytest.raises(HostUnreachable):
            await dns.addresses(name)
