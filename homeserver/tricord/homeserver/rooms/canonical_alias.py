"""The aliases that a room shows of itself: `m.room.canonical_alias`.

"Servers SHOULD ensure that any new aliases being listed in the event are valid per their grammar/syntax and that they
point to the room ID where the state event is to be sent":
https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
"""

from __future__ import annotations

from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import RoomAlias, parse_room_alias
from tricord.protocol.strict_json import JsonObject


def listed_aliases(content: JsonObject) -> list[str]:
    """Return the aliases in the content of a canonical alias event, however malformed the rest is."""
    alias, others = content.get("alias"), content.get("alt_aliases")
    listed = [alias, *(others if isinstance(others, list) else [])]
    return [name for name in listed if isinstance(name, str) and name]


def check_canonical_alias_form(content: JsonObject, already: JsonObject | None = None) -> list[RoomAlias]:
    """Return the aliases that `already` did not list; refuse content of the wrong shape and invalid new aliases."""
    if not isinstance(content.get("alias"), str | None):
        raise InvalidParam("`alias` is not a string")
    others = content.get("alt_aliases")
    if others is not None and not (isinstance(others, list) and all(isinstance(name, str) for name in others)):
        raise InvalidParam("`alt_aliases` is not a list of strings")
    old = set(listed_aliases(already or {}))
    return [parse_room_alias(name) for name in dict.fromkeys(listed_aliases(content)) if name not in old]


def without_alias(content: JsonObject, alias: RoomAlias) -> JsonObject:
    """Return the content with the alias taken out of it."""
    kept = dict(content)
    if kept.get("alias") == alias:
        del kept["alias"]
    others = kept.get("alt_aliases")
    if isinstance(others, list):
        kept["alt_aliases"] = [name for name in others if name != alias]
    return kept
