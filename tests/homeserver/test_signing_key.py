"""The files of the server's signing keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tricord.homeserver.signing_key import (
    SigningKeyError,
    begin_with_signing_key,
    load_or_create_signing_key,
    prepare_next_signing_key,
    retired_signing_keys,
    take_next_signing_key,
)


def test_a_key_that_is_prepared_is_taken_once_and_the_old_one_kept_in_mind(tmp_path: Path) -> None:
    first = load_or_create_signing_key(tmp_path)
    take_next_signing_key(tmp_path, 1)
    assert load_or_create_signing_key(tmp_path).key_id == first.key_id
    second = prepare_next_signing_key(tmp_path)
    assert prepare_next_signing_key(tmp_path).key_id == second.key_id
    for now in (2, 3):
        take_next_signing_key(tmp_path, now)
    assert load_or_create_signing_key(tmp_path).public_key == second.public_key
    third = prepare_next_signing_key(tmp_path)
    take_next_signing_key(tmp_path, 4)
    assert load_or_create_signing_key(tmp_path).key_id == third.key_id
    retired = retired_signing_keys(tmp_path)
    assert {key_id: (key.public_key, key.valid_until_ts) for key_id, key in retired.items()} == {
        first.key_id: (first.public_key, 2),
        second.key_id: (second.public_key, 4),
    }
    assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())


def test_a_key_that_is_lost_is_told_of(tmp_path: Path) -> None:
    with capture_logs() as logs:
        begin_with_signing_key(tmp_path)
        (tmp_path / "postgres" / "data").mkdir(parents=True)
        begin_with_signing_key(tmp_path)
    assert logs == []
    (tmp_path / "signing.key").unlink()
    with capture_logs() as logs:
        begin_with_signing_key(tmp_path)
    (entry,) = logs
    assert "put it back and restart" in entry["event"]
    assert entry["key"] == load_or_create_signing_key(tmp_path).key_id


def test_a_start_that_was_cut_off_while_taking_a_key_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_or_create_signing_key(tmp_path)
    second = prepare_next_signing_key(tmp_path)
    replace = Path.replace

    def cut_off(file: Path, target: Path) -> Path:
        if file.name == "signing.key.next":
            raise OSError(5, "Input/output error")
        return replace(file, target)

    monkeypatch.setattr(Path, "replace", cut_off)
    with pytest.raises(SigningKeyError):
        take_next_signing_key(tmp_path, 1)
    assert load_or_create_signing_key(tmp_path).key_id == first.key_id
    monkeypatch.undo()
    take_next_signing_key(tmp_path, 2)
    assert load_or_create_signing_key(tmp_path).key_id == second.key_id
    assert retired_signing_keys(tmp_path)[first.key_id].valid_until_ts == 2


@pytest.mark.parametrize("text", ["rubbish", "ed25519 a AAAA 1", "ed25519 a ! 1", "ed25519 a " + "A" * 43 + " soon"])
def test_a_list_that_is_none_is_explained(tmp_path: Path, text: str) -> None:
    (tmp_path / "signing.key.retired").write_text(f"{text}\n")
    with pytest.raises(SigningKeyError, match=r"signing\.key\.retired does not list retired keys"):
        retired_signing_keys(tmp_path)


def test_rubbish_does_not_take_the_place_of_a_key(tmp_path: Path) -> None:
    first = load_or_create_signing_key(tmp_path)
    (tmp_path / "signing.key.next").write_text("rubbish\n")
    with pytest.raises(SigningKeyError, match=r"signing\.key\.next is not a signing key"):
        take_next_signing_key(tmp_path, 1)
    assert load_or_create_signing_key(tmp_path).key_id == first.key_id
