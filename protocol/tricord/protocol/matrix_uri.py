"""Links to users, rooms and events: `matrix:` URIs and the older `https://matrix.to/#/` ones.

https://spec.matrix.org/v1.19/appendices/#uris
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote

from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import (
    EventId,
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    parse_event_id,
    parse_room_alias,
    parse_room_id,
    parse_server_name,
    parse_user_id,
)

Target = UserId | RoomId | RoomAlias
Action = Literal["join", "chat"]

_MATRIX_TO = "https://matrix.to/#/"
_SCHEME = "matrix:"
# The longer words are from drafts of the scheme: they are read, and never written.
_SIGILS = {"u": "@", "user": "@", "r": "#", "room": "#", "roomid": "!", "e": "$", "event": "$"}
_TYPES = {"@": "u", "#": "r", "!": "roomid"}
_PARSERS: dict[str, Callable[[str], Target]] = {"@": parse_user_id, "#": parse_room_alias, "!": parse_room_id}
# What RFC 3986 allows in a path segment, beyond letters and digits.
_SEGMENT = "-._~!$&'()*+,;=:@"
# Event ids of room version 3 have slashes, and few clients encode them: the event is all from its sigil on.
_MATRIX_TO_PATH = re.compile(r"(?P<id>.*?)(?:/(?P<event>(?:\$|%24).*))?/?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class MatrixUri:
    """What a link points to, what to do there, and the servers through which to get there."""

    target: Target
    event_id: EventId | None = None
    via: tuple[ServerName, ...] = ()
    action: Action | None = None

    def __str__(self) -> str:
        path = f"{_TYPES[self.target[0]]}/{quote(self.target[1:], safe=_SEGMENT)}"
        if self.event_id is not None:
            path += f"/e/{quote(self.event_id[1:], safe=_SEGMENT)}"
        return _SCHEME + path + self._query()

    def matrix_to(self) -> str:
        """Write the link in the older form, which needs no handler for the scheme."""
        path = quote(self.target, safe=_SEGMENT)
        if self.event_id is not None:
            path += f"/{quote(self.event_id, safe=_SEGMENT)}"
        return _MATRIX_TO + path + self._query()

    def _query(self) -> str:
        items = [] if self.action is None else [f"action={self.action}"]
        items += [f"via={quote(server_name, safe=_SEGMENT)}" for server_name in self.via]
        return "?" + "&".join(items) if items else ""


def parse_matrix_uri(text: str) -> MatrixUri:
    """Read a link of either form; raise InvalidParam if it is none.

    An action that does not fit the target, and servers that cannot be, are left out rather than refused.
    """
    if text[: len(_SCHEME)].lower() == _SCHEME:
        return _parse_scheme(text[len(_SCHEME) :])
    if text[: len(_MATRIX_TO)].lower() == _MATRIX_TO:
        return _parse_matrix_to(text[len(_MATRIX_TO) :])
    raise InvalidParam("a link to Matrix starts with `matrix:` or `https://matrix.to/#/`")


def _parse_scheme(rest: str) -> MatrixUri:
    path, _, query = rest.partition("#")[0].partition("?")
    if path.startswith("//"):  # an authority, which has no meaning yet
        path = path[2:].partition("/")[2]
    segments = path.split("/")
    if len(segments) not in (2, 4) or not all(kind in _SIGILS for kind in segments[::2]):
        raise InvalidParam("a `matrix:` link names a user, or a room and maybe an event in it")
    target, *events = (_SIGILS[kind] + _decoded(name) for kind, name in zip(segments[::2], segments[1::2], strict=True))
    return _uri(target, events[0] if events else None, query)


def _parse_matrix_to(rest: str) -> MatrixUri:
    path, _, query = rest.partition("?")
    match = _MATRIX_TO_PATH.fullmatch(path)
    if match is None:
        raise InvalidParam("a link to matrix.to names a user or a room")
    return _uri(_decoded(match["id"]), None if match["event"] is None else _decoded(match["event"]), query)


def _uri(target: str, event_id: str | None, query: str) -> MatrixUri:
    parse_target = _PARSERS.get(target[:1])
    if parse_target is None:
        raise InvalidParam("a link to Matrix names a user, or a room and maybe an event in it")
    if event_id is not None and target.startswith("@"):
        raise InvalidParam("users hold no events")
    via: list[ServerName] = []
    action: Action | None = None
    for name, value in _query_items(query):
        if name == "via":
            via += _server_names(value)
        elif (name, value) == ("action", "join") and not target.startswith("@"):
            action = "join"
        elif (name, value) == ("action", "chat") and target.startswith("@"):
            action = "chat"
    return MatrixUri(parse_target(target), None if event_id is None else parse_event_id(event_id), tuple(via), action)


def _query_items(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=100)
    except ValueError as error:
        raise InvalidParam(f"the link's query cannot be read: {error}") from error


def _server_names(value: str) -> list[ServerName]:
    try:
        return [parse_server_name(value)]
    except InvalidParam:
        return []


def _decoded(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidParam("the link does not decode to UTF-8") from error
