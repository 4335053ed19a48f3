"""What can go wrong when talking to another server, or to any host that somebody else named.

PeerError
├── PeerRefused         it answered, and said no: status, errcode, message
├── PeerUnreachable     no answer: no such name, no connection, no certificate, no time left, or backed off from
└── PeerAnswerInvalid   it answered something that the specification does not know

EgressError
├── HostUnreachable     no such name, no connection, no certificate, no time left
│   └── AddressRefused  the host is where we do not go: in a network that is not public
└── AnswerInvalid       the answer is too large, or no HTTP

None of these is a refusal to our own clients; who calls says what they mean to them.
"""

from __future__ import annotations

from tricord.protocol.identifiers import ServerName
from tricord.protocol.strict_json import JsonObject


class PeerError(Exception):
    """The base of all that calls to other servers raise on purpose."""

    def __init__(self, server: ServerName, message: str) -> None:
        super().__init__(f"{server}: {message}")
        self.server = server
        self.message = message


class PeerRefused(PeerError):
    """The other server refused, with a standard error response (or something less).

    https://spec.matrix.org/v1.19/client-server-api/#standard-error-response
    """

    def __init__(self, server: ServerName, status: int, body: JsonObject) -> None:
        self.status = status
        self.body = body
        errcode, message = body.get("errcode"), body.get("error")
        self.errcode = errcode if isinstance(errcode, str) else "M_UNKNOWN"
        super().__init__(server, message if isinstance(message, str) else f"refused with {status}")

    def __str__(self) -> str:
        return f"{self.server} refused: {self.errcode} ({self.status}): {self.message}"

    @property
    def retry_after_seconds(self) -> float | None:
        """How long the other server asks us to wait, where it says so."""
        value = self.body.get("retry_after_ms")
        return value / 1000 if type(value) is int and value >= 0 else None


class PeerUnreachable(PeerError):
    """There was no answer from the other server, or none of its own."""


class PeerAnswerInvalid(PeerError):
    """The answer is too large, not JSON, or not of the shape it must have."""


class EgressError(Exception):
    """The base of all that requests to foreign hosts raise on purpose."""


class HostUnreachable(EgressError):
    """There was no answer from the host."""


class AddressRefused(HostUnreachable):
    """All addresses of the host are in networks that no request may go to."""


class AnswerInvalid(EgressError):
    """The host's answer is too large, or is no HTTP."""
