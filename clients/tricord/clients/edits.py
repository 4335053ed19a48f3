"""Edits: which are valid, and what they make of an event.

https://spec.matrix.org/v1.19/client-server-api/#event-replacements
"""

from __future__ import annotations

from typing import Any

from tricord.clients.encryption.opened import ClosedEvent, is_encrypted
from tricord.protocol.strict_json import JsonObject


def is_valid_edit(original: JsonObject, edit: JsonObject) -> bool:
    """Return whether an event replaces another: both as they were given to us, opened if they were encrypted.

    An edit in clear never replaces what was encrypted: the homeserver could have written it.
    https://spec.matrix.org/v1.19/client-server-api/#validity-of-replacement-events
    """
    content = _content(edit)
    relation = content.get("m.relates_to")
    return (
        isinstance(relation, dict)
        and relation.get("rel_type") == "m.replace"
        and relation.get("event_id") == original.get("event_id")
        and original.get("room_id") in {None, edit.get("room_id", original.get("room_id"))}
        and isinstance(original.get("sender"), str)
        and edit.get("sender") == original["sender"]
        and edit.get("type") == original.get("type")
        and "state_key" not in original
        and "state_key" not in edit
        and not _is_edit(original)
        and isinstance(content.get("m.new_content"), dict)
        and not isinstance(edit, ClosedEvent)
        and is_encrypted(edit) == is_encrypted(original)
    )


def edited_content(original: JsonObject, edit: JsonObject) -> JsonObject:
    """Return the content of an event after an edit; its own content if the edit is not valid.

    https://spec.matrix.org/v1.19/client-server-api/#applying-mnew_content
    """
    content = _content(original)
    if not is_valid_edit(original, edit):
        return content
    new: JsonObject = dict(_content(edit)["m.new_content"])
    new.pop("m.relates_to", None)
    return new if "m.relates_to" not in content else {**new, "m.relates_to": content["m.relates_to"]}


def _is_edit(event: JsonObject) -> bool:
    relation = _content(event).get("m.relates_to")
    return isinstance(relation, dict) and relation.get("rel_type") == "m.replace"


def _content(event: JsonObject) -> dict[str, Any]:
    content = event.get("content")
    return content if isinstance(content, dict) else {}
