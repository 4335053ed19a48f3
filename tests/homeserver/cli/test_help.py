"""Every verb explains itself, and the page of settings is that of the settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tricord.homeserver.cli import main
from tricord.homeserver.settings_reference import settings_reference

ROOT = Path(__file__).resolve().parents[3]


def below(group: click.Group, name: str) -> click.Command:
    """Return a command of a group."""
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command


def verbs(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """Return the words of every command below a group."""
    for name in group.list_commands(click.Context(group)):
        command = below(group, name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from verbs(command, *path, name)


def test_these_are_the_verbs() -> None:
    assert {" ".join(words) for words in verbs(main)} == {
        "config",
        "config check",
        "config reference",
        "demo",
        "doctor",
        "init",
        "key",
        "key list",
        "key rotate",
        "media",
        "media erase",
        "media forget-remote",
        "media quarantine",
        "media release",
        "media usage",
        "notice",
        "notice send",
        "report",
        "report close",
        "report list",
        "report show",
        "peer",
        "serve",
        "spec",
        "spec coverage",
        "token",
        "token create",
        "user",
        "user add",
        "user deactivate",
        "user list",
        "user lock",
        "user password",
        "user suspend",
        "version",
    }


@pytest.mark.parametrize("words", [(), *verbs(main)], ids=" ".join)
def test_help_is_whole_and_every_option_explained(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*words, "--help"], prog_name="tricord")
    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: {' '.join(('tricord', *words))} ")
    assert "..." not in done.output.replace("[ARGS]...", "").replace("WHAT...", ""), "a short help was cut off"
    command: click.Command = main
    for word in words:
        assert isinstance(command, click.Group)
        command = below(command, word)
    assert command.help
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, option


def test_the_page_of_settings_is_up_to_date() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == settings_reference(), "write it anew: tricord config reference > docs/settings.md"


def test_the_page_of_settings_can_be_printed() -> None:
    assert CliRunner().invoke(main, ["config", "reference"]).output == settings_reference()


def test_versions_are_printed() -> None:
    for words in (["version"], ["--version"]):
        assert CliRunner().invoke(main, words).output.startswith("tricord 0.")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["serv"], "No such command 'serv'. Did you mean 'serve'?"),
        (["user", "ad", "alice"], "No such command 'ad'. Did you mean 'add'?"),
        (["frobnicate"], "No such command 'frobnicate'."),
        (["--frobnicate"], "No such option '--frobnicate'."),
        (["init", "--server-name", "https://example.org"], "'https://example.org' is not a server name, such as"),
        (["key", "list"], "there is no signing key in tricord-data: `tricord serve` makes one; run this in its folder"),
        (["peer", "example.org"], 'this server meets no others: add "federation" to `serves`'),
        (["user", "list"], "there is no server in tricord-data: run this in the folder of `tricord serve`"),
        (["serve", "--processes", "0"], "processes: must be at least 1"),
        (["user", "add", "alice"], "there is no terminal to ask for the password at: use --password-stdin"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_use_is_told_what_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, words, prog_name="tricord")
    assert done.exit_code in (1, 2)
    assert f"Error: {told}" in done.stderr


@pytest.mark.parametrize(
    "key",
    [
        *("`server_name`", "`data_dir`", "`default_room_version`", "`url`", "`bind`", "`serves`", "`tls_certificate`"),
        *("`tls_key`", "`shared_secret`", "`trusted_ca`", "`allowed_addresses`", "`address_overrides`", "`enabled`"),
        *("`level`", "`format`", "`[database]`", "`[[listeners]]`", "`[registration]`", "`[federation]`"),
        *("`[rate_limits]`", "`[log]`"),
    ],
)
def test_the_page_lists(key: str) -> None:
    assert key in settings_reference()


def test_where_only_the_sdk_is_installed_the_command_says_what_it_takes() -> None:
    code = "import sys; sys.modules['click'] = None; from tricord.homeserver.command import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == ("Error: the homeserver is not installed (click is missing): pip install 'tricord[server]'\n")
