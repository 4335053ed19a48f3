"""Events that others made, bent by somebody: whatever comes of it is an event or one of the documented refusals."""

from __future__ import annotations

import copy
import json
import math
from random import Random
from typing import Any

import pytest

from tests.protocol.test_rooms_of_synapse import View, view_of
from tricord.protocol.authorization import auth_event_keys, authorize, check_auth_events, may_redact
from tricord.protocol.errors import BadJson, EventRejected, NotJson, SignatureInvalid, TooLarge
from tricord.protocol.events import Event, parse_event
from tricord.protocol.numbered_rules import CREATE
from tricord.protocol.room_versions import ROOM_VERSIONS
from tricord.protocol.signing import SigningKey, verify_json
from tricord.protocol.verify import keys_needed, verify

_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**53, -(2**53), 2**63, 10**400, 0.5, 1e300, math.nan, math.inf),
    *(
        "",
        "@",
        "!",
        "$",
        "@a:b",
        "$a:b",
        "!a",
        "ü" * 128,
        "x" * 300,
        "\0",
        "\ud800",
        "m.room.member",
        "ban",
        "50",
        " +5 ",
    ),
    *([], {}, [[]], [{}], {"": {}}, {"a": None}, ["@a:b"], [["$a:b", {}]], {"signed": {}}, {"signed": {"token": 5}}),
)


def bent(pdu: dict[str, Any], random: Random) -> bytes:
    """Change something anywhere in an event, or in the bytes of it."""
    pdu = copy.deepcopy(pdu)
    for _ in range(random.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        waiting: list[Any] = [pdu]
        for inner in waiting:
            for key in inner if isinstance(inner, dict) else range(len(inner)):
                places.append((inner, key))
                if isinstance(inner[key], dict | list):
                    waiting.append(inner[key])
        inner, key = random.choice(places)
        match random.randrange(4):
            case 0:
                inner.pop(key)
            case 1 if isinstance(inner, dict):
                inner[random.choice(("third_party_invite", "signed", "users", "creator", "redacts", "x"))] = inner[key]
            case _:
                inner[key] = random.choice(_ODD)
        if not pdu:
            break
    data = json.dumps(pdu).encode()
    if random.random() < 0.1:
        place = random.randrange(len(data))
        data = data[:place] + random.randbytes(random.randint(0, 2)) + data[place + 1 :]
    return data


def take_in(data: bytes, view: View) -> Event | None:
    """Do with an event all that a server does with one that it receives; return it if it gets that far."""
    try:
        event = parse_event(data, view.version)
    except (NotJson, BadJson, TooLarge):
        return None
    keys_needed(event)
    auth_event_keys(event.type, event.sender, event.state_key, event.content, view.version)
    named = [view.events[auth_event] for auth_event in event.auth_events if auth_event in view.events]
    for check in (
        lambda: verify(event, view.keys),
        lambda: check_auth_events(event, named),
        lambda: authorize(event, {(one.type, one.state_key or ""): one for one in [*view.events.values()]}),
    ):
        try:
            check()
        except (SignatureInvalid, EventRejected):
            continue
    return event


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_any_bent_event_is_taken_in_or_refused(version: str) -> None:
    view, random = view_of(version, 0), Random(int(version))
    create = next(event for event in view.events.values() if (event.type, event.state_key) == CREATE)
    taken = 0
    for _ in range(400):
        event = take_in(bent(random.choice(view.entries)["pdu"], random), view)
        if event is None:
            continue
        taken += 1
        # It must do no harm as a part of the state either.
        state = {(one.type, one.state_key or ""): one for one in view.events.values()} | {CREATE: create}
        if event.state_key is not None and event.type != "m.room.create":
            state[event.type, event.state_key] = event
        for other in random.sample([*view.events.values()], 8):
            may_redact(other, event, state)
            try:
                authorize(other, state)
            except EventRejected:
                continue
    assert taken > 40


@pytest.mark.parametrize("value", _ODD, ids=lambda value: repr(value)[:30])
def test_any_value_is_a_signature_or_none(value: Any) -> None:
    key = SigningKey.generate()
    for signatures in (value, {"a.test": value}, {"a.test": {key.key_id: value}}):
        with pytest.raises(SignatureInvalid):
            verify_json({"signatures": signatures}, "a.test", key.key_id, key.public_key)  # type: ignore[arg-type]
    with pytest.raises(SignatureInvalid):
        verify_json({"a": value, "signatures": {"a.test": {key.key_id: "abc"}}}, "a.test", key.key_id, b"short")  # type: ignore[arg-type]
