"""What an operator does wrong is explained: in one sentence that names the thing and the rule, with no traceback."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.homeserver.cli.commands import in_process, tricord, written

LISTENER = '[[listeners]]\nbind = "127.0.0.1:0"\n'


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that something else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('sever_name = "x"', "unknown setting 'sever_name': did you mean 'server_name'?"),
        ("[rate_limit]\nenabled = false", "unknown setting 'rate_limit': did you mean 'rate_limits'?"),
        ("[registration]\nshared_secrets = 'x'", "setting 'registration.shared_secrets': did you mean 'shared_secret'"),
        ("server_name = 7", "server_name: must be text in quotes"),
        ("default_room_version = '99'", "default_room_version: room version '99' is not one of 1, 2,"),
        ("listeners = 3", "listeners: must be a list"),
        ("[[listeners]]\nserves = ['client']", "listeners[0].bind: must be given"),
        ("[[listeners]]\nbind = '127.0.0.1:1'\nserves = ['admin']", "listeners[0].serves[0]: must be 'client' or 'fed"),
        ("[registration]\nenabled = 'maybe'", "registration.enabled: must be true or false"),
        ("[registration]\nminimum_password_length = 0", "registration.minimum_password_length: must be at least 1"),
        ("[database]\nconnections = 1.5", "database.connections: must be a whole number"),
        ("[database]\nconnections = 1000", "database.connections: must be at most 200"),
        ("[rate_limits]\njoins = { per_second = 0, burst = 1 }", "rate_limits.joins.per_second: must be more than 0"),
        ("[federation]\nallowed_addresses = ['10.0.0.1/8']", "federation.allowed_addresses: 10.0.0.1/8 has host bits"),
        ("[federation]\naddress_overrides = ['a']", "federation.address_overrides: must be a table"),
        ("[log]\nlevel = 'loud'", "log.level: must be 'debug', 'info', 'warning' or 'error'"),
        ("[federation]\ntrusted_ca = 'no.pem'", "federation.trusted_ca: "),
        ("[[listeners]]\nbind = '127.0.0.1:1'\ntls_certificate = 'a'\ntls_key = 'b'", "listeners[0]: "),
        ("data_dir = ", "is not TOML"),
    ],
)
def test_wrong_settings_name_the_key_and_the_rule(tmp_path: Path, settings: str, words: str) -> None:
    fault = in_process("config", "check", "--config", written(tmp_path, settings)).fault()
    assert words in fault
    assert "\n" not in fault


def test_every_wrong_setting_is_told_at_once(tmp_path: Path) -> None:
    file = written(tmp_path, '[log]\nlevel = "loud"\n[database]\nconnections = 0\n')
    assert len(tricord(tmp_path, "serve", "--config", file).fault().splitlines()) == 2


def test_a_settings_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert tricord(tmp_path, "serve", "--config", "none.toml").fault() == (
        "none.toml: cannot be read: No such file or directory"
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TRICORD__LOG__LEVL", "debug", "TRICORD__LOG__LEVL: unknown setting 'log.levl': did you mean 'level'?"),
        ("TRICORD__LISTENERS", "[", "TRICORD__LISTENERS: is not a TOML value such as"),
        ("TRICORD__SERVER_NAME__X", "1", "TRICORD__SERVER_NAME__X: 'server_name' has no keys below it"),
        ("TRICORD__DATABASE__URL_FILE", "none", "TRICORD__DATABASE__URL_FILE: none cannot be read"),
        ("TRICORD__RATE_LIMITS__ENABLED", "perhaps", "rate_limits.enabled: must be true or false"),
    ],
)
def test_wrong_variables_name_themselves(name: str, value: str, words: str) -> None:
    assert words in in_process("serve", env={name: value}).fault()


def test_a_taken_port_is_explained(tmp_path: Path, database_url: str, taken: str) -> None:
    file = written(tmp_path, f'[database]\nurl = "{database_url}"\n[[listeners]]\nbind = "{taken}"\n')
    assert tricord(tmp_path, "serve", "--config", file).fault() == (
        f"cannot listen on {taken}: another program listens there: stop it, or change `bind`"
    )
    doctor = tricord(tmp_path, "doctor", "--config", file)
    assert f"{taken} cannot be had" in doctor.output
    assert "fix: stop what listens there" in doctor.output
    assert doctor.fault() == "1 thing needs a fix"


def test_a_taken_port_is_explained_with_a_postgresql_of_its_own(tmp_path: Path, taken: str) -> None:
    file = written(tmp_path, f'[[listeners]]\nbind = "{taken}"\n')
    assert f"cannot listen on {taken}" in tricord(tmp_path, "serve", "--config", file).fault()


@pytest.mark.parametrize("verb", [("serve",), ("user", "list"), ("token", "create")])
def test_a_postgresql_that_is_away_is_explained(tmp_path: Path, verb: tuple[str, ...]) -> None:
    file = written(tmp_path, f'[database]\nurl = "postgresql://tricord:hidden@127.0.0.1:1/tricord"\n{LISTENER}')
    outcome = tricord(tmp_path, *verb, "--config", file)
    assert "the database cannot be reached" in outcome.fault()
    assert "127.0.0.1:1" in outcome.fault()
    assert "hidden" not in outcome.errors + outcome.output


def test_doctor_says_what_to_do_about_a_postgresql_that_is_away(tmp_path: Path) -> None:
    file = written(tmp_path, f'[database]\nurl = "postgresql://tricord:hidden@127.0.0.1:1/tricord"\n{LISTENER}')
    outcome = tricord(tmp_path, "doctor", "--config", file)
    assert outcome.fault() == "1 thing needs a fix"
    assert "fix: check database.url" in outcome.output
    assert "hidden" not in outcome.output


def test_a_database_url_that_is_none_is_explained(tmp_path: Path) -> None:
    file = written(tmp_path, f'[database]\nurl = "mysql://host/name"\n{LISTENER}')
    assert "the database URL is not right" in tricord(tmp_path, "serve", "--config", file).fault()


def test_a_bad_certificate_is_explained(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "certificate.pem").write_text("rubbish")
    (tmp_path / "key.pem").write_text("rubbish")
    listener = '[[listeners]]\nbind = "127.0.0.1:0"\ntls_certificate = "certificate.pem"\ntls_key = "key.pem"\n'
    file = written(tmp_path, f'[database]\nurl = "{database_url}"\n{listener}')
    for verb in (("serve",), ("config", "check")):
        assert "certificate.pem and " in tricord(tmp_path, *verb, "--config", file).fault()
    assert "fix: name a PEM certificate chain" in tricord(tmp_path, "doctor", "--config", file).output


def test_a_bad_signing_key_is_explained(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "tricord-data").mkdir(mode=0o700)
    (tmp_path / "tricord-data" / "signing.key").write_text("rubbish\n")
    file = written(tmp_path, f'[database]\nurl = "{database_url}"\n{LISTENER}')
    fault = tricord(tmp_path, "serve", "--config", file).fault()
    assert "tricord-data/signing.key is not a signing key" in fault
    assert "rubbish" not in fault
    assert "fix: restore the file from a copy" in tricord(tmp_path, "doctor", "--config", file).output


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file/data/signing.key cannot be read or made: Not a directory" in (
        tricord(tmp_path, "serve", "--data-dir", "file/data").fault()
    )
    assert "is a file" in tricord(tmp_path, "serve", "--data-dir", "file").fault()


def test_doctor_sees_what_lies_open(tmp_path: Path) -> None:
    tricord(tmp_path, "init", "--server-name", "localhost").good()
    (tmp_path / "tricord-data").chmod(0o755)
    (tmp_path / "tricord-data" / "signing.key").chmod(0o644)
    outcome = tricord(tmp_path, "doctor", env={"TRICORD__LISTENERS": '[{ bind = "127.0.0.1:0" }]'})
    assert outcome.fault() == "2 things need a fix"
    assert "fix: chmod 700 tricord-data" in outcome.output.replace(f"{tmp_path}/", "")
    assert "fix: chmod 600 tricord-data/signing.key" in outcome.output.replace(f"{tmp_path}/", "")
