"""What clients do every day goes without the web framework, which a server thus need not hold in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.servers import running_homeserver, signed_in
from tricord.clients.endpoint import Endpoint
from tricord.federation.api import encryption, history, keys, membership, queries, transactions
from tricord.homeserver.serving import application
from tricord.homeserver.serving.asgi import AsgiApplication

OF_OTHER_SERVERS = (
    encryption.GetUserDevices,
    encryption.QueryKeys,
    history.Backfill,
    history.GetEvent,
    history.GetMissingEvents,
    history.GetStateIds,
    keys.GetServerKeys,
    membership.Invite,
    membership.MakeJoin,
    membership.SendJoin,
    queries.QueryDirectory,
    queries.QueryProfile,
    transactions.SendTransaction,
)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often the framework was loaded."""
    seen: list[str] = []
    load = application._load_framework  # what it does cannot be seen from outside

    def noted() -> AsgiApplication:
        seen.append("loaded")
        return load()

    monkeypatch.setattr(application, "_load_framework", noted)
    return seen


async def test_a_day_of_a_client_loads_no_framework(database_url: str, tmp_path: Path, loads: list[str]) -> None:
    async with (
        running_homeserver(database_url, tmp_path) as homeserver,
        signed_in(homeserver, "alice") as alice,
        signed_in(homeserver, "bob") as bob,
    ):
        with trio.fail_after(60):
            await alice.login_flows()
            await alice.capabilities()
            await alice.push_rules()
            await alice.get_filter(await alice.create_filter({"room": {"timeline": {"limit": 10}}}))
            await alice.devices()
            await alice.turn_server()
            await alice.set_account_data("org.example.theme", {"dark": True})
            await alice.account_data("org.example.theme")
            backup = await alice.create_key_backup("m.megolm_backup.v1.curve25519-aes-sha2", {})
            await alice.backed_up_keys(backup)
            await alice.profile_field("displayname")
            room = await alice.create_room(name="Tea", preset="private_chat")
            await alice.search_users("bob")
            await alice.invite(room, bob.user_id)
            await bob.join(room)
            said = await bob.send_text(room, "Hello")
            await alice.react(room, said, "+1")
            await alice.relations(room, said)
            await alice.threads(room)
            await alice.mark_read(room, said)
            await alice.set_tag(room, "m.favourite")
            await alice.sync()
            await bob.leave(room)
            await bob.logout()
        assert loads == []
        # It is what the rest goes by.
        await alice.report_room(room, "no tea")
        assert loads


@pytest.mark.parametrize("endpoint", OF_OTHER_SERVERS)
def test_what_servers_ask_every_day_goes_straight(endpoint: type[Endpoint]) -> None:
    assert endpoint.hot
