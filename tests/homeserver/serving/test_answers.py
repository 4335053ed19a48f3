"""What is said about requests that cannot be served, by which errcode; both ways through the server."""

from __future__ import annotations

import pytest

from tests.homeserver.serving.house import House, opened, request, wire
from tests.homeserver.serving.http2_client import http2

CASES = [
    (request("GET", "/nowhere"), 404, "M_UNRECOGNIZED"),
    (request("GET", "/"), 404, "M_UNRECOGNIZED"),
    (request("GET", "//echo"), 404, "M_UNRECOGNIZED"),
    (request("GET", "/echo/"), 404, "M_UNRECOGNIZED"),
    (request("GET", "/../etc/passwd"), 404, "M_UNRECOGNIZED"),
    (request("GET", "/echo"), 405, "M_UNRECOGNIZED"),
    (request("TRACE", "/echo"), 405, "M_UNRECOGNIZED"),
    (request("POST", "/echo", b'{"a":'), 400, "M_NOT_JSON"),
    (request("POST", "/echo", b"\xff"), 400, "M_NOT_JSON"),
    (request("POST", "/echo", b'{"a":NaN}'), 400, "M_NOT_JSON"),
    (request("POST", "/echo", b"[]"), 400, "M_BAD_JSON"),
    (request("POST", "/echo", b"null"), 400, "M_BAD_JSON"),
    (request("POST", "/shaped", b'{"name":1}'), 400, "M_BAD_JSON"),
    (request("POST", "/shaped", b'{"name":"a","size":-1}'), 400, "M_BAD_JSON"),
    (request("POST", "/shaped", b"{}"), 400, "M_MISSING_PARAM"),
    (request("POST", "/secret", b"{}"), 401, "M_MISSING_TOKEN"),
    (request("POST", "/secret", b"{}", "Authorization: Basic Zm9v"), 401, "M_MISSING_TOKEN"),
    (request("POST", "/secret", b"{}", "Authorization: Bearer bad"), 401, "M_UNKNOWN_TOKEN"),
    (request("POST", "/secret?access_token=bad", b"{}"), 401, "M_UNKNOWN_TOKEN"),
    (request("PUT", "/_matrix/client/v3/rooms/%ff/send/a", b"{}"), 400, "M_INVALID_PARAM"),
    (request("PUT", "/_matrix/client/v3/rooms/%00/send/a", b"{}"), 400, "M_INVALID_PARAM"),
    (request("PUT", "/_matrix/client/v3/rooms/%zz/send/a", b"{}"), 400, "M_INVALID_PARAM"),
    (request("PUT", "/_matrix/client/v3/rooms/a%/send/a", b"{}"), 400, "M_INVALID_PARAM"),
    (request("PUT", "/_matrix/client/v3/rooms//send/a", b"{}"), 404, "M_UNRECOGNIZED"),
    (request("PUT", f"/_matrix/client/v3/rooms/{'r' * 20_000}/send/a", b"{}"), 400, "M_INVALID_PARAM"),
    (request("POST", "/echo?a=%ff", b"{}"), 400, "M_INVALID_PARAM"),
    (request("POST", "/echo?" + "a&" * 300, b"{}"), 400, "M_INVALID_PARAM"),
    (request("GET", "/broken"), 500, "M_UNKNOWN"),
]


async def test_every_refusal_has_its_errcode_and_is_readable_in_a_browser(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        for data, status, errcode in CASES:
            reply = await client.ask(data)
            assert (reply.status, reply.errcode) == (status, errcode), data[:80]
            assert reply.headers["access-control-allow-origin"] == "*"
            assert reply.headers["content-type"] == "application/json"
            assert "connection" not in reply.headers


async def test_a_wrong_method_is_told_the_right_ones(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        assert (await client.ask(request("DELETE", "/address"))).headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("target", ["/echo", "/secret", "/nowhere", "/", "*"])
async def test_browsers_may_ask_for_anything_beforehand(house: House, by_quart: bool, target: str) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        reply = await client.ask(request("OPTIONS", target, b"", "Origin: https://app.test"))
        assert reply.status == 200
        assert "Authorization" in reply.headers["access-control-allow-headers"]
        assert "PUT" in reply.headers["access-control-allow-methods"]


async def test_an_encoded_slash_stays_inside_its_parameter(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        reply = await client.ask(request("PUT", "/_matrix/client/v3/rooms/a%2Fb%3Fc/send/%2e%2e%2f%25", b"{}"))
        assert reply.json == {"room_id": "a/b?c", "event_type": "../%"}
        reply = await client.ask(request("PUT", "/_matrix/client/r0/rooms/!%C3%A4+b:hs/send/m.x;y", b"{}"))
        assert reply.json == {"room_id": "!ä+b:hs", "event_type": "m.x;y"}


@pytest.mark.parametrize("target", ["/signed", "/signed?", "/signed?a=1", "/signed?a=%2F&b=+?", "/signed??"])
async def test_what_a_server_signed_is_the_target_as_it_was_written(house: House, by_quart: bool, target: str) -> None:
    async with opened(house, everything_by_quart=by_quart) as address:
        async with wire(address) as client:
            assert (await client.ask(request("GET", target))).json == {"uri": target}
        async with http2(address) as stream:
            assert (await stream.ask("GET", target)).json == {"uri": target}


async def test_a_token_is_taken_from_either_place(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        assert (await client.ask(request("POST", "/secret", b"{}", "authorization: bEARER good"))).status == 200
        assert (await client.ask(request("POST", "/secret?access_token=good", b"{}"))).status == 200
