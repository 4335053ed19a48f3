"""The rules that every user has until they change them.

https://spec.matrix.org/v1.19/client-server-api/#predefined-rules
"""

from __future__ import annotations

from typing import Any

from tricord.protocol.identifiers import UserId

_RING = {"set_tweak": "sound", "value": "ring"}
_SOUND = {"set_tweak": "sound", "value": "default"}
_HIGHLIGHT = {"set_tweak": "highlight"}


def default_rules(user_id: UserId) -> dict[str, list[dict[str, Any]]]:
    """Return the predefined rules of a user by kind, the most important first."""
    return {
        "override": [
            {**_rule(".m.rule.master"), "enabled": False},
            _rule(".m.rule.suppress_notices", _match("content.msgtype", "m.notice")),
            _rule(
                ".m.rule.invite_for_me",
                _match("type", "m.room.member"),
                _match("content.membership", "invite"),
                _match("state_key", user_id),
                actions=["notify", _SOUND],
            ),
            _rule(".m.rule.member_event", _match("type", "m.room.member")),
            _rule(
                ".m.rule.is_user_mention",
                {"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids", "value": user_id},
                actions=["notify", _SOUND, _HIGHLIGHT],
            ),
            _rule(
                ".m.rule.is_room_mention",
                {"kind": "event_property_is", "key": r"content.m\.mentions.room", "value": True},
                {"kind": "sender_notification_permission", "key": "room"},
                actions=["notify", _HIGHLIGHT],
            ),
            _rule(
                ".m.rule.tombstone",
                _match("type", "m.room.tombstone"),
                _match("state_key", ""),
                actions=["notify", _HIGHLIGHT],
            ),
            _rule(".m.rule.reaction", _match("type", "m.reaction")),
            _rule(".m.rule.room.server_acl", _match("type", "m.room.server_acl"), _match("state_key", "")),
            _rule(
                ".m.rule.suppress_edits",
                {"kind": "event_property_is", "key": r"content.m\.relates_to.rel_type", "value": "m.replace"},
            ),
        ],
        "content": [],
        "room": [],
        "sender": [],
        "underride": [
            _rule(".m.rule.call", _match("type", "m.call.invite"), actions=["notify", _RING]),
            _rule(
                ".m.rule.encrypted_room_one_to_one",
                _member_count("2"),
                _match("type", "m.room.encrypted"),
                actions=["notify", _SOUND],
            ),
            _rule(
                ".m.rule.room_one_to_one",
                _member_count("2"),
                _match("type", "m.room.message"),
                actions=["notify", _SOUND],
            ),
            _rule(".m.rule.message", _match("type", "m.room.message"), actions=["notify"]),
            _rule(".m.rule.encrypted", _match("type", "m.room.encrypted"), actions=["notify"]),
        ],
    }


def _rule(rule_id: str, *conditions: dict[str, Any], actions: list[Any] | None = None) -> dict[str, Any]:
    return {
        "rule_id": rule_id,
        "default": True,
        "enabled": True,
        "conditions": list(conditions),
        "actions": actions or [],
    }


def _match(key: str, pattern: str) -> dict[str, Any]:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _member_count(comparison: str) -> dict[str, Any]:
    return {"kind": "room_member_count", "is": comparison}
