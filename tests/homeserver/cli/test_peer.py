"""`tricord peer` finds another server by name, TLS and all, or says why not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from tests.authority import Authority
from tests.homeserver.cli.commands import Outcome, in_process, written
from tests.servers import running_homeserver


def asking(folder: Path, authority: Authority, port: str) -> Callable[[str], Outcome]:
    """Return how a server asks that knows `far.test` to be at a port of this machine."""
    file = written(
        folder,
        f"""
server_name = "near.test"
data_dir = "{folder}"
[[listeners]]
bind = "127.0.0.1:0"
serves = ["federation"]
[federation]
trusted_ca = "{authority.certificate}"
allowed_addresses = ["127.0.0.0/8"]
address_overrides = {{ "far.test" = "127.0.0.1:{port}", "other.test" = "127.0.0.1:{port}" }}
""",
    )
    return partial(in_process, "peer", "--config", file)


async def test_a_server_says_what_it_runs_and_by_which_keys_it_is_known(database_url: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.certify("far.test", "other.test")
    listener = {
        "bind": "127.0.0.1:0",
        "serves": ["federation"],
        "tls_certificate": certificate,
        "tls_key": certificate,
    }
    far = tmp_path / "far"
    far.mkdir()
    async with running_homeserver(database_url, far, server_name="far.test", listeners=[listener]) as running:
        ask = asking(tmp_path, authority, running.urls[0].rpartition(":")[2])
        said = (await trio.to_thread.run_sync(ask, "far.test")).good()
        assert "far.test runs Tricord 0." in said
        assert "its keys: ed25519:a_" in said
        # Who answers there is another server than the one that was asked for.
        assert "far.test" in (await trio.to_thread.run_sync(ask, "other.test")).fault()


def test_a_server_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    ask = asking(tmp_path, Authority(tmp_path), "1")
    assert "far.test" in ask("far.test").fault()
    assert "server name" in ask("not a name").fault()


def test_without_a_listener_for_servers_no_server_is_met(tmp_path: Path) -> None:
    file = written(tmp_path, f'data_dir = "{tmp_path}"\n')
    assert "federation" in in_process("peer", "--config", file, "far.test").fault()
