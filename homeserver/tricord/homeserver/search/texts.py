"""What of an event can be searched.

https://spec.matrix.org/v1.19/client-server-api/#room_events
"""

from __future__ import annotations

from typing import Any

from tricord.homeserver.search.lexemes import Kind
from tricord.protocol.events import Event

_PLAIN = "text/plain"


def searched_text(event: Event, edit: Event | None = None) -> tuple[Kind, str] | None:
    """Return the text of an event, as it became by an edit; None if there is nothing to search."""
    content = event.content
    if event.type == "m.room.message" and not event.is_state:
        if edit is not None:
            content = edit.content.get("m.new_content", {})
        return _text(Kind.BODY, content.get("body"))
    if event.state_key != "":
        return None
    if event.type == "m.room.name":
        return _text(Kind.NAME, content.get("name"))
    if event.type == "m.room.topic":
        parts = [part for part in (content.get("topic"), _plain_topic(content.get("m.topic"))) if isinstance(part, str)]
        return _text(Kind.TOPIC, "\n".join(dict.fromkeys(parts)))
    return None


def _text(kind: Kind, text: Any) -> tuple[Kind, str] | None:
    return (kind, text) if isinstance(text, str) and text else None


def _plain_topic(topic: Any) -> Any:
    """Return the plain text of a topic in several representations; without a type they are plain."""
    representations = topic.get("m.text") if isinstance(topic, dict) else None
    for one in representations if isinstance(representations, list) else ():
        if isinstance(one, dict) and one.get("mimetype", _PLAIN) == _PLAIN:
            return one.get("body")
    return None
