"""Taking in what passes between servers: each kind has one who knows what to do with it.

An EDU that is not of the form it should be is left out; it harms no other. Whatever it is about has to belong to the
server that sends it: that is for who takes it in to check.

https://spec.matrix.org/v1.19/server-server-api/#edus
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog

from tricord.homeserver.storage.errors import DatabaseError
from tricord.protocol.errors import BadJson, Forbidden, MatrixError
from tricord.protocol.identifiers import ServerName, UserId, is_valid_user_id, server_name_of
from tricord.protocol.strict_json import JsonObject

_logger = structlog.get_logger(__name__)

EduHandler = Callable[[ServerName, JsonObject], Awaitable[None]]
"""Takes the origin and the content of an EDU."""


class Edus:
    """Hands EDUs to those who know what to do with them."""

    def __init__(self, handlers: Mapping[str, EduHandler]) -> None:
        self._handlers = dict(handlers)

    def handle(self, edu_type: str, handler: EduHandler) -> None:
        """Let somebody take in the EDUs of one more type."""
        self._handlers[edu_type] = handler

    async def receive(self, origin: ServerName, edus: Sequence[Any]) -> None:
        """Take in the EDUs of a transaction in their order; one that is wrong, or of no known type, is left out.

        Raises DatabaseError, so that the other server sends again what must not be lost.
        """
        for edu in edus:
            edu_type, content = (edu.get("edu_type"), edu.get("content")) if isinstance(edu, dict) else (None, None)
            handler = self._handlers.get(edu_type) if isinstance(edu_type, str) else None
            if handler is None or not isinstance(content, dict):
                continue
            try:
                await handler(origin, content)
            except MatrixError as error:
                _logger.info("an EDU was left out", origin=origin, edu_type=edu_type, reason=error.message)
            except DatabaseError:
                raise
            except Exception:
                _logger.exception("an EDU could not be taken in", origin=origin, edu_type=edu_type)


def user_of(origin: ServerName, value: object) -> UserId:
    """Return a user that a server speaks of; raise BadJson if it is none, Forbidden if it is not the server's own."""
    if not is_valid_user_id(value):
        raise BadJson("there is no such user")
    if server_name_of(value) != origin:
        raise Forbidden(f"{value} is not a user of {origin}")
    return value
