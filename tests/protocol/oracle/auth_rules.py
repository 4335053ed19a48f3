"""The authorization rules of all room versions, in the words of `rooms/v1` to `rooms/v12`."""

from __future__ import annotations

import json
import math
import re
from base64 import b64decode
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Pdu = dict[str, Any]
State = Mapping[tuple[str, str], Pdu]

_LEVEL_PROPERTIES = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")
_DEFAULTS = {
    "users_default": 0,
    "events_default": 0,
    "state_default": 50,
    "ban": 50,
    "redact": 50,
    "kick": 50,
    "invite": 0,
}


def selected_auth_events(event: Pdu, state: State, version: int) -> list[str]:
    """https://spec.matrix.org/v1.19/server-server-api/#auth-events-selection"""
    selected: list[str] = []
    for key in selected_keys(event, version):
        if key in state and state[key]["event_id"] not in selected:
            selected.append(state[key]["event_id"])
    return selected


def selected_keys(event: Pdu, version: int) -> list[tuple[str, str]]:
    """Return the `type` and `state_key` pairs of the algorithm."""
    if event["type"] == "m.room.create":
        return []
    keys = [] if version >= 12 else [("m.room.create", "")]
    keys.append(("m.room.power_levels", ""))
    keys.append(("m.room.member", event["sender"]))
    if event["type"] == "m.room.member" and "state_key" in event:
        content = event["content"]
        membership = content.get("membership")
        keys.append(("m.room.member", event["state_key"]))
        if membership in ("join", "invite", "knock"):
            keys.append(("m.room.join_rules", ""))
        if membership == "invite" and "signed" in content.get("third_party_invite", {}):
            keys.append(("m.room.third_party_invite", content["third_party_invite"]["signed"]["token"]))
        if membership == "join" and "join_authorised_via_users_server" in content and version >= 8:
            keys.append(("m.room.member", content["join_authorised_via_users_server"]))
    return keys


def are_auth_events_right(event: Pdu, auth_events: list[Pdu], rejected: Collection[str], version: int) -> bool:
    """Return whether the rules on an event's own `auth_events` allow it; they come after those on create events."""
    if event["type"] == "m.room.create":
        return True
    pairs = [(auth_event["type"], auth_event.get("state_key")) for auth_event in auth_events]
    if len(set(pairs)) != len(pairs):
        return False
    if not set(pairs) <= set(selected_keys(event, version)):
        return False
    if any(auth_event["event_id"] in rejected for auth_event in auth_events):
        return False
    if version <= 11 and ("m.room.create", "") not in pairs:
        return False
    return all(auth_event["room_id"] == event["room_id"] for auth_event in auth_events)


def is_allowed(event: Pdu, state: State, version: int) -> bool:
    """Return whether the rules allow an event in a room in some state. Those on its own `auth_events` are left out."""
    room = _Room(state, version)
    kind, sender, content = event["type"], event["sender"], event["content"]

    if kind == "m.room.create":
        if event["prev_events"]:
            return False
        if version >= 12:
            if "room_id" in event:
                return False
        elif _domain(event["room_id"]) != _domain(sender):
            return False
        if "room_version" in content and content["room_version"] not in [str(number) for number in range(1, 13)]:
            return False
        if version <= 10 and "creator" not in content:
            return False
        if version >= 12 and "additional_creators" in content:
            additional = content["additional_creators"]
            if not isinstance(additional, list) or not all(_is_user_id(user) for user in additional):
                return False
        return True

    create = state.get(("m.room.create", ""))
    if create is None:
        return False
    if version >= 12 and event["room_id"] != "!" + create["event_id"][1:]:
        return False

    if create["content"].get("m.federate") is False and _domain(sender) != _domain(create["sender"]):
        return False

    if version <= 5 and kind == "m.room.aliases":
        if "state_key" not in event:
            return False
        return bool(_domain(sender) == event["state_key"])

    if kind == "m.room.member":
        return _is_membership_allowed(event, room)

    if room.membership(sender) != "join":
        return False

    if kind == "m.room.third_party_invite":
        return room.level_of(sender) >= room.named_level("invite")

    if room.required_level(event) > room.level_of(sender):
        return False

    if event.get("state_key", "").startswith("@") and event["state_key"] != sender:
        return False

    if kind == "m.room.power_levels":
        return _are_power_levels_allowed(event, room)

    if version <= 2 and kind == "m.room.redaction":
        if room.level_of(sender) >= room.named_level("redact"):
            return True
        return _domain(event["redacts"]) == _domain(event["event_id"])

    return True


def level_by_auth_events(user: str, auth_events: Iterable[Pdu], version: int) -> float:
    """Return the power level of a user "when looking at" an event's `auth_events`."""
    state = {(event["type"], event["state_key"]): event for event in auth_events if "state_key" in event}
    return _Room(state, version).level_of(user) if ("m.room.create", "") in state else 0


def _is_membership_allowed(event: Pdu, room: _Room) -> bool:
    version = room.version
    content, sender = event["content"], event["sender"]
    if "state_key" not in event or "membership" not in content:
        return False
    target, membership = event["state_key"], content["membership"]

    authorizer = content.get("join_authorised_via_users_server")
    if version >= 8 and authorizer is not None and _domain(authorizer) not in event["signatures"]:
        return False

    if membership == "join":
        # That the creator is the sender too is not in the text; the vectors of other implementations ask for it.
        if event["prev_events"] == [room.create["event_id"]] and target == sender == room.creator:
            return True
        if sender != target:
            return False
        if room.membership(sender) == "ban":
            return False
        needs_invite = room.join_rule == "invite" or (version >= 7 and room.join_rule == "knock")
        if needs_invite and room.membership(sender) in ("invite", "join"):
            return True
        if (version >= 8 and room.join_rule == "restricted") or (
            version >= 10 and room.join_rule == "knock_restricted"
        ):
            if room.membership(sender) in ("join", "invite"):
                return True
            if authorizer is None or room.level_of(authorizer) < room.named_level("invite"):
                return False
            return room.membership(authorizer) == "join"
        return room.join_rule == "public"

    if membership == "invite":
        if "third_party_invite" in content:
            if room.membership(target) == "ban":
                return False
            if "signed" not in content["third_party_invite"]:
                return False
            signed = content["third_party_invite"]["signed"]
            if "mxid" not in signed or "token" not in signed:
                return False
            if signed["mxid"] != target:
                return False
            invite = room.state.get(("m.room.third_party_invite", signed["token"]))
            if invite is None:
                return False
            if sender != invite["sender"]:
                return False
            return _is_signed_by_any(signed, invite["content"])
        if room.membership(sender) != "join":
            return False
        if room.membership(target) in ("join", "ban"):
            return False
        return room.level_of(sender) >= room.named_level("invite")

    if membership == "leave":
        if sender == target:
            allowed = ("invite", "join", "knock") if version >= 7 else ("invite", "join")
            return room.membership(sender) in allowed
        if room.membership(sender) != "join":
            return False
        if room.membership(target) == "ban" and room.level_of(sender) < room.named_level("ban"):
            return False
        return room.level_of(sender) >= room.named_level("kick") and room.level_of(target) < room.level_of(sender)

    if membership == "ban":
        if room.membership(sender) != "join":
            return False
        return room.level_of(sender) >= room.named_level("ban") and room.level_of(target) < room.level_of(sender)

    if membership == "knock" and version >= 7:
        if room.join_rule != "knock" and not (version >= 10 and room.join_rule == "knock_restricted"):
            return False
        if sender != target:
            return False
        return room.membership(sender) not in ("ban", "invite", "join")

    return False


def _are_power_levels_allowed(event: Pdu, room: _Room) -> bool:
    version = room.version
    content, sender = event["content"], event["sender"]
    if version >= 10:
        for name in _LEVEL_PROPERTIES:
            if name in content and not _is_integer(content[name]):
                return False
        for name in ("events", "notifications"):
            if name in content:
                if not isinstance(content[name], dict):
                    return False
                if not all(_is_integer(value) for value in content[name].values()):
                    return False
    if "users" in content:
        if not isinstance(content["users"], dict):
            return False
        for user, value in content["users"].items():
            if not _is_user_id(user):
                return False
            if _level(value, version) is None:
                return False
    if version >= 12 and any(creator in content.get("users", {}) for creator in room.creators):
        return False

    previous = room.state.get(("m.room.power_levels", ""))
    if previous is None:
        return True
    own = room.level_of(sender)

    for name in _LEVEL_PROPERTIES:
        old, new = _level(previous["content"].get(name), version), _level(content.get(name), version)
        if old != new:
            if old is not None and old > own:
                return False
            if new is not None and new > own:
                return False

    for name in ("events", "notifications") if version >= 6 else ("events",):
        for _, old, new in _altered(_table(previous, name), _table(event, name), version):
            if old is not None and old > own:
                return False
            if new is not None and new > own:
                return False

    for user, old, new in _altered(_table(previous, "users"), _table(event, "users"), version):
        if old is not None and user != sender and old >= own:
            return False
        if new is not None and new > own:
            return False
    return True


class _Room:
    def __init__(self, state: State, version: int) -> None:
        self.state = state
        self.version = version

    @property
    def create(self) -> Pdu:
        return self.state["m.room.create", ""]

    @property
    def creator(self) -> str:
        return str(self.create["content"]["creator"] if self.version <= 10 else self.create["sender"])

    @property
    def creators(self) -> list[str]:
        return [self.creator, *self.create["content"].get("additional_creators", [])]

    @property
    def join_rule(self) -> str:
        event = self.state.get(("m.room.join_rules", ""))
        return "invite" if event is None else str(event["content"].get("join_rule"))

    def membership(self, user: str) -> str:
        event = self.state.get(("m.room.member", user))
        return "leave" if event is None else str(event["content"].get("membership"))

    def level_of(self, user: str) -> float:
        if self.version >= 12 and user in self.creators:
            return math.inf
        event = self.state.get(("m.room.power_levels", ""))
        if event is None:
            return 100 if user == self.creator else 0
        level = _level(_table(event, "users").get(user), self.version)
        return self.named_level("users_default") if level is None else level

    def named_level(self, name: str) -> int:
        event = self.state.get(("m.room.power_levels", ""))
        level = None if event is None else _level(event["content"].get(name), self.version)
        return _DEFAULTS[name] if level is None else level

    def required_level(self, event: Pdu) -> int:
        levels = self.state.get(("m.room.power_levels", ""))
        if levels is not None:
            level = _level(_table(levels, "events").get(event["type"]), self.version)
            if level is not None:
                return level
        return self.named_level("state_default" if "state_key" in event else "events_default")


def _altered(
    old: Mapping[str, Any], new: Mapping[str, Any], version: int
) -> Iterator[tuple[str, int | None, int | None]]:
    for name in {*old, *new}:
        before, after = _level(old.get(name), version), _level(new.get(name), version)
        if before != after:
            yield name, before, after


def _table(event: Pdu, name: str) -> Mapping[str, Any]:
    """Return levels by name; a server may hold for state what the rules would have refused."""
    table = event["content"].get(name, {})
    return table if isinstance(table, dict) else {}


def _level(value: Any, version: int) -> int | None:
    if version >= 10:
        return value if _is_integer(value) else None
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"\s*[+-]?[0-9]+\s*", value) else None
    if isinstance(value, float):
        return int(value)
    return value if _is_integer(value) else None


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_user_id(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"@[^:]*:.+", value) is not None


def _domain(identifier: str) -> str:
    return identifier.partition(":")[2]


def _is_signed_by_any(signed: Pdu, invite: Pdu) -> bool:
    message = {key: value for key, value in signed.items() if key not in ("signatures", "unsigned")}
    encoded = json.dumps(message, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    keys = [invite.get("public_key"), *(entry["public_key"] for entry in invite.get("public_keys", []))]
    for by_key in signed.get("signatures", {}).values():
        for signature in by_key.values():
            for key in filter(None, keys):
                try:
                    Ed25519PublicKey.from_public_bytes(_decoded(key)).verify(_decoded(signature), encoded)
                except InvalidSignature:
                    continue
                return True
    return False


def _decoded(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4))
