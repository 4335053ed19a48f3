"""A user shows a token to another service, which asks the user's homeserver who they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.servers import PASSWORD, running_homeserver, signed_in
from tricord.clients import Client
from tricord.homeserver.app import Homeserver

USER_INFO = "/_matrix/federation/v1/openid/userinfo"


class HandMovedClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.now


@pytest.fixture
def hands() -> HandMovedClock:
    """The clock of the homeserver."""
    return HandMovedClock()


@pytest.fixture
async def homeserver(database_url: str, tmp_path: Path, hands: HandMovedClock) -> AsyncIterator[Homeserver]:
    """A homeserver that serves clients and other servers on one port."""
    both = [{"bind": "127.0.0.1:0", "serves": ["client", "federation"]}]
    async with running_homeserver(database_url, tmp_path, clock=hands, listeners=both) as running:
        yield running


async def asked(homeserver: Homeserver, **query: str) -> tuple[int, str | None, str | None]:
    """Ask as a service would; return status, user and errcode."""
    async with httpx.AsyncClient() as service:
        answer = await service.get(homeserver.urls[0] + USER_INFO, params=query)
    return answer.status_code, answer.json().get("sub"), answer.json().get("errcode")


async def test_a_service_learns_who_somebody_is(homeserver: Homeserver) -> None:
    async with signed_in(homeserver, "alice") as alice:
        token = await alice.openid_token()
        assert token.matrix_server_name == "hs.test"
        assert await asked(homeserver, access_token=token.access_token) == (200, alice.user_id, None)


async def test_the_token_opens_nothing_else(homeserver: Homeserver) -> None:
    async with signed_in(homeserver, "alice") as alice, httpx.AsyncClient() as http:
        token = (await alice.openid_token()).access_token
        bearer = {"Authorization": f"Bearer {token}"}
        answer = await http.get(f"{homeserver.urls[0]}/_matrix/client/v3/account/whoami", headers=bearer)
        assert (answer.status_code, answer.json()["errcode"]) == (401, "M_UNKNOWN_TOKEN")
        assert alice.access_token is not None
        assert await asked(homeserver, access_token=alice.access_token) == (401, None, "M_UNKNOWN_TOKEN")


async def test_the_token_expires(homeserver: Homeserver, hands: HandMovedClock) -> None:
    async with signed_in(homeserver, "alice") as alice:
        token = await alice.openid_token()
        hands.now += token.expires_in * 1000
        assert await asked(homeserver, access_token=token.access_token) == (401, None, "M_UNKNOWN_TOKEN")


async def test_who_has_no_account_any_more_is_nobody(homeserver: Homeserver) -> None:
    async with signed_in(homeserver, "alice") as alice:
        token = (await alice.openid_token()).access_token
        await alice.deactivate(PASSWORD)
        assert await asked(homeserver, access_token=token) == (401, None, "M_UNKNOWN_TOKEN")


@pytest.mark.parametrize("token", ["", "nonsense", "tro_" + "x" * 10_000, "\ud7ff\x01"])
async def test_what_is_no_token_is_nobodys(homeserver: Homeserver, token: str) -> None:
    assert await asked(homeserver, access_token=token) == (401, None, "M_UNKNOWN_TOKEN")


async def test_without_a_token_nothing_is_told(homeserver: Homeserver) -> None:
    assert await asked(homeserver) == (400, None, "M_MISSING_PARAM")


async def test_nobody_gets_tokens_of_others(homeserver: Homeserver) -> None:
    async with signed_in(homeserver, "alice") as alice, signed_in(homeserver, "bob") as bob:
        path = f"/_matrix/client/v3/user/{bob.user_id}/openid/request_token"
        async with httpx.AsyncClient() as http:
            answer = await http.post(homeserver.urls[0] + path, json={}, headers=_bearer(alice))
    assert (answer.status_code, answer.json()["errcode"]) == (403, "M_FORBIDDEN")


def _bearer(client: Client) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.access_token}"}
