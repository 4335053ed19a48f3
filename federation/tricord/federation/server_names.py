"""A server name is a host and perhaps a port.

https://spec.matrix.org/v1.19/appendices/#server-name
"""

from __future__ import annotations

from ipaddress import ip_address

from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import parse_server_name


def split_server_name(text: str) -> tuple[str, int | None]:
    """Return host, an IPv6 address without its brackets, and port of a server name; raise InvalidParam."""
    parse_server_name(text)
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    if port and not 0 < int(port) < 1 << 16:
        raise InvalidParam(f"{port} is no port")
    return host.removeprefix("[").removesuffix("]"), int(port) if port else None


def is_ip_literal(host: str) -> bool:
    """Return whether a host is an address rather than a name; `127.1` and the like are names, if odd ones."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
