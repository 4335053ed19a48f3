"""What an endpoint is: described once, routed by the server, called by the SDK, counted by the coverage table."""

from __future__ import annotations

import enum
import re
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

_PARAMETER = re.compile(r"\{(\w+)\}")


class Authentication(enum.Enum):
    """Who may call an endpoint."""

    NONE = "nobody in particular"
    OPTIONAL = "anybody; a user if a token is given"
    ACCESS_TOKEN = "a user"  # noqa: S105  # names who, holds nothing
    GUEST = "a user, guests included"
    ADMIN = "a server administrator"
    SIGNED_REQUEST = "another server"


class Model(BaseModel):
    """The base of bodies, queries and responses: unknown keys are kept out, as the specification asks of receivers."""

    # Most of what is described is never asked for: each is made ready when it is.
    model_config = ConfigDict(extra="ignore", populate_by_name=True, defer_build=True)


class Endpoint:
    """One operation of an API.

    A subclass states its `method` and `path`, and nests the models of what it takes and gives: `Query`, `Body`,
    `Response`. A model that stays `None` means: no query parameters are read; the body is a JSON object of any keys (or
    none); the response is a JSON object of any keys.
    """

    method: ClassVar[str]
    path: ClassVar[str]
    authentication: ClassVar[Authentication] = Authentication.ACCESS_TOKEN
    # Further paths that mean the same: older versions, unstable names.
    also: ClassVar[tuple[str, ...]] = ()
    # Asked for in daily use: the server answers without its web framework, which many servers thus need not load.
    hot: ClassVar[bool] = False
    # The handler waits for something to happen, and is cancelled when its client goes away.
    cancel_on_disconnect: ClassVar[bool] = False
    # Users whose account is locked may call it too; they may call nothing else.
    locked_users_too: ClassVar[bool] = False
    # Users whose account is suspended may call it too.
    suspended_users_too: ClassVar[bool] = True
    # The body, in bytes; larger ones are refused with 413 before they are read.
    max_body: ClassVar[int] = 1 << 20
    # "none", "json" (an object; absent means {}) or "stream" (the handler reads bytes).
    body_kind: ClassVar[str] = "json"

    Query: ClassVar[type[BaseModel] | None] = None
    Body: ClassVar[type[BaseModel] | None] = None
    Response: ClassVar[type[BaseModel] | None] = None

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """Return the names in the path, in order."""
        return tuple(_PARAMETER.findall(cls.path))

    @classmethod
    def url(cls, **parameters: Any) -> str:
        """Return the path with its parameters percent-encoded."""
        return _PARAMETER.sub(lambda found: _segment(str(parameters[found[1]])), cls.path)


def _segment(text: str) -> str:
    # Bare dots would be taken for the way to another folder, and left out.
    return "%2E" * len(text) if text in {".", ".."} else quote(text, safe="")
