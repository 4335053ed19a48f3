"""Plain options of `tricord serve` are read without click, and as click reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.homeserver.test_start import LOADED, told_by
from tricord.homeserver.cli.serve import serve
from tricord.homeserver.serve_options import ServeOptions, plain_options

WORDS = st.sampled_from(
    [
        *("--config", "--data-dir", "--server-name", "--processes", "--processes=2", "--server-name=a=b", "--config=x"),
        *(
            "--conf",
            "--help",
            "-h",
            "--",
            "-",
            "",
            "2",
            "02",
            "-2",
            "²",
            "a",
            "/nowhere/a.toml",
            "--config=",
            "/",
            "/dev",
        ),
        *("/etc/passwd", "--data-dir=/tmp", "--data-dir=/etc/passwd", "two words"),
    ]
)


def by_click(words: list[str]) -> ServeOptions | None:
    """Return what click makes of the words; None if it refuses them, or explains the command."""
    try:
        with serve.make_context("serve", list(words)) as context:
            given: dict[str, Any] = context.params
            return ServeOptions(**given)
    except (click.ClickException, click.exceptions.Exit):
        return None


@given(st.lists(WORDS, max_size=6))
def test_what_is_read_is_what_click_reads(words: list[str]) -> None:
    plain = plain_options(words)
    assert plain is None or plain == by_click(words)


def test_every_option_is_read(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.touch()
    words = ["--config", str(file), f"--data-dir={tmp_path}", "--server-name", "example.org", "--processes", "3"]
    assert plain_options(words) == ServeOptions(file, tmp_path, "example.org", 3) == by_click(words)
    assert plain_options([]) == ServeOptions() == by_click([])
    options = [name for option in serve.params for name in option.opts]
    assert {word.partition("=")[0] for word in words if word.startswith("--")} == {*options}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_is_not_ours_to_read_is_left_to_click(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.touch(mode=0o000)
    assert plain_options(["--config", str(file)]) is None


def test_a_server_does_without_click() -> None:
    code = """
sys.argv = ["tricord", "serve", "--processes", "3"]
import tricord.homeserver.serve
tricord.homeserver.serve.serve_until_stopped = print
from tricord.homeserver.command import main
main()
"""
    told = told_by(code + LOADED)
    assert "processes=3)" in told
    assert "tricord.homeserver.serve" in told
    assert "click" not in told
