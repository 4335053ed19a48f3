"""TLS: what is agreed by ALPN is spoken, and nobody holds a handshake open."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import trio

from tests.authority import Authority
from tests.homeserver.serving.house import LARGE, House, Wire, opened, request, settled, wire
from tricord.homeserver.serving.limits import Limits
from tricord.homeserver.serving.sockets import CannotListen


@pytest.mark.parametrize("http2", [False, True])
async def test_a_client_gets_the_version_that_it_speaks(
    house: House, by_quart: bool, authority: Authority, http2: bool
) -> None:
    async with (
        opened(house, everything_by_quart=by_quart, tls=authority.certify("127.0.0.1")) as address,
        httpx.AsyncClient(verify=authority.trusted(), http2=http2, base_url=f"https://{address}") as client,
    ):
        answer = await client.post("/echo", json={"n": "tls"})
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        assert answer.json()["body"] == {"n": "tls"}
        assert len((await client.get("/large")).content) == LARGE
        assert (await client.post("/echo", content=b"x" * 2000)).status_code == 413
        assert (await client.get("/nowhere")).json()["errcode"] == "M_UNRECOGNIZED"


async def test_a_client_that_leaves_lets_go_of_what_only_waits(
    house: House, by_quart: bool, authority: Authority
) -> None:
    async with opened(house, everything_by_quart=by_quart, tls=authority.certify("127.0.0.1")) as address:
        async with wire(address) as plain:
            stream = trio.SSLStream(plain.stream, authority.trusted(), server_hostname="127.0.0.1")
            await stream.send_all(request("POST", "/waits", b"{}"))
            await house.started.wait()
        await house.cancelled.wait()


async def test_what_is_sent_ahead_while_one_waits_is_served_next(house: House, authority: Authority) -> None:
    async with opened(house, tls=authority.certify("127.0.0.1")) as address, wire(address) as plain:
        client = Wire(trio.SSLStream(plain.stream, authority.trusted(), server_hostname="127.0.0.1"))
        await client.say(request("POST", "/waits", b"{}"))
        await house.started.wait()
        await client.say(request("POST", "/echo", b'{"n":"ahead"}'))
        await settled()
        house.release.set()
        assert (await client.reply()).json == {"waited": {}}
        assert (await client.reply()).json["body"] == {"n": "ahead"}


async def test_a_handshake_that_pauses_is_not_waited_for(house: House, authority: Authority) -> None:
    limits = Limits(handshake_seconds=0.05)
    async with opened(house, tls=authority.certify("127.0.0.1"), limits=limits) as address, wire(address) as client:
        await client.say(b"\x16\x03\x01")
        assert await client.to_the_end() == b""


async def test_plain_http_on_a_tls_port_ends_quietly(
    house: House, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(house, tls=authority.certify("127.0.0.1")) as address, wire(address) as client:
        await client.say(request("GET", "/address"))
        await client.to_the_end()
    assert "failed" not in capsys.readouterr().out


async def test_a_certificate_that_is_none_is_told_before_anything_is_served(house: House, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate", encoding="ascii")
    with pytest.raises(CannotListen, match="not a certificate"):
        async with opened(house, tls=broken):
            raise AssertionError("it listens")
