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

from tricord.clients.api.sync import Sync
from tricord.clients.errors import Refused, SignedOut, UnexpectedAnswer, Unreachable
from tricord.clients.http import Http

WEBSOCKET_PATH = "/_tricord/client/v1/websocket"
_LONG_POLL_SECONDS = 30
_LARGEST_DELTA = 256 << 20
# Close codes of spec/websocket.md.
_TOKEN_INVALID = 4001
_NOT_UNDERSTOOD = 4003

_log = logging.getLogger(__name__)
_jitter = secrets.SystemRandom()


@dataclass(frozen=True, slots=True)
class Delta:
    """Everything that changed for us since the delta before, up to `position`; `content` is what `/sync` answers."""

    position: str
    content: dict[str, Any]


Take = Callable[[Delta], Awaitable[None]]


class _NoWebSocket(Exception):
    """The homeserver does not offer one."""


class Follower:
    """Follows one user's homeserver for as long as it runs, through restarts and broken connections."""

    def __init__(self, http: Http, *, websocket: bool = True) -> None:
        self._http = http
        self._websocket = websocket

    async def run(self, take: Take, *, position: str | None = None, sync_filter: dict[str, Any] | None = None) -> None:
        """Give every delta after `position` to `take`, one after another, for ever.

        The next delta is asked for when `take` has returned. Without a position the first delta is an initial sync.
        Raises SignedOut when the access token is no longer valid, and what `take` raises.
        """
        pause = 1.0
        while True:
            started_at = position

            async def taken(delta: Delta) -> None:
                nonlocal position
                await take(delta)
                position = delta.position

            try:
                if self._websocket:
                    await self._follow_websocket(taken, position, sync_filter)
                else:
                    await self._follow_http(taken, position, sync_filter)
            except _NoWebSocket as reason:
                _log.info("following over HTTP: %s", reason)
                self._websocket = False
                continue
            except (Unreachable, UnexpectedAnswer) as error:
                _log.warning("the connection is lost, going on from the last position: %s", error)
            pause = 1.0 if position != started_at else min(pause * 2, 60)
            await trio.sleep(pause * _jitter.uniform(0.5, 1))

    async def _follow_http(self, take: Take, position: str | None, sync_filter: dict[str, Any] | None) -> None:
        wanted = None if sync_filter is None else orjson.dumps(sync_filter).decode()
        while True:
            wait = 0 if position is None else _LONG_POLL_SECONDS
            answer = await self._http.call(
                Sync,
                query={"since": position, "timeout": wait * 1000, "filter": wanted},
                answer_within_seconds=wait + 60,
            )
            if not isinstance(answer, dict) or not isinstance(answer.get("next_batch"), str):
                raise UnexpectedAnswer("/sync: there is no next_batch")
            next_position = answer["next_batch"]
            if next_position != position:
                await take(Delta(next_position, answer))
            position = next_position

    async def _follow_websocket(self, take: Take, position: str | None, sync_filter: dict[str, Any] | None) -> None:
        url = self._http.base_url.replace("http", "ws", 1) + WEBSOCKET_PATH
        try:
            async with open_websocket_url(url, max_message_size=_LARGEST_DELTA) as socket:
                await self._talk(socket, take, position, sync_filter)
        except ConnectionRejected as error:
            # An older or another homeserver, or a proxy that does not let the upgrade through.
            raise _NoWebSocket(f"the upgrade was answered with status {error.status_code}") from error
        except (ConnectionTimeout, DisconnectionTimeout) as error:
            raise Unreachable(f"{url}: no answer in time") from error
        except ConnectionClosed as error:
            code = None if error.reason is None else error.reason.code
            if code == _TOKEN_INVALID:
                raise SignedOut(401, {"errcode": "M_UNKNOWN_TOKEN", "error": "the access token was revoked"}) from error
            if code == _NOT_UNDERSTOOD:
                raise _NoWebSocket("the homeserver speaks another version of it") from error
            raise Unreachable(f"{url}: closed ({code})") from error
        except (HandshakeError, OSError) as error:
            raise Unreachable(f"{url}: {error!r}") from error

    async def _talk(
        self, socket: WebSocketConnection, take: Take, position: str | None, sync_filter: dict[str, Any] | None
    ) -> None:
        sign_in = {
            "type": "sign_in",
            "access_token": self._http.access_token,
            "position": position,
            "filter": sync_filter,
        }
        await socket.send_message(orjson.dumps({k: v for k, v in sign_in.items() if v is not None}).decode())
        heartbeat_seconds = 30.0
        while True:
            with trio.move_on_after(3 * heartbeat_seconds) as silence:
                message = _frame(await socket.get_message())
            if silence.cancelled_caught:
                raise Unreachable("nothing was heard on the WebSocket")
            match message.get("type"):
                case "signed_in":
                    heartbeat = message.get("heartbeat_ms")
                    if isinstance(heartbeat, int) and heartbeat > 0:
                        heartbeat_seconds = heartbeat / 1000
                case "delta":
                    await take(Delta(str(message.get("position")), message))
                case "refused":
                    raise _refusal(message)
                case "resume":
                    raise Unreachable("we fell behind")


def _frame(message: str | bytes) -> dict[str, Any]:
    try:
        frame = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise UnexpectedAnswer("a WebSocket message is not JSON") from error
    if not isinstance(frame, dict):
        raise UnexpectedAnswer("a WebSocket message is not an object")
    return frame


def _refusal(message: dict[str, Any]) -> Refused:
    status, body = message.get("status"), message.get("body")
    status = status if isinstance(status, int) else 400
    body = body if isinstance(body, dict) else {}
    return SignedOut(status, body) if status == 401 else Refused(status, body)
