"""quart-trio, which carries what does not go straight: the requests to endpoints that are seldom asked for.

With Flask, Jinja and hypercorn it takes 12 MiB, which a server has to spare once somebody asks for such a thing.
"""

from __future__ import annotations

from typing import Any, cast

from quart import Response as QuartResponse
from quart import request as quart_request
from quart_trio import QuartTrio

from tricord.homeserver.serving.asgi import AsgiApplication

_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]


def framework() -> AsgiApplication:
    """Return an application that answers each request by the `tricord.answer` in its scope."""
    quart = QuartTrio(__name__, static_folder=None)
    # The dispatcher bounds sizes and knows the paths; quart only carries.
    quart.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)
    quart.url_map.merge_slashes = False
    quart.url_map.strict_slashes = False
    quart.add_url_rule("/", "root", _carry, methods=_METHODS, provide_automatic_options=False)
    quart.add_url_rule("/<path:anything>", "any", _carry, methods=_METHODS, provide_automatic_options=False)
    return cast("AsgiApplication", quart)  # its types spell out every ASGI message


async def _carry(**_path: str) -> QuartResponse:
    scope: Any = quart_request.scope
    response = await scope["tricord.answer"]()
    if response is None:
        return QuartResponse(b"")
    answer = QuartResponse(response.body, status=response.status)
    answer.headers.clear()
    for name, value in response.carried_headers(http1=quart_request.http_version in ("1.0", "1.1")):
        answer.headers.add(name.decode(), value.decode("latin1"))
    return answer
