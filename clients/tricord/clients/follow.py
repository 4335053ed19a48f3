"""Following what happens: deltas from the WebSocket where the homeserver has one, else from `/sync`.

Both carriers give the same deltas with the same positions, so that one takes over where the other stopped.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    ConnectionTimeout,
    DisconnectionTimeout,
    HandshakeError,
    WebSocketConnection,
    open_websocket_url,
)

from tricord.clients.api.account import WhoAmI
from tricord.clients.api.sync import Sync
from tricord.clients.api.websocket import HEARTBEAT_SECONDS, PATH, Close
from tricord.clients.encryption.opened import LateEvent
from tricord.clients.errors import Refused, SignedOut, UnexpectedAnswer, Unreachable
from tricord.clients.http import Http

_LONG_POLL_SECONDS = 30
_LARGEST_DELTA = 256 << 20
_OPEN_WITHIN_SECONDS = 20
_LONGEST_PAUSE_SECONDS = 60

_log = logging.getLogger(__name__)
_jitter = secrets.SystemRandom()


@dataclass(frozen=True, slots=True)
class Delta:
    """Everything that changed for us since the delta before, up to `position`; `content` is what `/sync` answers.

    With encryption its events are opened, and `late` has older ones that could not be, and whose key has come now.
    """

    position: str
    content: dict[str, Any]
    late: tuple[LateEvent, ...] = ()


Take = Callable[[Delta], Awaitable[None]]


class _NoWebSocket(Exception):
    """The homeserver does not offer one."""


class _TakeFailed(Exception):
    """What a delta was given to has raised: that is no fault of the connection, whatever it looks like."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Follower:
    """Follows one user's homeserver for as long as it runs, through restarts and broken connections."""

    def __init__(self, http: Http, *, websocket: bool = True) -> None:
        self._http = http
        self._websocket = websocket

    async def run(
        self, take: Take, *, position: str | None = None, sync_filter: dict[str, Any] | str | None = None
    ) -> None:
        """Give every delta after `position` to `take`, one after another, for ever.

        The next delta is asked for when `take` has returned. Without a position the first delta is an initial sync.
        Raises SignedOut when the access token is no longer valid, Refused if the homeserver does not know the position
        or the filter, and what `take` raises.
        """
        following = _Following(self._http, take, position, sync_filter)
        pause = 1.0
        while True:
            started_at = following.position
            try:
                await self._follow(following)
            except _NoWebSocket as reason:
                _log.info("following over HTTP: %s", reason)
                self._websocket = False
                continue
            except _TakeFailed as failed:
                raise failed.error from None
            except (Unreachable, UnexpectedAnswer) as error:
                _log.info("the connection is lost, going on from the last position: %s", error)
            except Refused as refusal:
                if refusal.status < 500 and refusal.status != 429:
                    raise
                _log.warning("the homeserver fails, going on from the last position: %s", refusal)
            pause = 1.0 if following.position != started_at else min(pause * 2, _LONGEST_PAUSE_SECONDS)
            await trio.sleep(pause * _jitter.uniform(0.5, 1))

    async def _follow(self, following: _Following) -> None:
        if not self._websocket:
            await following.over_http()
        try:
            await following.over_websocket()
        except SignedOut:
            # HTTP says it with all its words, and renews an access token that has merely expired.
            await self._http.call(WhoAmI)
            raise Unreachable("the access token of the WebSocket has been renewed") from None


class _Following:
    """One run: it knows up to where everything has been taken in."""

    def __init__(self, http: Http, take: Take, position: str | None, sync_filter: dict[str, Any] | str | None) -> None:
        self.position = position
        self._http = http
        self._take = take
        self._filter = sync_filter

    async def over_http(self) -> None:
        wanted = orjson.dumps(self._filter).decode() if isinstance(self._filter, dict) else self._filter
        while True:
            wait = 0 if self.position is None else _LONG_POLL_SECONDS
            answer = await self._http.call(
                Sync,
                query={"since": self.position, "timeout": wait * 1000, "filter": wanted},
                answer_within_seconds=wait + 60,
            )
            if not isinstance(answer, dict) or not isinstance(answer.get("next_batch"), str):
                raise UnexpectedAnswer("/sync: there is no next_batch")
            if answer["next_batch"] != self.position:
                await self._taken(answer["next_batch"], answer)

    async def over_websocket(self) -> None:
        url = self._http.base_url.replace("http", "ws", 1) + PATH
        try:
            async with open_websocket_url(
                url, max_message_size=_LARGEST_DELTA, connect_timeout=_OPEN_WITHIN_SECONDS, disconnect_timeout=5
            ) as socket:
                await self._talk(socket)
        except ConnectionRejected as error:
            if error.status_code == 429 or (error.status_code >= 500 and error.status_code != 501):
                raise Unreachable(f"{url}: status {error.status_code}") from error
            # An older or another homeserver, or a proxy that does not let the upgrade through.
            raise _NoWebSocket(f"the upgrade was answered with status {error.status_code}") from error
        except (ConnectionTimeout, DisconnectionTimeout) as error:
            raise Unreachable(f"{url}: no answer in time") from error
        except ConnectionClosed as error:
            code = None if error.reason is None else error.reason.code
            if code == Close.SIGNED_OUT:
                raise SignedOut(401, {"errcode": "M_UNKNOWN_TOKEN", "error": "the access token was revoked"}) from error
            if code == Close.BAD_MESSAGE:
                raise _NoWebSocket("the homeserver speaks another version of it") from error
            raise Unreachable(f"{url}: closed ({code})") from error
        except (HandshakeError, OSError) as error:
            raise Unreachable(f"{url}: {error!r}") from error

    async def _talk(self, socket: WebSocketConnection) -> None:
        sign_in = {
            "type": "sign_in",
            "access_token": self._http.access_token,
            "position": self.position,
            "filter": self._filter,
        }
        await _send(socket, {key: value for key, value in sign_in.items() if value is not None})
        heartbeat_seconds: float = HEARTBEAT_SECONDS
        while True:
            message = await _heard(socket, heartbeat_seconds)
            match message.get("type"):
                case "signed_in":
                    heartbeat = message.get("heartbeat_ms")
                    if isinstance(heartbeat, int) and heartbeat > 0:
                        heartbeat_seconds = heartbeat / 1000
                case "delta":
                    await self._taken(_position(message), message)
                    if message.get("to_device"):
                        await _send(socket, {"type": "received", "position": self.position})
                case "pong":
                    # All deltas up to there have been sent, and we have taken in what was sent.
                    self.position = _position(message)
                case "refused":
                    raise _refusal(message)
                case "resume":
                    raise Unreachable("we fell behind")

    async def _taken(self, position: str, content: dict[str, Any]) -> None:
        try:
            await self._take(Delta(position, content))
        except Exception as error:
            raise _TakeFailed(error) from error
        self.position = position


async def _heard(socket: WebSocketConnection, heartbeat_seconds: float) -> dict[str, Any]:
    """Return the next message; ask the homeserver for a sign of life when there is none for long."""
    for _ in range(2):
        with trio.move_on_after(heartbeat_seconds):
            return _frame(await socket.get_message())
        await _send(socket, {"type": "ping"})
    raise Unreachable("nothing was heard on the WebSocket")


async def _send(socket: WebSocketConnection, message: dict[str, Any]) -> None:
    await socket.send_message(orjson.dumps(message).decode())


def _frame(message: str | bytes) -> dict[str, Any]:
    try:
        frame = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise UnexpectedAnswer("a WebSocket message is not JSON") from error
    if not isinstance(frame, dict):
        raise UnexpectedAnswer("a WebSocket message is not an object")
    return frame


def _position(message: dict[str, Any]) -> str:
    position = message.get("position")
    if not isinstance(position, str):
        raise UnexpectedAnswer(f"a {message['type']} on the WebSocket has no position")
    return position


def _refusal(message: dict[str, Any]) -> Refused:
    status, body = message.get("status"), message.get("body")
    status = status if isinstance(status, int) else 400
    body = body if isinstance(body, dict) else {}
    return SignedOut(status, body) if status == 401 else Refused(status, body)
