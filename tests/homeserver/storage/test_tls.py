"""TCP, passwords and TLS.

The embedded PostgreSQL is built without TLS: `Front` stands before it and does what PostgreSQL would do
(https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL).
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.authority import Authority
from tests.postgres import FAST, served
from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.errors import DatabaseError, DatabaseUnavailable

PASSWORD = "pass word/ü"
IN_A_URL = "pass%20word%2F%C3%BC"
ACCESS = """
local all all               trust
host  all all 127.0.0.1/32  scram-sha-256
"""
SSL_REQUEST = struct.pack("!ll", 8, 80877103)
CANCEL_REQUEST = struct.pack("!ll", 16, 80877102)
NO_ENCRYPTION = b"SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry for host, no encryption\0\0"


@pytest.fixture(scope="module")
def postgres_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("tcp")
    with served(folder, FAST) as url:
        trio.run(make_user, url)
    (folder / "data" / "pg_hba.conf").write_text(ACCESS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with served(folder, FAST | {"listen_addresses": "127.0.0.1", "port": str(port)}):
        yield port


class Front:
    """What a client meets: with TLS if there is a certificate, and by TLS alone if it is demanded."""

    def __init__(self, postgres_port: int, certificate: Path | None, *, tls_is_demanded: bool) -> None:
        self._postgres_port = postgres_port
        self._certificate = certificate
        self._tls_is_demanded = tls_is_demanded
        self.port = 0
        self.asked_for_tls = 0
        self.encrypted = 0

    def url(self, parameters: str, *, host: str = "localhost", password: str = IN_A_URL) -> str:
        return f"postgresql://alice:{password}@{host}:{self.port}/tricord?{parameters}"

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._answer, [listener])

    async def _answer(self, stream: trio.SocketStream) -> None:
        first = await receive_exactly(stream, 8)
        client: trio.abc.Stream = stream
        if first == SSL_REQUEST:
            self.asked_for_tls += 1
            await stream.send_all(b"N" if self._certificate is None else b"S")
            first = b""
            if self._certificate is not None:
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(self._certificate)
                client = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
                self.encrypted += 1
        elif self._tls_is_demanded and first != CANCEL_REQUEST:
            await stream.send_all(b"E" + struct.pack("!l", len(NO_ENCRYPTION) + 4) + NO_ENCRYPTION)
            await stream.aclose()
            return
        try:
            server = await trio.open_tcp_stream("127.0.0.1", self._postgres_port)
            await server.send_all(first)
            async with client, server, trio.open_nursery() as nursery:
                nursery.start_soon(pass_on, client, server, nursery.cancel_scope)
                nursery.start_soon(pass_on, server, client, nursery.cancel_scope)
        except* trio.BrokenResourceError:
            await trio.aclose_forcefully(stream)


async def receive_exactly(stream: trio.SocketStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += await stream.receive_some(count - len(data))
    return data


async def pass_on(source: trio.abc.Stream, target: trio.abc.Stream, both: trio.CancelScope) -> None:
    while data := await source.receive_some(1 << 16):
        await target.send_all(data)
    both.cancel()


@pytest.fixture
async def front(postgres_port: int, nursery: trio.Nursery, authority: Authority) -> Front:
    front = Front(postgres_port, authority.certify("localhost"), tls_is_demanded=True)
    await nursery.start(front.serve)
    return front


@pytest.fixture
async def front_without_tls(postgres_port: int, nursery: trio.Nursery) -> Front:
    front = Front(postgres_port, None, tls_is_demanded=False)
    await nursery.start(front.serve)
    return front


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def make_user(url: str) -> None:
    connection = await Connection.open(url)
    await connection.execute(f"CREATE USER alice PASSWORD '{PASSWORD}'; GRANT CREATE ON SCHEMA public TO alice")
    await connection.aclose()


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
async def test_tls_and_a_password_let_us_in(front: Front, authority: Authority, mode: str) -> None:
    known = "" if mode in ("prefer", "require") else f"&sslrootcert={authority.certificate}"
    connection = await Connection.open(front.url(f"sslmode={mode}{known}"))
    assert front.encrypted == 1
    assert await connection.fetchval("SELECT current_user") == "alice"
    large = bytes(range(256)) * 40_000
    assert await connection.fetchval("SELECT $1::bytea || $1::bytea", large) == large * 2
    await connection.execute("CREATE TEMPORARY TABLE numbers (number int)")
    await connection.copy_records("numbers", ["number"], ((n,) for n in range(100_000)))
    assert await connection.fetchval("SELECT count(*) FROM numbers") == 100_000
    await connection.aclose()


async def test_a_query_over_tls_can_be_cancelled(front: Front) -> None:
    connection = await Connection.open(front.url("sslmode=require"))
    for seconds in (0, 0.001, 0.01, 0.1):
        with trio.fail_after(60):
            with trio.move_on_after(seconds):
                await connection.fetch("SELECT length($1), pg_sleep(60)", "x" * 5_000_000)
            assert await connection.fetchval("SELECT 1") == 1
    await connection.aclose()


async def test_connecting_over_tls_can_be_cancelled(front: Front) -> None:
    for milliseconds in range(0, 40, 2):
        with trio.move_on_after(milliseconds / 1000):
            connection = await Connection.open(front.url("sslmode=require"))
            connection.terminate()
    connection = await Connection.open(front.url("sslmode=require"))
    assert await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename = 'alice'") <= 2
    await connection.aclose()


async def test_a_backend_that_was_ended_is_noticed_over_tls(front: Front) -> None:
    idle = await Connection.open(front.url("sslmode=require"))
    other = await Connection.open(front.url("sslmode=require"))
    await other.execute("SELECT pg_terminate_backend($1, 5000)", await idle.fetchval("SELECT pg_backend_pid()"))
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert not idle.is_usable
    await other.aclose()


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_a_server_whose_certificate_is_not_known_is_refused(front: Front, tmp_path: Path, mode: str) -> None:
    other = Authority(tmp_path)
    with pytest.raises(DatabaseUnavailable, match="CERTIFICATE_VERIFY_FAILED") as caught:
        await Connection.open(front.url(f"sslmode={mode}&sslrootcert={other.certificate}"))
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


async def test_a_server_of_another_name_is_refused_if_the_name_is_to_be_verified(
    front: Front, authority: Authority
) -> None:
    known = f"sslrootcert={authority.certificate}"
    with pytest.raises(DatabaseUnavailable, match=r"not valid for '127\.0\.0\.1'"):
        await Connection.open(front.url(f"sslmode=verify-full&{known}", host="127.0.0.1"))
    connection = await Connection.open(front.url(f"sslmode=verify-ca&{known}", host="127.0.0.1"))
    await connection.aclose()


async def test_a_server_that_wants_tls_refuses_who_comes_without(front: Front) -> None:
    with pytest.raises(DatabaseError, match="no encryption"):
        await Connection.open(front.url("sslmode=disable"))


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_server_without_tls_is_refused_where_the_url_demands_it(
    front_without_tls: Front, authority: Authority, mode: str
) -> None:
    with pytest.raises(DatabaseUnavailable, match="has no TLS, and the URL demands it"):
        await Connection.open(front_without_tls.url(f"sslmode={mode}&sslrootcert={authority.certificate}"))


@pytest.mark.parametrize("mode", ["disable", "prefer", "allow"])
async def test_a_password_over_tcp_lets_us_in(front_without_tls: Front, mode: str) -> None:
    connection = await Connection.open(front_without_tls.url(f"sslmode={mode}"))
    assert await connection.fetchval("SELECT current_user") == "alice"
    assert front_without_tls.asked_for_tls == (mode != "disable")
    with trio.move_on_after(0.05) as patience:
        await connection.execute("SELECT pg_sleep(60)")
    assert patience.cancelled_caught
    assert await connection.fetchval("SELECT 1") == 1
    await connection.aclose()


async def test_a_wrong_password_is_refused_in_words(front: Front) -> None:
    with pytest.raises(DatabaseError, match="password authentication failed"):
        await Connection.open(front.url("sslmode=require", password="wrong"))


async def test_of_several_addresses_the_first_that_fits_is_taken(postgres_port: int) -> None:
    two = f"postgresql://alice:{IN_A_URL}@127.0.0.1:1,127.0.0.1:{postgres_port}/tricord?sslmode=disable"
    connection = await Connection.open(two + "&target_session_attrs=read-write")
    await connection.aclose()
    with pytest.raises(DatabaseUnavailable, match=rf"127.0.0.1:{postgres_port} is not what the URL asks for .standby."):
        await Connection.open(two + "&target_session_attrs=standby")
