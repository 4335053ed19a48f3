"""Finding the route of a path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from tricord.clients.endpoint import Endpoint
from tricord.homeserver.serving.call import Call, LateRoutes, Route
from tricord.homeserver.serving.router import NotLoaded, Router
from tricord.protocol.errors import InvalidParam, MethodNotAllowed, Unrecognized
from tricord.protocol.strict_json import JsonObject


async def nothing(_call: Call[Any, Any]) -> JsonObject:
    return {}


def endpoint(verb: str, where: str, *others: str) -> type[Endpoint]:
    class Described(Endpoint):
        method = verb
        path = where
        also = others

    return Described


STATE = endpoint("PUT", "/_matrix/client/v3/state/{event_type}/{state_key}", "/_matrix/client/v3/state/{event_type}/")
MEMBERS = endpoint("GET", "/_matrix/client/v3/state/m.room.member/all")
READ = endpoint("GET", "/_matrix/client/v3/state/{event_type}/{state_key}")
ROUTER = Router([Route(STATE, nothing), Route(MEMBERS, nothing), Route(READ, nothing)])


def found(method: str, path: str) -> tuple[type[Endpoint], dict[str, str]]:
    route, parameters = ROUTER.match(method, path.encode())
    return route.endpoint, parameters


def test_a_fixed_part_wins_over_a_parameter_unless_it_leads_nowhere() -> None:
    assert found("GET", "/_matrix/client/v3/state/m.room.member/all")[0] is MEMBERS
    assert found("GET", "/_matrix/client/v3/state/m.room.member/@a:b") == (
        READ,
        {"event_type": "m.room.member", "state_key": "@a:b"},
    )


def test_the_version_before_has_the_same_paths() -> None:
    assert found("GET", "/_matrix/client/r0/state/a/b") == (READ, {"event_type": "a", "state_key": "b"})


def test_a_parameter_that_a_path_lacks_is_empty() -> None:
    assert found("PUT", "/_matrix/client/v3/state/a/") == (STATE, {"event_type": "a", "state_key": ""})


def test_head_is_get() -> None:
    assert found("HEAD", "/_matrix/client/v3/state/a/b")[0] is READ


def test_a_path_tells_its_methods() -> None:
    assert ROUTER.methods(b"/_matrix/client/v3/state/a/b") == ["GET", "HEAD", "OPTIONS", "PUT"]
    assert ROUTER.methods(b"/nowhere") == []


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/", Unrecognized),
        ("GET", "/_matrix/client/v3/state/a/b/c", Unrecognized),
        ("GET", "/_matrix/client/v3/state//b", Unrecognized),
        ("GET", "/_matrix/client/V3/state/a/b", Unrecognized),
        ("DELETE", "/_matrix/client/v3/state/a/b", MethodNotAllowed),
        ("GET", "/_matrix/client/v3/state/a/%", InvalidParam),
        ("GET", "/_matrix/client/v3/state/a/%4", InvalidParam),
        ("GET", "/_matrix/client/v3/state/a/%c3%28", InvalidParam),
        ("GET", "/_matrix/client/v3/state/a/%00", InvalidParam),
        ("GET", "/_matrix/client/v3/state/a/%ED%A0%80", InvalidParam),
        ("GET", "/" + "a/" * 10_000, InvalidParam),
    ],
)
def test_what_is_no_path_of_ours_is_refused(method: str, path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        found(method, path)


def test_two_routes_for_one_path_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two routes"):
        Router([Route(READ, nothing), Route(READ, nothing)])


async def test_routes_that_few_ask_for_are_loaded_once_for_all_routers() -> None:
    times = 0

    def load() -> Callable[[], list[Route]]:
        nonlocal times
        times += 1
        return lambda: [Route(READ, nothing)]

    late = LateRoutes("/_matrix/client/v3/state", load=load)
    for router in (Router([late]), Router([late])):
        for path in (b"/_matrix/client/v3/state/a/b", b"/_matrix/client/r0/state/a/b"):
            with pytest.raises(NotLoaded):
                router.match("GET", path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(router.load, late)
            nursery.start_soon(router.load, late)
        assert router.match("GET", b"/_matrix/client/r0/state/a/b")[0].endpoint is READ
    assert times == 1


async def test_what_is_loaded_late_is_found_by_the_path_that_it_is_loaded_for() -> None:
    late = LateRoutes("/_matrix/client/v3/statement", load=lambda: lambda: [Route(READ, nothing)])
    with pytest.raises(ValueError, match="is not below /_matrix/client/v3/statement"):
        await Router([late]).load(late)
