from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.protocol.scenes import ALICE, KEY, Room
from tricord.protocol.__main__ import main
from tricord.protocol.room_versions import V11
from tricord.protocol.signing import SigningKey
from tricord.protocol.unpadded_base64 import encode_base64


def test_an_event_in_order_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = Room(V11).event(ALICE, "x", None, {})
    file = tmp_path / "event.json"
    file.write_bytes(event.json)
    key = ["--key", "a.test", KEY.key_id, encode_base64(KEY.public_key)]
    assert main(["event", str(file), "--room-version", "11", *key]) == 0
    shown = capsys.readouterr().out
    assert event.event_id in shown
    assert "the signatures are valid" in shown


def test_what_is_wrong_with_an_event_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = Room(V11).event(ALICE, "x", None, {})
    file = tmp_path / "event.json"
    file.write_text(json.dumps({**event.pdu, "content": {"a": 1}}))
    assert main(["event", str(file), "--room-version", "11"]) == 1
    assert "does not match" in capsys.readouterr().out
    other = encode_base64(SigningKey.generate().public_key)
    assert main(["event", str(file), "--room-version", "11", "--key", "a.test", KEY.key_id, other]) == 1
    assert main(["event", str(file), "--room-version", "1"]) == 1
    assert "event_id" in capsys.readouterr().err
    assert main(["event", str(tmp_path / "none")]) == 1


def test_a_key_shows_its_public_half_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = SigningKey.generate()
    file = tmp_path / "signing.key"
    file.write_text(key.dump())
    assert main(["key", str(file)]) == 0
    assert capsys.readouterr().out == f"{key.key_id} {encode_base64(key.public_key)}\n"
    file.write_bytes(b"\xff")
    assert main(["key", str(file)]) == 1
