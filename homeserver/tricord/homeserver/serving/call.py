"""What a handler gets and gives: one call of one endpoint, and its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from tricord.clients.endpoint import Endpoint
from tricord.federation.late import Late
from tricord.protocol.errors import MissingToken, Unauthorized
from tricord.protocol.identifiers import DeviceId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject

if TYPE_CHECKING:
    from trio_websocket import WebSocketConnection

B = TypeVar("B")
Q = TypeVar("Q")

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Requester:
    """Who calls: a user, signed in on a device."""

    user_id: UserId
    device_id: DeviceId | None
    session_id: int
    is_guest: bool
    is_admin: bool
    is_suspended: bool = False


@dataclass(slots=True)
class Call(Generic[B, Q]):
    """One call of an endpoint: authenticated, its parameters decoded, its body parsed."""

    endpoint: type[Endpoint]
    path: Mapping[str, str]
    """The parameters in the path, percent-decoded."""
    query: Q
    """The endpoint's `Query`, or None if it has none."""
    body: B
    """The endpoint's `Body`, or the JSON object that came ({} for none)."""
    headers: Mapping[str, str]
    """By lower-case name; of several with one name, the last."""
    client_address: str
    parameters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The query string, undigested."""
    stream: AsyncIterator[bytes] | None = None
    """The body as it comes, for endpoints whose `body_kind` is "stream"."""
    requester_or_none: Requester | None = None
    origin_or_none: ServerName | None = None

    @property
    def origin(self) -> ServerName:
        """Which server calls. Raises Unauthorized where none had to say."""
        if self.origin_or_none is None:
            raise Unauthorized("this needs a signed request")
        return self.origin_or_none

    @property
    def requester(self) -> Requester:
        """Who calls. Raises MissingToken where nobody had to say."""
        if self.requester_or_none is None:
            raise MissingToken("this needs an access token")
        return self.requester_or_none

    def received(self) -> AsyncIterator[bytes]:
        """Return the body as it comes; nothing where there is none."""
        return _nothing() if self.stream is None else self.stream

    @property
    def content_length(self) -> int | None:
        """How many bytes the body has, where the client says so."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isdigit() else None

    @property
    def user_agent(self) -> str:
        """What the client says it is."""
        return self.headers.get("user-agent", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is more than a JSON object with status 200."""

    body: bytes | JsonObject | BaseModel | AsyncIterator[bytes]
    status: int = 200
    headers: tuple[Header, ...] = ()
    """Headers beside the usual ones; a content-type replaces that of JSON. Bytes that come in parts have a
    content-length if it is known before."""


Handler = Callable[[Call[Any, Any]], Awaitable[Answer | JsonObject | BaseModel]]


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint, and who serves it."""

    endpoint: type[Endpoint]
    handle: Handler


class LateRoutes:
    """Routes that few ask for: they are loaded with the first request to a path that begins as one of `below`.

    `load` imports what they need, in a thread; what it returns makes the routes.
    """

    def __init__(self, *below: str, load: Callable[[], Callable[[], Sequence[Route]]]) -> None:
        self.below = below
        self._imported = Late(load)
        self._routes: Sequence[Route] | None = None

    async def get(self) -> Sequence[Route]:
        """Return the routes, the same for all routers."""
        make = await self._imported.get()
        if self._routes is None:
            self._routes = make()
        return self._routes


class WebSocketHandler(Protocol):
    """Serves one WebSocket to its end."""

    async def __call__(
        self,
        connection: WebSocketConnection,
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        client_address: str,
    ) -> None:
        """Converse; returning closes the connection."""
        ...


@dataclass(frozen=True, slots=True)
class WebSocketRoute:
    """A path that is upgraded to a WebSocket."""

    path: str
    handle: WebSocketHandler
    largest_message: int = 1 << 20


class Authenticator(Protocol):
    """Knows whose access token it is."""

    async def authenticate(
        self, token: str, *, client_address: str, user_agent: str, locked_users_too: bool = False
    ) -> Requester:
        """Return who has the token; raises UnknownToken, or UserLocked unless they are welcome too."""
        ...


class PeerAuthenticator(Protocol):
    """Knows which server signed a request."""

    async def origin_of(self, method: str, uri: str, authorization: Sequence[str], body: Any) -> ServerName:
        """Return who signed it; `body` is the JSON, None if there was none. Raises Unauthorized."""
        ...


class OtherProcesses(Protocol):
    """What other processes have done, which a client may already know of."""

    @property
    def is_behind(self) -> bool: ...

    async def catch_up(self) -> None: ...


class EndsOfSessions(Protocol):
    """Hears when a session has ended, or a token of it."""

    @property
    def ends(self) -> int:
        """How often that has been heard, of any: a number that has not changed means that none has ended."""
        ...

    def when_ended(self, session_id: int, interrupt: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `interrupt`, while inside the block, when a session or a token of it has ended, or may have."""
        ...


class RateLimiter(Protocol):
    """Says when somebody asks too much."""

    def check(self, call: Call[Any, Any]) -> None:
        """Count the call; raises LimitExceeded."""
        ...


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for part in nothing:
        yield part
