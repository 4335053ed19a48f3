"""`tricord peer`: whether another server can be found, and what it says of itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from tricord.homeserver.cli.options import with_settings

if TYPE_CHECKING:
    from tricord.homeserver.settings import Settings
    from tricord.protocol.identifiers import ServerName


@click.command(short_help="Ask another server who it is.")
@with_settings
@click.argument("name")
def peer(settings: Settings, name: str) -> None:
    """Find another server the way `tricord serve` would; print its software and its keys, or what goes wrong."""
    import trio

    from tricord.federation.errors import PeerError
    from tricord.homeserver.settings_sources import SettingsError
    from tricord.protocol.errors import InvalidParam, SignatureInvalid
    from tricord.protocol.identifiers import parse_server_name

    try:
        trio.run(_ask, settings, parse_server_name(name))
    except (PeerError, SettingsError, InvalidParam, SignatureInvalid) as error:
        raise click.ClickException(str(error)) from None


async def _ask(settings: Settings, server: ServerName) -> None:
    from tricord.federation.client import FederationClient
    from tricord.federation.key_documents import read_document
    from tricord.federation.peers import Peers
    from tricord.homeserver.assembly.network import open_transport
    from tricord.protocol.identifiers import ServerName
    from tricord.protocol.signing import SigningKey

    if not any("federation" in listener.serves for listener in settings.listeners):
        raise click.ClickException(
            'this server meets no others: add "federation" to `serves` of one of its [[listeners]]'
        )
    async with open_transport(settings) as transport:
        # Any key will do: nothing that is asked here needs a signature.
        peers = Peers(FederationClient(transport, ServerName(settings.server_name), SigningKey.generate()))
        software, version = await peers.version(server)
        keys = read_document(await peers.server_keys(server), server, int(time.time() * 1000))
    click.echo(f"{server} runs {software or 'what it does not name'} {version or ''}".rstrip())
    click.echo(f"its keys: {', '.join(sorted(keys.keys))}")
