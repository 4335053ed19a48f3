from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.scenes import ALICE, ALL_VERSIONS, KEY, Room
from tests.protocol.vectors import load
from tricord.protocol.events import VerifiedEvent, redacted_copy
from tricord.protocol.hashes import reference_hash
from tricord.protocol.identifiers import ServerName
from tricord.protocol.redaction import redact
from tricord.protocol.room_versions import ROOM_VERSIONS, V1, V5, V6, V7, V8, V9, V10, V11, V12, RoomVersion
from tricord.protocol.verify import ServerKey, verify

TYPES = ["member", "create", "join_rules", "power_levels", "aliases", "history_visibility", "redaction", "message"]
KEYS = [
    *("membership", "join_authorised_via_users_server", "creator", "join_rule", "allow", "ban", "events", "invite"),
    *("events_default", "kick", "redact", "state_default", "users", "users_default", "aliases", "redacts", "body"),
    *("history_visibility", "notifications"),
]
EVENTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from([f"m.room.{name}" for name in TYPES]),
        "content": st.dictionaries(st.sampled_from([*KEYS, "third_party_invite"]), st.integers(0, 9), max_size=5),
        "sender": st.just("@alice:a.test"),
    },
    optional={key: st.just(key) for key in ("origin", "prev_state", "membership", "redacts", "age", "event_id")},
)


@pytest.mark.parametrize("case", load("redaction")["cases"])
def test_redactions_of_others_are_ours(case: dict[str, Any]) -> None:
    assert redact(case["event"], ROOM_VERSIONS[case["room_version"]]) == case["redacted"]


def kept(event_type: str, version: RoomVersion) -> set[str]:
    return set(redact({"type": f"m.room.{event_type}", "content": dict.fromkeys(KEYS, 1)}, version)["content"])


def test_the_versions_keep_what_their_texts_say() -> None:
    levels = {"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
    assert kept("power_levels", V1) == kept("power_levels", V10) == levels
    assert kept("power_levels", V11) == levels | {"invite"}
    assert kept("aliases", V5) == {"aliases"}
    assert kept("aliases", V6) == set()
    assert kept("join_rules", V7) == {"join_rule"}
    assert kept("join_rules", V8) == {"join_rule", "allow"}
    assert kept("member", V8) == {"membership"}
    assert kept("member", V9) == {"membership", "join_authorised_via_users_server"}
    assert kept("create", V10) == {"creator"}
    assert kept("create", V11) == set(KEYS)
    assert kept("redaction", V10) == set()
    assert kept("redaction", V11) == {"redacts"}
    assert kept("history_visibility", V12) == {"history_visibility"}
    assert kept("message", V12) == set()


def test_keys_of_the_past_go_with_version_11() -> None:
    event = {"type": "x", "content": {}, "origin": "a", "prev_state": [], "membership": "join", "redacts": "$a:b"}
    assert set(redact(event, V10)) == {"type", "content", "origin", "prev_state", "membership"}
    assert set(redact(event, V11)) == {"type", "content"}


def test_only_the_signed_part_of_a_third_party_invite_stays() -> None:
    invite = {"display_name": "a", "signed": {"token": "t"}}
    event = {"type": "m.room.member", "content": {"membership": "invite", "third_party_invite": invite}}
    assert redact(event, V10)["content"] == {"membership": "invite"}
    assert redact(event, V11)["content"] == {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}}
    for empty in ({"display_name": "a"}, {}, 5):
        event["content"] = {"membership": "invite", "third_party_invite": empty}
        assert redact(event, V11)["content"] == {"membership": "invite"}


@given(EVENTS, st.sampled_from(ALL_VERSIONS))
def test_redacting_twice_is_redacting_once_and_keeps_the_hash(event: dict[str, Any], version: RoomVersion) -> None:
    redacted = redact(event, version)
    assert redact(redacted, version) == redacted
    assert reference_hash(redacted, version) == reference_hash(event, version)


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=lambda version: version.name)
def test_a_redacted_event_is_still_signed_and_still_itself(version: RoomVersion) -> None:
    event = Room(version).event(ALICE, "m.room.message", None, {"body": "secret"})
    redacted = redacted_copy(event)
    assert isinstance(redacted, VerifiedEvent)
    assert redacted.event_id == event.event_id
    assert redacted.content == {}
    keys = {(ServerName("a.test"), KEY.key_id): ServerKey(KEY.public_key, 2**60)}
    assert verify(redacted, keys) == redacted
