"""`tricord init`: everything a server on a real domain starts from, written once and explained."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import click

from tricord.homeserver.cli.faults import faults_explained
from tricord.homeserver.how_to import how_to

_ADDRESS = "127.0.0.1:8008"
SECRET_FILE = "registration_shared_secret"  # noqa: S105  # a file's name


@click.command(short_help="Write a settings file, a key and a secret.")
@click.option("--server-name", metavar="NAME", help="The part after the colon of user ids, such as example.org.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("tricord.toml"),
    show_default=True,
    metavar="FILE",
    help="The settings file to write.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("tricord-data"),
    show_default=True,
    metavar="DIR",
    help="Where keys and the embedded database shall lie.",
)
def init(server_name: str | None, config_file: Path, data_dir: Path) -> None:
    """Write a settings file with every setting explained, a signing key, and a registration secret.

    Nothing that exists is overwritten.
    """
    from tricord.homeserver.settings import is_this_machine
    from tricord.homeserver.settings_file import settings_file
    from tricord.homeserver.signing_key import load_or_create_signing_key
    from tricord.protocol.errors import MatrixError
    from tricord.protocol.identifiers import parse_server_name

    if server_name is None:
        click.echo("The server name is the part after the colon of user ids: @alice:example.org has example.org.")
        click.echo("It cannot be changed later. The server itself may run on another host (see [well_known]).")
        server_name = click.prompt("Server name", default="localhost")
    try:
        parse_server_name(server_name)
    except MatrixError as error:
        raise click.ClickException(error.message) from None
    if config_file.exists():
        raise click.ClickException(f"{config_file} exists; remove it or name another with --config")

    secret_file = data_dir / SECRET_FILE
    folder = config_file.parent.resolve()
    chosen: dict[str, Any] = {
        "server_name": server_name,
        "data_dir": _from(folder, data_dir),
        "registration": {"shared_secret_file": _from(folder, secret_file)},
    }
    if not is_this_machine(server_name):
        chosen |= _behind_a_proxy(server_name)
    with faults_explained():
        key = load_or_create_signing_key(data_dir)
        if not secret_file.exists():
            _write_private(secret_file, secrets.token_urlsafe(32) + "\n")
        config_file.parent.mkdir(parents=True, exist_ok=True)
        _write_private(config_file, settings_file(chosen))

    click.echo(f"{config_file}: the settings, each with an explanation")
    click.echo(f"{data_dir}: signing key {key.key_id} and the registration secret. Keep a copy of this folder.")
    click.echo("")
    click.echo("Next:")
    click.echo(f"  {how_to('serve', config_file)}")
    click.echo(f"  {how_to('user add NAME --admin', config_file)}")
    if not is_this_machine(server_name):
        click.echo("For a real domain also:")
        click.echo(f"  - let a reverse proxy with a certificate forward https://{server_name}/_matrix and")
        click.echo(f"    /.well-known/matrix to http://{_ADDRESS}, or give a [[listeners]] table tls_certificate and")
        click.echo("    tls_key; people and other servers come the same way (docs/operating.md, and [well_known]);")
        click.echo(f"  - {how_to('doctor', config_file)} checks all of it and says how to fix it.")


def _behind_a_proxy(server_name: str) -> dict[str, Any]:
    """Return settings of a server that people and other servers reach by a proxy on the same machine."""
    from tricord.federation.server_names import is_ip_literal, split_server_name

    listener = {"bind": _ADDRESS, "serves": ["client", "federation"], "trusted_proxies": ["127.0.0.0/8"]}
    # It is asked of a plain name only where its server is; without an answer that is port 8448.
    host, port = split_server_name(server_name)
    where = {} if is_ip_literal(host) or port is not None else {"server": f"{server_name}:443"}
    return {"listeners": [listener], "well_known": where}


def _from(folder: Path, path: Path) -> str:
    """Return `path` as the settings file in `folder` names it."""
    whole = path.resolve()
    return str(whole.relative_to(folder)) if whole.is_relative_to(folder) else str(whole)


def _write_private(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
