"""The options that several verbs share, and how they become settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar

import click

if TYPE_CHECKING:
    from tricord.homeserver.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


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
            help="Settings file; if left out, ./tricord.toml if there is one.",
        ),
    ):
        function = option(function)
    return function


def with_settings(verb: Callable[Concatenate[Settings, ...], None]) -> Callable[..., None]:
    """Give a verb these options and, before its own arguments, the settings that they lead to."""

    @wraps(verb)
    def call(config_file: Path | None, data_dir: Path | None, server_name: str | None, **own: Any) -> None:
        verb(read_settings(config_file, data_dir, server_name), **own)

    return settings_options(call)


def read_settings(config_file: Path | None, data_dir: Path | None, server_name: str | None) -> Settings:
    """Load the settings; a fault ends the command with its explanation."""
    from tricord.homeserver.settings_sources import SettingsError, settings_for

    try:
        return settings_for(config_file, data_dir, server_name)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
