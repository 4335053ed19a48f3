"""The options that several verbs share, and how they become settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tricord.homeserver.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_FILE = Path("tricord.toml")


def settings_options(function: F) -> F:
    """Give a verb `--config`, `--data-dir` and `--server-name`."""
    for option in (
        click.option("--server-name", metavar="NAME", help="The part after the colon of user ids."),
        click.option(
            "--data-dir",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Where keys and the embedded database lie.",
        ),
        click.option(
            "--config",
            "config_file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Settings file; ./tricord.toml if there is one.",
        ),
    ):
        function = option(function)
    return function


def read_settings(config_file: Path | None, data_dir: Path | None, server_name: str | None) -> Settings:
    """Load the settings; a fault ends the command with its explanation."""
    from tricord.homeserver.settings_sources import SettingsError, load_settings

    if config_file is None and DEFAULT_FILE.exists():
        config_file = DEFAULT_FILE
    flags = {"data_dir": data_dir, "server_name": server_name}
    try:
        return load_settings(config_file, os.environ, flags)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
