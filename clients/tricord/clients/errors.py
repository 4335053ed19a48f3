"""What can go wrong when talking to a homeserver.

ClientError
├── Refused             the homeserver said no: errcode, status, message
│   └── SignedOut       the access token is no longer valid
├── Unreachable         no answer, after the retries that were worth it
└── UnexpectedAnswer    the answer is not what the specification says
"""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """The base of everything this package raises on purpose."""


class Refused(ClientError):
    """The homeserver refused a request, with a standard error response.

    https://spec.matrix.org/v1.19/client-server-api/#standard-error-response
    """

    def __init__(self, status: int, body: dict[str, Any], *, retry_after: str | None = None) -> None:
        """Take the answer's status and JSON body, and its `Retry-After` header."""
        self.status = status
        self.body = body
        self._retry_after = retry_after
        self.errcode = str(body.get("errcode", "M_UNKNOWN"))
        self.message = str(body.get("error", ""))
        super().__init__(f"{self.errcode} ({status}): {self.message}")

    @property
    def retry_after_seconds(self) -> float | None:
        """How long the homeserver asks us to wait, where it says so: in the header, or in `retry_after_ms`.

        https://spec.matrix.org/v1.19/client-server-api/#rate-limiting
        """
        # The header may also hold a date, which needs clocks that agree; no homeserver sends one.
        if self._retry_after is not None and self._retry_after.strip().isdecimal():
            return float(self._retry_after)
        value = self.body.get("retry_after_ms")
        return value / 1000 if isinstance(value, int | float) and value >= 0 else None


class SignedOut(Refused):
    """The access token is not valid, and could not be renewed.

    https://spec.matrix.org/v1.19/client-server-api/#soft-logout
    """

    @property
    def soft(self) -> bool:
        """Whether the device and its keys are kept: sign in again with its `device_id` and go on."""
        return self.body.get("soft_logout") is True


class Unreachable(ClientError):
    """The homeserver could not be reached, or answered only with errors of its own, for as long as we tried."""


class UnexpectedAnswer(ClientError):
    """The homeserver's answer is not what the specification says."""
