"""Settings: sources in rising order, faults explained, and the file that `tricord init` writes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tricord.homeserver.settings import Settings
from tricord.homeserver.settings_file import settings_file
from tricord.homeserver.settings_sources import SettingsError, load_settings


def written(folder: Path, text: str) -> Path:
    """Write a settings file."""
    file = folder / "tricord.toml"
    file.write_text(text)
    return file


def test_nothing_at_all_gives_a_server_on_this_machine() -> None:
    settings = load_settings(None, {})
    assert settings.server_name == "localhost"
    assert settings.listeners[0].bind == "127.0.0.1:8008"
    assert settings.default_room_version == "12"
    assert settings.data_dir == Path("tricord-data")


def test_the_environment_wins_over_the_file_and_flags_over_both(tmp_path: Path) -> None:
    file = written(tmp_path, 'server_name = "file.test"\ndata_dir = "here"\n[log]\nlevel = "debug"\nformat = "json"\n')
    environment = {"TRICORD__SERVER_NAME": "environment.test", "TRICORD__LOG__LEVEL": "warning", "HOME": "/"}
    settings = load_settings(file, environment, {"server_name": "flag.test", "data_dir": None})
    assert settings.server_name == "flag.test"
    assert (settings.log.level, settings.log.format) == ("warning", "json")
    assert settings.data_dir == tmp_path / "here"


def test_lists_and_tables_come_from_the_environment_as_toml() -> None:
    settings = load_settings(
        None,
        {
            "TRICORD__LISTENERS": '[{ bind = "127.0.0.1:1", serves = ["client", "federation"] }]',
            "TRICORD__FEDERATION__ADDRESS_OVERRIDES": '{ "hs2" = "127.0.0.2:8448" }',
            "TRICORD__DEFAULT_ROOM_VERSION": "11",
        },
    )
    assert settings.listeners[0].serves == ("client", "federation")
    assert settings.federation.address_overrides == {"hs2": "127.0.0.2:8448"}
    assert settings.default_room_version == "11"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sever_name = 'x'", "did you mean 'server_name'"),
        ("[database]\nurll = 'x'", "unknown setting 'database.urll': did you mean 'url'"),
        ("[[listeners]]\nbind = '127.0.0.1:1'\nserve = ['client']", "unknown setting 'listeners[0].serve'"),
        ("[[listeners]]\nbind = 'localhost'", "listeners[0].bind: 'localhost' is not ADDRESS:PORT"),
        ("[[listeners]]\nbind = '127.0.0.1:1'\ntls_key = 'k'", "tls_certificate and tls_key go together"),
        ("[[listeners]]\nbind = '127.0.0.1:65536'", "listeners[0].bind: '127.0.0.1:65536' is not ADDRESS:PORT"),
        ("[[listeners]]\nbind = '127.0.0.1:1²'", "listeners[0].bind: '127.0.0.1:1²' is not ADDRESS:PORT"),
        (
            "processes = 3\n[metrics]\nbind = '127.0.0.1:65534'",
            "metrics.bind: each of 3 processes has a port of its own",
        ),
        ("server_name = 'not a name'", "server_name: "),
        ("default_room_version = '99'", "room version '99' is not one of"),
        ("server_name = ", "is not TOML"),
        ("[registration]\nshared_secret = 'a'\nshared_secret_file = 'b'", "both 'shared_secret' and"),
    ],
)
def test_a_fault_is_named_with_its_place_and_its_cure(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, text), {})
    assert words in str(caught.value)


def test_the_last_process_may_tell_its_figures_at_the_last_port(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, "processes = 3\n[metrics]\nbind = '127.0.0.1:65533'"), {})
    assert (settings.processes, settings.metrics.bind) == (3, "127.0.0.1:65533")


def test_an_unknown_variable_of_the_environment_is_named() -> None:
    with pytest.raises(
        SettingsError, match="TRICORD__DATABSE__URL: unknown setting 'databse': did you mean 'database'"
    ):
        load_settings(None, {"TRICORD__DATABSE__URL": "x"})


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden\n")
    file = written(tmp_path, "[registration]\nshared_secret_file = 'secret'\n")
    settings = load_settings(file, {})
    assert settings.registration.shared_secret is not None
    assert settings.registration.shared_secret.get_secret_value() == "hidden"
    assert "hidden" not in repr(settings)
    from_environment = load_settings(None, {"TRICORD__DATABASE__URL_FILE": str(tmp_path / "secret")})
    assert from_environment.database.url.get_secret_value() == "hidden"


def test_the_file_that_init_writes_is_read_back_and_shows_every_setting(tmp_path: Path) -> None:
    text = settings_file({"server_name": "example.org", "registration": {"enabled": True}})
    settings = load_settings(written(tmp_path, text), {})
    assert settings.server_name == "example.org"
    assert settings.registration.enabled
    shown = text.replace("# ", "")
    for name in Settings.model_fields:
        assert name in shown


def test_every_default_in_the_written_file_is_true(tmp_path: Path) -> None:
    lines = settings_file({}).splitlines()
    assignments = [
        line.removeprefix("# ") if line.startswith("# ") and " = " in line and _is_toml(line[2:]) else line
        for line in lines
    ]
    settings = load_settings(written(tmp_path, "\n".join(assignments)), {})
    assert settings.model_copy(update={"data_dir": Path("tricord-data")}) == Settings()


def _is_toml(line: str) -> bool:
    try:
        tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    return True
