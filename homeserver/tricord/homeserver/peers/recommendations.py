"""What this server recommends where it is a policy server.

https://spec.matrix.org/v1.19/server-server-api/#policy-servers
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from tricord.homeserver.settings import PolicyServerSettings
from tricord.protocol.errors import NotRecommended
from tricord.protocol.events import Event
from tricord.protocol.globs import GlobSet, WordGlob
from tricord.protocol.hashes import signed_form
from tricord.protocol.identifiers import server_name_of
from tricord.protocol.redaction import redact
from tricord.protocol.signing import SigningKey


class Rule(Protocol):
    """Something that events are judged by."""

    def objection(self, event: Event) -> str | None:
        """Return what is wrong with an event; None if nothing is."""
        ...


class Senders:
    """Who may send."""

    def __init__(self, settings: PolicyServerSettings) -> None:
        self._allowed_servers = GlobSet(settings.allowed_servers, ignore_case=True)
        self._denied_servers = GlobSet(settings.denied_servers, ignore_case=True)
        self._allowed_users = GlobSet(settings.allowed_users)
        self._denied_users = GlobSet(settings.denied_users)

    def objection(self, event: Event) -> str | None:
        """Object to users and servers that are denied or not allowed."""
        server = server_name_of(event.sender)
        if self._denied_servers.matches(server) or not self._allowed_servers.matches(server):
            return f"users of {server} may not send here"
        if self._denied_users.matches(event.sender) or not self._allowed_users.matches(event.sender):
            return f"{event.sender} may not send here"
        return None


class Words:
    """What may be said, wherever in an event."""

    def __init__(self, settings: PolicyServerSettings) -> None:
        self._denied = [WordGlob(pattern) for pattern in settings.denied_words]

    def objection(self, event: Event) -> str | None:
        """Object to texts with a denied word, without saying which: that would teach how to get past."""
        if self._denied and any(
            word.matches_lowered(lowered)
            for text in _texts(event.content)
            for lowered in (text.lower(),)
            for word in self._denied
        ):
            return "the event has words that may not be said here"
        return None


class Recommendations:
    """Signs events that no rule objects to."""

    def __init__(self, settings: PolicyServerSettings, key: SigningKey) -> None:
        self._rules: tuple[Rule, ...] = (Senders(settings), Words(settings))
        self._key = key

    def signature(self, event: Event) -> str:
        """Return the signature that recommends an event; raise NotRecommended if there is a reason not to."""
        if not _is_a_leave(event):
            for rule in self._rules:
                if (objection := rule.objection(event)) is not None:
                    raise NotRecommended(objection)
        return self._key.sign(signed_form(redact(event.pdu, event.version), event.version))


def _is_a_leave(event: Event) -> bool:
    """Return whether somebody just goes: nobody is kept in a room."""
    return (
        event.type == "m.room.member"
        and event.state_key == event.sender
        and event.content.get("membership") == "leave"
        and "reason" not in event.content
    )


def _texts(content: Any) -> Iterator[str]:
    """Return all texts in a content, however deep: parsing has bounded how deep that is."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
