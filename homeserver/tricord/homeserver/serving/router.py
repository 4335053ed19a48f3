"""Finding the route of a request: a tree of path segments, with no regular expression and no order to mind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from tricord.homeserver.serving.call import Route
from tricord.protocol.errors import InvalidParam, MethodNotAllowed, Unrecognized

T = TypeVar("T")

_LONGEST_PATH = 16_384
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# The current major version of the client API, and the one before, which had the same endpoints.
_CURRENT, _BEFORE = "/_matrix/client/v3/", "/_matrix/client/r0/"


class _Node(Generic[T]):
    __slots__ = ("by_method", "children", "parameter")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        # The route and the names of its parameters, in the order of the path.
        self.by_method: dict[str, tuple[T, tuple[str, ...]]] = {}


class Router:
    """All routes of a listener."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root: _Node[Route] = _Node()
        for route in routes:
            for path in (route.endpoint.path, *route.endpoint.also):
                self._add(path, route)
                if path.startswith(_CURRENT):
                    self._add(path.replace(_CURRENT, _BEFORE, 1), route)

    def _add(self, path: str, route: Route) -> None:
        node = self._root
        names = []
        for segment in path.encode().split(b"/")[1:]:
            if segment.startswith(b"{"):
                names.append(segment[1:-1].decode())
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                child = node.children.get(segment)
                if child is None:
                    child = node.children[segment] = _Node()
                node = child
        if route.endpoint.method in node.by_method:
            raise ValueError(f"two routes for {route.endpoint.method} {path}")
        node.by_method[route.endpoint.method] = (route, tuple(names))

    def match(self, method: str, path: bytes) -> tuple[Route, dict[str, str]]:
        """Return the route of a request and the parameters in its path, decoded.

        `path` is as it came, percent-encoded and without the query string. Raises Unrecognized, MethodNotAllowed or
        InvalidParam.
        """
        if len(path) > _LONGEST_PATH:
            raise InvalidParam("the path is too long")
        values: list[bytes] = []
        node = _find(self._root, path.split(b"/")[1:], 0, values)
        if node is None:
            raise Unrecognized("there is no such endpoint")
        found = node.by_method.get("GET" if method == "HEAD" else method)
        if found is None:
            raise MethodNotAllowed(f"the endpoint has no method {method[:16]}; it has {', '.join(node.by_method)}")
        if b"%" in path and _BROKEN_ESCAPE.search(path):
            raise InvalidParam("a percent sign in the path is not followed by two hexadecimal digits")
        route, names = found
        parameters = dict.fromkeys(route.endpoint.parameters(), "")
        for name, value in zip(names, values, strict=True):
            parameters[name] = _decoded(name, value)
        return route, parameters

    def methods(self, path: bytes) -> list[str]:
        """Return the methods that a path has."""
        node = _find(self._root, path.split(b"/")[1:], 0, [])
        if node is None:
            return []
        return sorted({"OPTIONS", *node.by_method, *(["HEAD"] if "GET" in node.by_method else [])})


def _find(node: _Node[T], segments: list[bytes], depth: int, values: list[bytes]) -> _Node[T] | None:
    """Go down the tree; a fixed segment wins over a parameter, unless it leads nowhere."""
    if depth == len(segments):
        return node if node.by_method else None
    segment = segments[depth]
    child = node.children.get(segment)
    if child is not None:
        found = _find(child, segments, depth + 1, values)
        if found is not None:
            return found
    if node.parameter is None or not segment:
        return None
    values.append(segment)
    found = _find(node.parameter, segments, depth + 1, values)
    if found is None:
        values.pop()
    return found


def _decoded(name: str, value: bytes) -> str:
    try:
        text = (unquote_to_bytes(value) if b"%" in value else value).decode()
    except UnicodeDecodeError:
        raise InvalidParam(f"`{name}` in the path is not UTF-8") from None
    if "\0" in text:
        raise InvalidParam(f"`{name}` in the path holds a NUL")
    return text
