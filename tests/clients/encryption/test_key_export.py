"""Key exports, checked against matrix-nio's own code for them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nio.crypto.key_export import decrypt_and_read, encrypt_and_save

from tricord.clients.encryption.errors import EncryptionError, Malformed, WrongSecret
from tricord.clients.encryption.key_export import FOOTER, HEADER, export_keys, read_exported_keys

SESSIONS: list[dict[str, Any]] = [
    {"algorithm": "m.megolm.v1.aes-sha2", "room_id": f"!{number}:example.org", "session_id": "s" * number}
    for number in range(30)
]
ROUNDS = 1000


def test_what_we_export_nio_reads(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(export_keys(SESSIONS, "a green teapot", rounds=ROUNDS).rstrip("\n"))
    assert orjson.loads(decrypt_and_read(str(file), "a green teapot")) == SESSIONS


def test_what_nio_exports_we_read(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    encrypt_and_save(orjson.dumps(SESSIONS), str(file), "green teapot", count=ROUNDS)
    assert read_exported_keys(file.read_text(), "green teapot") == SESSIONS


def test_line_ends_of_another_system_do_not_matter() -> None:
    text = export_keys(SESSIONS, "green teapot", rounds=ROUNDS)
    assert read_exported_keys("\r\n" + text.replace("\n", "\r\n"), "green teapot") == SESSIONS


def test_another_passphrase_or_a_changed_file_opens_nothing() -> None:
    text = export_keys(SESSIONS, "green teapot", rounds=ROUNDS)
    with pytest.raises(WrongSecret):
        read_exported_keys(text, "red teapot")
    place = len(HEADER) + 200
    changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
    with pytest.raises(WrongSecret):
        read_exported_keys(changed, "green teapot")


def _with_payload(payload: bytes) -> str:
    return f"{HEADER}\n{base64.b64encode(payload).decode()}\n{FOOTER}\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "keys",
        HEADER,
        f"{HEADER}\n{FOOTER}",
        f"{HEADER}\n!!!\n{FOOTER}",
        f"{FOOTER}\n{HEADER}",
        f"hello {HEADER}\nAAAA\n{FOOTER}",
        _with_payload(bytes(20)),
        _with_payload(b"\x02" + bytes(100)),
        _with_payload(b"\x01" + bytes(100)),
    ],
)
def test_what_is_no_export_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        read_exported_keys(text, "green teapot")


def test_a_file_that_asks_for_four_billion_rounds_is_refused_at_once() -> None:
    with pytest.raises(Malformed):
        read_exported_keys(_with_payload(b"\x01" + bytes(32) + b"\xff" * 4 + bytes(64)), "green teapot")


@given(text=st.text(alphabet=st.sampled_from("AB=+/ \n-é")))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(EncryptionError):
        read_exported_keys(f"{HEADER}\n{text}\n{FOOTER}", "green teapot")
