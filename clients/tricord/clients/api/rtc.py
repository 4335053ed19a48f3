"""Calls of many: where the servers are that carry sound and pictures.

https://github.com/matrix-org/matrix-spec-proposals/pull/4143
"""

from __future__ import annotations

from typing import Any

from tricord.clients.endpoint import Endpoint, Model


class GetRtcTransports(Endpoint):
    """Ask for the servers that carry calls."""

    method = "GET"
    path = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"
    hot = True
    body_kind = "none"

    class Response(Model):
        """The servers, the preferred one first."""

        rtc_transports: list[dict[str, Any]]
