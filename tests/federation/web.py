"""Hosts on the loopback that speak HTTP as they are told to, and a DNS that is written down beforehand."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import h11
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tricord.federation.addresses import Address
from tricord.federation.errors import HostUnreachable
from tricord.federation.places import Place

LOOPBACK = "127.0.0.1"


@dataclass
class ScriptedDns:
    """Knows the names that a test gives it, and what it was asked."""

    hosts: dict[str, list[str]] = field(default_factory=dict)
    records: dict[str, list[Place]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def addresses(self, host: str) -> list[Address]:
        self.asked.append(host)
        if host in self.hosts:
            return [ip_address(text) for text in self.hosts[host]]
        try:
            return [ip_address(host)]
        except ValueError:
            raise HostUnreachable(f"{host} has no address") from None

    async def services(self, name: str) -> list[Place]:
        self.asked.append(name)
        if name in self.broken:
            raise HostUnreachable(f"{name} cannot be looked up")
        return self.records.get(name, [])


@dataclass
class Seen:
    """A request that a host got."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Host:
    """A host that answers."""

    port: int = 0
    answer: Callable[[Seen], bytes | Awaitable[bytes]] = lambda _: reply(b"{}")
    connections: int = 0
    seen: list[Seen] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)


def reply(body: bytes, *headers: str, status: int = 200) -> bytes:
    """Return an answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def hosting(host: Host, tls: ssl.SSLContext | None = None, address: str = LOOPBACK) -> AsyncIterator[Host]:
    """Run a host while inside the block."""
    if tls is not None:
        tls.sni_callback = lambda _sock, name, _context: host.server_names.append(name)

    async def serve(stream: trio.abc.Stream) -> None:
        host.connections += 1
        try:
            if tls is not None:
                stream = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
            await _serve(host, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass  # whoever asked went away, perhaps in the middle of a request
        finally:
            with trio.move_on_after(1, shield=True):
                await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=address)
        host.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield host
        nursery.cancel_scope.cancel()


async def _serve(host: Host, stream: trio.abc.Stream) -> None:
    """Answer requests on a connection until it is closed."""
    connection = h11.Connection(h11.SERVER)
    request: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            headers = {name.decode(): value.decode() for name, value in request.headers}
            seen = Seen(request.method.decode(), request.target.decode(), headers, body)
            host.seen.append(seen)
            answer = host.answer(seen)
            await stream.send_all(answer if isinstance(answer, bytes) else await answer)
            connection = h11.Connection(h11.SERVER)
        else:
            return


class Authority:
    """A certificate authority of a test's own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = directory / "authority.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def tls_for(self, *names: str) -> ssl.SSLContext:
        """Return the TLS of a server that may call itself by some names or addresses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certify(*names))
        return context

    def certify(self, *names: str) -> Path:
        """Write a key and a certificate for some names or addresses to one file, and return where."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test server")])
        authority = self._key.public_key()
        certificate = (
            self._builder(subject, key)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        file = self._directory / f"{abs(hash(names))}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return file

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
