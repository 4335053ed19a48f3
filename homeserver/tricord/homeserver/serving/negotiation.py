"""One connection: its TLS handshake, which version of HTTP it speaks, and its end.

HTTP/2 is spoken with whom TLS has agreed on it (ALPN), and who begins with its preface (prior knowledge).
"""

from __future__ import annotations

import math
from typing import Any

import structlog
import trio

from tricord.federation.late import Late
from tricord.homeserver.serving.context import Context
from tricord.homeserver.serving.http1.connection import Connection
from tricord.homeserver.serving.http1.wire import Stream

_log = structlog.get_logger(__name__)


def _load_http2() -> Any:
    from tricord.homeserver.serving.http2.connection import serve_http2

    return serve_http2


# Not every server is asked by HTTP/2.
_http2 = Late(_load_http2)


async def serve_connection(context: Context, stream: Stream) -> None:
    """Serve one connection to its end."""
    context.application.connections += 1
    try:
        await _serve(context, stream)
    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
        pass  # the client is gone, and nobody is left to tell
    except Exception:  # noqa: BLE001  # whatever it is, it must harm this connection only
        _log.exception("a connection failed")
    finally:
        context.application.connections -= 1
        with trio.CancelScope(shield=True), trio.move_on_after(1):
            await stream.aclose()


async def _serve(context: Context, stream: Stream) -> None:
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    peer = transport.socket.getpeername()
    read = b""
    if isinstance(stream, trio.SSLStream) and not await _shake_hands(context, stream):
        return
    if not isinstance(stream, trio.SSLStream) or stream.selected_alpn_protocol() != "h2":
        read = await Connection(context, stream, peer).run()
        if not read:
            return
    serve_http2 = await _http2.get()
    await serve_http2(context.application, stream, peer, context.limits, context.idle, read)


async def _shake_hands(context: Context, stream: trio.SSLStream[trio.SocketStream]) -> bool:
    """Return whether the client has done so in time, and while the server goes on."""
    with trio.CancelScope() as patience:
        patience.deadline = trio.current_time() + context.limits.handshake_seconds
        context.idle[patience] = math.inf
        try:
            await stream.do_handshake()
        finally:
            del context.idle[patience]
    return not patience.cancelled_caught
