"""Sync over a WebSocket: deltas go down as they commit, requests go up, as `spec/websocket.md` says.

While nothing happens, a connection is two tasks: one pushes deltas, one reads, and sees when it is time for a heartbeat
or a look at the access token, each of which then is a short task of its own. Whichever fails ends the connection, with
the close code of its reason. There may be thousands of them, and most of what each takes is its tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import orjson
import structlog
import trio
from pydantic import ValidationError

from tricord.clients.api.websocket import (
    HEARTBEAT_SECONDS,
    LONGEST_MESSAGE,
    MOST_UNANSWERED,
    SIGN_IN_WITHIN_SECONDS,
    Close,
    Received,
    Refused,
    Request,
    Response,
    SignedIn,
    SignIn,
)
from tricord.homeserver.accounts.presence import Presences
from tricord.homeserver.serving.call import Authenticator, EndsOfSessions, OtherProcesses, Requester
from tricord.homeserver.stream.tokens import decode_left_out, decode_messages_upto, decode_token, encode_token
from tricord.homeserver.sync.delta import Delta
from tricord.homeserver.sync.engine import SyncEngine
from tricord.homeserver.sync.filters import SyncFilters
from tricord.homeserver.sync.frames import FellBehind, FrameWriter, Gone
from tricord.homeserver.sync.http import delta_token, encode_sections
from tricord.homeserver.sync.viewer import Viewer
from tricord.protocol.errors import BadJson, InvalidParam, MatrixError, MissingToken, NotJson
from tricord.protocol.strict_json import JsonObject, integer_of_64_bits, parse_object

if TYPE_CHECKING:
    from trio_websocket import WebSocketConnection

_TOKEN_CHECK_SECONDS = 60

_logger = structlog.get_logger(__name__)


class Requests(Protocol):
    """Answers a request of the Client-Server API, as HTTP would."""

    async def answer(
        self, requester: Requester, method: str, path: str, body: JsonObject, *, client_address: str
    ) -> tuple[int, bytes]:
        """Return the status and the JSON body of the answer; refusals too."""
        ...


class WebSocketSync:
    """Serves the WebSocket."""

    def __init__(
        self,
        engine: SyncEngine,
        filters: SyncFilters,
        presences: Presences,
        authenticator: Authenticator,
        sessions: EndsOfSessions,
        requests: Requests,
        others: OtherProcesses,
    ) -> None:
        self._engine = engine
        self._filters = filters
        self._presences = presences
        self._authenticator = authenticator
        self._sessions = sessions
        self._requests = requests
        self._others = others

    async def serve(
        self,
        connection: WebSocketConnection,
        query: Mapping[str, Any],  # noqa: ARG002 - the listener hands it to every such route
        headers: Mapping[str, str],
        client_address: str,
    ) -> None:
        """Serve one connection to its end."""
        client = _Client(connection)
        try:
            requester, viewer, set_presence, token = await self._signed_in(client, headers, client_address)
            del headers  # nobody needs them for as long as the connection lasts
            with self._presences.syncing(requester.user_id, set_presence):
                await self._converse(client, requester, viewer, token, client_address)
        except _End as end:
            await client.close(end.code)
        except MatrixError as error:
            await client.refuse(error)
        except Gone:
            pass
        except Exception:
            _logger.exception("a WebSocket failed", client_address=client_address)
            await client.close(Close.FAILED)

    async def _signed_in(
        self, client: _Client, headers: Mapping[str, str], client_address: str
    ) -> tuple[Requester, Viewer, str, str]:
        with trio.move_on_after(SIGN_IN_WITHIN_SECONDS):
            message = await client.receive()
            try:
                sign_in = SignIn.model_validate(message)
            except ValidationError as error:
                raise BadJson("the first message is no sign_in") from error
            await self._others.catch_up()
            token = _token(sign_in, headers)
            requester = await self._authenticator.authenticate(
                token, client_address=client_address, user_agent=headers.get("user-agent", "")
            )
            viewer = Viewer(
                requester.user_id,
                requester.device_id,
                requester.session_id,
                await self._filters.of(requester.user_id, sign_in.filter),
                use_state_after=sign_in.use_state_after,
                messages_upto=decode_messages_upto(sign_in.position or ""),
                left_out=decode_left_out(sign_in.position or ""),
            )
            client.position = await self._engine.checked_position(sign_in.position)
            client.token = sign_in.position or client.token
            if client.position is not None:
                await self._engine.note_received(viewer, client.position)
            return requester, viewer, sign_in.set_presence, token
        raise _End(Close.NOT_SIGNED_IN)

    async def _converse(
        self,
        client: _Client,
        requester: Requester,
        viewer: Viewer,
        token: str,
        client_address: str,
    ) -> None:
        await client.send(SignedIn(user_id=requester.user_id, device_id=requester.device_id).model_dump())
        ended: _End | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._push, client, viewer)
                look = partial(nursery.start_soon, self._look_at_token, token, client_address)
                # From here on nothing is missed, so that the token is looked at inside.
                with self._sessions.when_ended(requester.session_id, look):
                    look()
                    await self._listen(client, requester, viewer, client_address, nursery, look)
        except BaseExceptionGroup as group:
            # Only the first reason counts; the others came of its cancelling them.
            reasons, others = group.split((_End, Gone))
            if others is not None:
                raise others from None
            ended = next((reason for reason in _leaves(reasons) if isinstance(reason, _End)), None)
            if ended is None:
                raise Gone from None
        if ended is not None:
            raise ended

    async def _push(self, client: _Client, viewer: Viewer) -> NoReturn:
        async with self._engine.follow(viewer) as following:
            await _send_delta(client, await following.next_delta(client.position, at_once=True))
            while True:
                # Nothing here holds the delta any longer than until it is sent: there may be thousands that wait.
                await _send_delta(client, await following.next_delta(client.position))
        raise AssertionError("the loop ends by an exception")

    async def _look_at_token(self, token: str, client_address: str) -> None:
        """End the connection if the token has ended."""
        try:
            await self._authenticator.authenticate(token, client_address=client_address, user_agent="")
        except MatrixError:
            raise _End(Close.SIGNED_OUT) from None

    async def _listen(
        self,
        client: _Client,
        requester: Requester,
        viewer: Viewer,
        client_address: str,
        nursery: trio.Nursery,
        look_at_token: Callable[[], None],
    ) -> NoReturn:
        """Take what the client says, and begin what is due.

        That is a ping to a silent client, and a look at the token, for what nobody announces: its age.
        """
        free = trio.Semaphore(MOST_UNANSWERED)
        request: Request | None = None
        looked_at, pinged_at = trio.current_time(), -math.inf
        while True:
            ping_at, look_at = max(client.heard_at, pinged_at) + HEARTBEAT_SECONDS, looked_at + _TOKEN_CHECK_SECONDS
            message: JsonObject | None = None
            with trio.CancelScope(deadline=min(ping_at, look_at)):
                if request is not None:
                    # Taken here and given back there: what is read is bounded by what is answered.
                    await free.acquire()
                    nursery.start_soon(self._answer, client, requester, request, client_address, free)
                    request = None
                message = await client.receive()
            now = trio.current_time()
            if now >= look_at:
                looked_at = now
                look_at_token()
            if message is None:
                if now >= ping_at:
                    pinged_at = now
                    nursery.start_soon(client.ping)
            elif message.get("type") == "ping":
                await client.send({"type": "pong", "position": client.token})
            elif message.get("type") == "received":
                await self._note_received(client, viewer, message)
            else:
                request = _request(message)
        raise AssertionError("the loop ends by an exception")

    async def _note_received(self, client: _Client, viewer: Viewer, message: JsonObject) -> None:
        try:
            token = Received.model_validate(message).position
            position = decode_token(token)
        except (ValidationError, InvalidParam) as error:
            raise _End(Close.BAD_MESSAGE) from error
        if position > (client.position or 0):
            raise _End(Close.BAD_MESSAGE)
        await self._engine.note_received(replace(viewer, messages_upto=decode_messages_upto(token)), position)

    async def _answer(
        self,
        client: _Client,
        requester: Requester,
        request: Request,
        client_address: str,
        free: trio.Semaphore,
    ) -> None:
        try:
            status, body = await self._requests.answer(
                requester, request.method, request.path, request.body, client_address=client_address
            )
            response = Response(id=request.id, status=status, body={}).model_dump()
            response["body"] = orjson.Fragment(body)
            await client.send(response)
        finally:
            free.release()


class _End(Exception):
    """The connection ends, for a reason that the client is told."""

    def __init__(self, code: Close) -> None:
        super().__init__(code)
        self.code = code


class _Client:
    """The other side: its messages, parsed, and how far it is."""

    def __init__(self, connection: WebSocketConnection) -> None:
        # It was loaded with the first connection: see http1/upgrade.py.
        from trio_websocket import ConnectionClosed

        self._closed = ConnectionClosed
        self._connection = connection
        self._writer = FrameWriter(connection)
        # The last position sent; None before the initial sync.
        self.position: int | None = None
        # The same as the client holds it.
        self.token = encode_token(0)
        self.heard_at = trio.current_time()

    async def receive(self) -> JsonObject:
        """Return the next message."""
        try:
            message = await self._connection.get_message()
        except self._closed as error:
            raise Gone from error
        self.heard_at = trio.current_time()
        if isinstance(message, bytes) or len(message) > LONGEST_MESSAGE:
            raise _End(Close.BAD_MESSAGE)
        try:
            return parse_object(message.encode(), parse_int=integer_of_64_bits)
        except (NotJson, BadJson) as error:
            raise _End(Close.BAD_MESSAGE) from error

    async def send(self, message: JsonObject) -> None:
        """Send a message that is no delta."""
        await self.send_bytes(orjson.dumps(message))

    async def send_bytes(self, payload: bytes, *, token: str | None = None) -> None:
        """Send an encoded message; end the connection if the client does not keep up."""
        try:
            await self._writer.send(payload)
        except FellBehind:
            await self._writer.send(orjson.dumps({"type": "resume", "position": token or self.token}))
            raise _End(Close.BEHIND) from None

    async def ping(self) -> None:
        """Ask for a sign of life; end the connection if there is none."""
        with trio.move_on_after(HEARTBEAT_SECONDS):
            try:
                await self._connection.ping()
            except self._closed as error:
                raise Gone from error
            self.heard_at = trio.current_time()
            return
        raise _End(Close.UNHEARD)

    async def refuse(self, error: MatrixError) -> None:
        """Say why the client may not sign in, and close."""
        with trio.move_on_after(SIGN_IN_WITHIN_SECONDS):
            try:
                await self.send(Refused(status=error.status, body=error.body()).model_dump())
            except (Gone, _End):
                return
        await self.close(Close.SIGNED_OUT)

    async def close(self, code: Close) -> None:
        """Close, and do not wait long for the other side to agree."""
        with trio.CancelScope(shield=True), trio.move_on_after(5):
            await self._connection.aclose(code, code.name.lower().replace("_", " "))


async def _send_delta(client: _Client, delta: Delta) -> None:
    """Send what changed, and note how far the client is then."""
    sections = b"".join(b",%b" % section for section in encode_sections(delta))
    token = delta_token(delta)
    await client.send_bytes(b'{"type":"delta","position":"%b"%b}' % (token, sections), token=token.decode())
    client.position, client.token = delta.upto, token.decode()


def _request(message: JsonObject) -> Request:
    try:
        return Request.model_validate(message)
    except ValidationError as error:
        raise _End(Close.BAD_MESSAGE) from error


def _token(sign_in: SignIn, headers: Mapping[str, str]) -> str:
    if sign_in.access_token:
        return sign_in.access_token
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise MissingToken("neither the sign_in nor the request has an access token")
    return token.strip()


def _leaves(group: BaseException | None) -> list[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        return [leaf for part in group.exceptions for leaf in _leaves(part)]
    return [] if group is None else [group]
