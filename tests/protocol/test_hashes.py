from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.protocol.vectors import load
from tricord.protocol.events import parse_event
from tricord.protocol.hashes import content_hash, content_hash_matches, reference_hash, signed_form
from tricord.protocol.redaction import redact
from tricord.protocol.room_versions import V1, V2, V3, V4, V5, V6, RoomVersion
from tricord.protocol.signing import SigningKey
from tricord.protocol.unpadded_base64 import encode_base64, encode_url_safe_base64

SIGNING = load("signing")
KEY = SigningKey.parse(f"ed25519 1 {SIGNING['signing_key_seed_base64']}")
IDS = {case["room_versions_format"]: case for case in load("event_ids")["cases"]}


@pytest.mark.parametrize("case", SIGNING["event_signing"]["cases"])
def test_events_of_the_appendix_are_hashed_and_signed_as_there(case: dict[str, Any]) -> None:
    event = deepcopy(case["input"])
    event["hashes"] = {"sha256": encode_base64(content_hash(event, V1))}
    event["signatures"] = {"domain": {KEY.key_id: KEY.sign(signed_form(redact(event, V1), V1))}}
    assert event == case["signed"]


@pytest.mark.parametrize(("id_format", "version"), [("1", V1), ("1", V2), ("3", V3), ("4", V4), ("4", V5)], ids=str)
def test_event_ids_come_from_where_the_version_says(id_format: str, version: RoomVersion) -> None:
    case = IDS[id_format]
    assert parse_event(case["event"], version).event_id == case["event_id"]


@pytest.mark.parametrize("id_format", ["1", "3", "4"])
def test_events_that_others_made_have_the_hash_they_say(id_format: str) -> None:
    event = IDS[id_format]["event"]
    version = V1 if id_format == "1" else V5
    assert content_hash_matches(event, version)
    assert content_hash_matches({**event, "unsigned": {"age": 7}, "signatures": {}}, version)
    assert not content_hash_matches({**event, "content": {"name": "another"}}, version)


def test_the_reference_hash_is_the_event_id() -> None:
    case = IDS["4"]
    assert "$" + encode_url_safe_base64(reference_hash(case["event"], V5)) == case["event_id"]


@pytest.mark.parametrize("hashes", [None, [], {}, {"sha256": None}, {"sha256": "*"}, {"sha256": "AAAA"}], ids=repr)
def test_hashes_that_are_none_match_nothing(hashes: Any) -> None:
    assert not content_hash_matches({**IDS["4"]["event"], "hashes": hashes}, V6)


def test_floats_and_big_integers_are_hashed_as_they_were_written() -> None:
    event = {"content": {"a": 1.0, "b": 10**20, "c": 1e16}, "type": "x"}
    again = {"type": "x", "content": {"c": 1e16, "b": 10**20, "a": 1.0}}
    assert content_hash(event, V5) == content_hash(again, V5)
