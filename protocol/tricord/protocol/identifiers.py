"""Names of users, rooms, events, aliases, servers and devices, and the grammars they follow.

The types are strings to Python and different things to the type checker; `parse_…` is the way from a foreign string
to each of them.

https://spec.matrix.org/v1.19/appendices/#identifier-grammar
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from typing import NewType, TypeGuard

from tricord.protocol.errors import InvalidParam

UserId = NewType("UserId", str)
RoomId = NewType("RoomId", str)
EventId = NewType("EventId", str)
RoomAlias = NewType("RoomAlias", str)
ServerName = NewType("ServerName", str)
DeviceId = NewType("DeviceId", str)
KeyId = NewType("KeyId", str)

MAX_ID_BYTES = 255

_SERVER_NAME = re.compile(r"(?:[0-9A-Za-z.-]{1,255}|\[([0-9A-Fa-f:.]{2,45})\])(?::[0-9]{1,5})?")
_NEW_LOCALPART = re.compile(r"[a-z0-9._=\-/+]+")
# The hash of an event: room version 3 writes it in standard base64, later ones in the URL-safe alphabet.
_EVENT_HASH = re.compile(r"[A-Za-z0-9+/]{43}|[A-Za-z0-9_-]{43}")
_URL_SAFE_HASH = re.compile(r"[A-Za-z0-9_-]{43}")


def parse_server_name(text: str) -> ServerName:
    """Return `text` as a server name, or raise InvalidParam."""
    match = _SERVER_NAME.fullmatch(text)
    if match is None or len(text) > MAX_ID_BYTES or not (match[1] is None or _is_ipv6(match[1])):
        raise InvalidParam(f"{_shown(text)} is not a server name, such as example.org or example.org:8448")
    return ServerName(text)


def parse_user_id(text: str) -> UserId:
    """Return `text` as a user id, or raise InvalidParam.

    Historical localparts (upper case, other scripts, even empty ones) are accepted: their events are in the rooms.
    """
    _check_with_domain(text, "@", "user id")
    return UserId(text)


def parse_room_id(text: str) -> RoomId:
    """Return `text` as a room id, or raise InvalidParam; from version 12 on it is a hash and names no server."""
    if not (text.startswith("!") and _URL_SAFE_HASH.fullmatch(text, 1)):
        _check_with_domain(text, "!", "room id")
    return RoomId(text)


def parse_event_id(text: str) -> EventId:
    """Return `text` as an event id of any room version, or raise InvalidParam."""
    if not (text.startswith("$") and _EVENT_HASH.fullmatch(text, 1)):
        _check_with_domain(text, "$", "event id")
    return EventId(text)


def parse_room_alias(text: str) -> RoomAlias:
    """Return `text` as a room alias, or raise InvalidParam."""
    _check_with_domain(text, "#", "room alias")
    return RoomAlias(text)


def server_name_of(identifier: UserId | RoomId | EventId | RoomAlias) -> ServerName:
    """Return the server that an identifier names: all after the first colon, "" if there is none."""
    return ServerName(identifier.partition(":")[2])


def localpart_of(identifier: UserId | RoomAlias) -> str:
    """Return what stands between the sigil and the first colon."""
    return identifier[1:].partition(":")[0]


def is_valid_user_id(value: object) -> TypeGuard[UserId]:
    """Return whether a foreign value is a user id, historical ones included."""
    return isinstance(value, str) and _has_domain_form(value, "@")


def is_valid_new_localpart(text: str) -> bool:
    """Return whether a new user may have this localpart; what existing ones have is wider."""
    return _NEW_LOCALPART.fullmatch(text) is not None


def fits(text: str, max_bytes: int = MAX_ID_BYTES) -> bool:
    """Return whether `text` takes at most `max_bytes` as UTF-8; half a surrogate pair fits nowhere."""
    if text.isascii():
        return len(text) <= max_bytes
    try:
        return len(text.encode()) <= max_bytes
    except UnicodeEncodeError:
        return False


def _check_with_domain(text: str, sigil: str, noun: str) -> None:
    if not _has_domain_form(text, sigil):
        raise InvalidParam(f"{_shown(text)} is not {'an' if noun.startswith('e') else 'a'} {noun}")


def _has_domain_form(text: str, sigil: str) -> bool:
    localpart, colon, server_name = text.partition(":")
    if not (localpart.startswith(sigil) and colon and fits(text) and "\0" not in localpart):
        return False
    match = _SERVER_NAME.fullmatch(server_name)
    return match is not None and (match[1] is None or _is_ipv6(match[1]))


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def _shown(text: str) -> str:
    """Quote a foreign string for an error message, cut to a bearable length."""
    return ascii(text if len(text) <= MAX_ID_BYTES else text[:MAX_ID_BYTES] + "…")
