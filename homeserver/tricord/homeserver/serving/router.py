"""Finding the route of a request: a tree of path segments, with no regular expression and no order to mind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from tricord.homeserver.serving.call import LateRoutes, Route
from tricord.protocol.errors import InvalidParam, MethodNotAllowed, Unrecognized

T = TypeVar("T")

_LONGEST_PATH = 16_384
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# The current major version of the client API, and the one before, which had the same endpoints.
_CLIENT, _CURRENT, _BEFORE = "/_matrix/client", b"v3", b"r0"


class NotLoaded(Exception):
    """The path is below those of routes that have to be loaded first."""

    def __init__(self, late: LateRoutes) -> None:
        super().__init__(*late.below)
        self.late = late


class _Node(Generic[T]):
    __slots__ = ("by_method", "children", "late", "parameter")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        # What is to be loaded before anybody goes on from here.
        self.late: LateRoutes | None = None
        # The route and the names of its parameters, in the order of the path.
        self.by_method: dict[str, tuple[T, tuple[str, ...]]] = {}


class Router:
    """All routes of a listener."""

    def __init__(self, routes: Iterable[Route | LateRoutes]) -> None:
        self._root: _Node[Route] = _Node()
        for each in routes:
            if isinstance(each, Route):
                self._add(each)
            else:
                for path in each.below:
                    self._node(path)[0].late = each
        of_clients = self._node(_CLIENT)[0].children
        if _CURRENT in of_clients:
            of_clients[_BEFORE] = of_clients[_CURRENT]

    async def load(self, late: LateRoutes) -> None:
        """Load routes, so that requests for which `match` raised NotLoaded can be matched."""
        routes = await late.get()
        # Somebody else may have asked for them, too.
        if self._node(late.below[0])[0].late is late:
            for route in routes:
                self._add(route, late.below)
            for path in late.below:
                self._node(path)[0].late = None

    def _add(self, route: Route, below: tuple[str, ...] = ("",)) -> None:
        for path in (route.endpoint.path, *route.endpoint.also):
            if not path.startswith(below):
                raise ValueError(f"{path} is not below {' or '.join(below)}, for which it is loaded")
            node, names = self._node(path)
            if route.endpoint.method in node.by_method:
                raise ValueError(f"two routes for {route.endpoint.method} {path}")
            node.by_method[route.endpoint.method] = (route, names)

    def _node(self, path: str) -> tuple[_Node[Route], tuple[str, ...]]:
        """Return the node of a path, made if there is none yet, and the names of its parameters."""
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
        return node, tuple(names)

    def match(self, method: str, path: bytes) -> tuple[Route, dict[str, str]]:
        """Return the route of a request and the parameters in its path, decoded.

        `path` is as it came, percent-encoded and without the query string. Raises Unrecognized, MethodNotAllowed or
        InvalidParam; and NotLoaded if it cannot be told yet.
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
    if node.late is not None:
        raise NotLoaded(node.late)
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
