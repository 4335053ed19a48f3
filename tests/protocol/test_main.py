from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.protocol.scenes import ALICE, ALL_VERSIONS, BOB, KEY, Room
from tricord.protocol.__main__ import main
from tricord.protocol.events import redacted_copy
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


def test_an_event_is_judged_by_a_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for version in ALL_VERSIONS:
        room = Room(version)
        state = [event.pdu for event in room.state.values()]
        file, array, lines = tmp_path / "event.json", tmp_path / "state.json", tmp_path / "state.jsonl"
        array.write_text(json.dumps(state))
        lines.write_text("\n".join(map(json.dumps, state)))
        for sender, status, said in ((ALICE, 0, "the rules allow it"), (BOB, 1, "refused: rule ")):
            file.write_bytes(room.event(sender, "x", None, {}).json)
            for state_file in (array, lines):
                assert main(["event", str(file), "--room-version", version.name, "--state", str(state_file)]) == status
                assert said in capsys.readouterr().out
        for text in ("[5]", "[[]]", "[", "{}", "5"):
            array.write_text(text)
            assert main(["event", str(file), "--room-version", version.name, "--state", str(array)]) == 1
            assert "error: " in capsys.readouterr().err


def test_what_a_redaction_leaves_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = Room(V11).event(ALICE, "x", None, {"body": "secret"})
    file = tmp_path / "event.json"
    file.write_bytes(event.json)
    assert main(["event", str(file), "--room-version", "11", "--redacted"]) == 0
    assert redacted_copy(event).json.decode() in capsys.readouterr().out


def test_foreign_names_do_not_reach_the_terminal_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "event.json"
    file.write_bytes(Room(V11).event(ALICE, "\x1b[2J\u202e", None, {}).json)
    assert main(["event", str(file), "--room-version", "11"]) == 0
    shown = capsys.readouterr().out
    assert r"\x1b[2J\u202e" in shown
    assert shown.replace("\n", "").isprintable()


def test_it_helps_and_is_a_command_of_python(tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tricord.protocol", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, input=KEY.dump())

    shown = run("--help")
    assert shown.returncode == 0
    assert all(word in shown.stdout for word in ("event", "key", "examples:"))
    for command, options in (("event", ("--room-version", "--key", "--state", "--redacted")), ("key", ("file",))):
        assert all(option in run(command, "--help").stdout for option in options)
    assert run("key", "-").stdout == f"{KEY.key_id} {encode_base64(KEY.public_key)}\n"
    assert run().returncode == 2


def test_any_file_is_an_event_or_a_refusal(tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    for data in (b"", b"\xff", b"[]", b"null", b"[" * 100_000, b"{}", b'{"a":NaN}', b'{"type":"\\ud800"}'):
        file.write_bytes(data)
        assert main(["event", str(file)]) == 1
        assert main(["key", str(file)]) == 1


def test_a_file_may_hold_several_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [SigningKey.generate() for _ in range(2)]
    file = tmp_path / "signing.key"
    file.write_text("".join(f"{key.dump()}\n\n" for key in keys))
    assert main(["key", str(file)]) == 0
    assert capsys.readouterr().out == "".join(f"{key.key_id} {encode_base64(key.public_key)}\n" for key in keys)


def test_a_key_shows_its_public_half_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = SigningKey.generate()
    file = tmp_path / "signing.key"
    file.write_text(key.dump())
    assert main(["key", str(file)]) == 0
    assert capsys.readouterr().out == f"{key.key_id} {encode_base64(key.public_key)}\n"
    file.write_bytes(b"\xff")
    assert main(["key", str(file)]) == 1
