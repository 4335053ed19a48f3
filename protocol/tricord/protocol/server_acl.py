"""Which servers may take part in a room, by its `m.room.server_acl` event.

https://spec.matrix.org/v1.19/client-server-api/#mroomserver_acl
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tricord.protocol.globs import GlobSet
from tricord.protocol.identifiers import ServerName

_IPV4 = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
_PORT = re.compile(r":[0-9]*\Z")

_MOST_REMEMBERED = 1_000


class ServerAcl:
    """A room's access control list; make it once for each event, and ask it for each request."""

    __slots__ = ("_allow", "_allow_ip_literals", "_answers", "_deny")

    def __init__(self, content: Mapping[str, Any]) -> None:
        # Only `false` itself forbids them: anything that is not a boolean counts as absent.
        self._allow_ip_literals = content.get("allow_ip_literals") is not False
        self._deny = GlobSet(_patterns(content.get("deny")), ignore_case=True)
        self._allow = GlobSet(_patterns(content.get("allow")), ignore_case=True)
        self._answers: dict[ServerName, bool] = {}

    def allows(self, server_name: ServerName) -> bool:
        """Return whether a server may take part."""
        answer = self._answers.get(server_name)
        if answer is None:
            # A list of ten thousand patterns takes milliseconds; the same few servers ask again and again.
            if len(self._answers) >= _MOST_REMEMBERED:
                self._answers.clear()
            answer = self._answers[server_name] = self._decide(_PORT.sub("", server_name))
        return answer

    def _decide(self, host: str) -> bool:
        if not self._allow_ip_literals and (host.startswith("[") or _IPV4.fullmatch(host)):  # 2
            return False
        return not self._deny.matches(host) and self._allow.matches(host)  # 3, 4, 5


def _patterns(value: Any) -> Iterator[str]:
    return (entry for entry in value if isinstance(entry, str)) if isinstance(value, list) else iter(())
