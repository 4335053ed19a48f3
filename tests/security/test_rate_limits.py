"""Nobody may do anything without end; and who did too much is told when to come back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import trio

from tests.security.house import House, Somebody, empty_house
from tests.servers import PASSWORD
from tricord.homeserver.accounts.rate_limits import RateLimitSettings
from tricord.homeserver.settings import Settings

TWICE = {"per_second": 0.01, "burst": 2}

Ask = Callable[[Somebody, str, int], Awaitable[httpx.Response]]


def request(method: str, path: str, body: Any = None) -> Ask:
    """Return a way to ask something for the n-th time."""

    async def ask(somebody: Somebody, room: str, number: int) -> httpx.Response:
        values = {"room": room, "user": somebody.user_id, "n": number}

        def filled(value: Any) -> Any:
            if isinstance(value, str):
                return value.format(**values)
            if isinstance(value, list):
                return [filled(one) for one in value]
            return {name: filled(one) for name, one in value.items()} if isinstance(value, dict) else value

        return await somebody.request(method, filled(path), filled(body))

    return ask


LOGIN = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}}
MEMBER = "/v3/rooms/{room}/state/m.room.member/"
WAYS = [
    ("login_by_address", request("POST", "/v3/login", LOGIN | {"password": PASSWORD})),
    ("login_failures", request("POST", "/v3/login", LOGIN | {"password": "wrong"})),
    ("login_failures_by_account", request("POST", "/v3/login", LOGIN | {"password": "wrong"})),
    ("account_probes", request("GET", "/v3/register/available?username=u{n}")),
    ("account_probes", request("POST", "/v3/refresh", {"refresh_token": "x"})),
    ("requests", request("GET", "/v3/account/whoami")),
    ("messages", request("PUT", "/v3/rooms/{room}/send/m.room.message/t{n}", {"body": "x"})),
    ("messages", request("PUT", "/v3/rooms/{room}/state/m.room.topic/", {"topic": "{n}"})),
    ("messages", request("POST", "/v3/rooms/{room}/ban", {"user_id": "@u{n}:hs.test"})),
    ("joins", request("POST", "/v3/join/{room}")),
    ("joins", request("POST", "/v3/rooms/{room}/join")),
    ("joins", request("PUT", MEMBER + "{user}", {"membership": "join"})),
    ("invites", request("POST", "/v3/rooms/{room}/invite", {"user_id": "@u{n}:hs.test"})),
    ("invites", request("PUT", MEMBER + "@u{n}:hs.test", {"membership": "invite"})),
    ("invites", request("POST", "/v3/createRoom", {"invite": ["@u{n}:hs.test"]})),
    ("rooms", request("POST", "/v3/createRoom", {})),
    ("uploads", request("POST", "/_matrix/media/v1/create")),
    ("downloads", request("GET", "/v1/media/download/hs.test/m{n}")),
    ("downloads", request("GET", "/v1/media/thumbnail/hs.test/m{n}?width=1&height=1")),
    ("previews", request("GET", "/v1/media/preview_url?url=http://a.test/{n}")),
    ("profile", request("PUT", "/v3/profile/{user}/displayname", {"displayname": "{n}"})),
    ("lookups", request("GET", "/v1/rooms/{room}/hierarchy", None)),
    ("reports", request("POST", "/v3/rooms/{room}/report", {"reason": "{n}"})),
]


@pytest.mark.parametrize(("setting", "ask"), WAYS, ids=[f"{number}-{way[0]}" for number, way in enumerate(WAYS)])
async def test_too_much_is_refused_with_the_time_to_wait(
    database_url: str, tmp_path: Path, setting: str, ask: Ask
) -> None:
    async with empty_house(database_url, tmp_path, rate_limits={"enabled": False}) as http:
        alice = await registered(http, "alice")
        room = await alice.create_room(preset="public_chat")
    async with empty_house(database_url, tmp_path, rate_limits={setting: TWICE}) as http:
        alice.http = http
        answers = [await ask(alice, room, number) for number in range(3)]
        refusal = answers[2]
        assert 429 not in [answer.status_code for answer in answers[:2]]
        assert refusal.status_code == 429, refusal.text
        assert refusal.json()["errcode"] == "M_LIMIT_EXCEEDED"
        assert 0 < refusal.json()["retry_after_ms"] <= 100_000
        assert int(refusal.headers["Retry-After"]) * 1000 >= refusal.json()["retry_after_ms"]


async def test_too_many_accounts_from_one_address_are_refused(database_url: str, tmp_path: Path) -> None:
    async with empty_house(database_url, tmp_path, rate_limits={"registration": TWICE}) as http:
        await registered(http, "first")
        await registered(http, "second")
        body = {"username": "third", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        answer = await http.post("/_matrix/client/v3/register", json=body)
        assert (answer.status_code, answer.json()["errcode"]) == (429, "M_LIMIT_EXCEEDED")
        assert "Retry-After" in answer.headers


async def registered(http: httpx.AsyncClient, name: str) -> Somebody:
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    answer = (await http.post("/_matrix/client/v3/register", json=body)).json()
    return Somebody(http, answer["user_id"], answer["device_id"], answer["access_token"])


def test_limits_are_on_unless_they_are_turned_off() -> None:
    assert Settings().rate_limits.enabled


def test_each_limit_is_tested_here() -> None:
    tested = {setting for setting, _ in WAYS} | {"enabled", "registration"}
    assert tested == set(RateLimitSettings.model_fields)


async def test_a_large_party_counts_as_many_invitations(database_url: str, tmp_path: Path) -> None:
    limits = {"invites": {"per_second": 0.01, "burst": 10}}
    async with empty_house(database_url, tmp_path, rate_limits=limits) as http:
        alice = await registered(http, "alice")
        await alice.create_room(invite=[f"@u{number}:hs.test" for number in range(50)])
        refusal = await alice.refused("POST", "/v3/createRoom", {"invite": ["@one.more:hs.test"]})
        assert refusal == (429, "M_LIMIT_EXCEEDED")


async def test_one_who_asks_too_much_does_not_slow_down_another(database_url: str, tmp_path: Path) -> None:
    async with empty_house(database_url, tmp_path, rate_limits={"requests": TWICE}) as http:
        alice, bob = await registered(http, "alice"), await registered(http, "bob")
        for _ in range(5):
            await alice.request("GET", "/v3/account/whoami")
        assert (await bob.request("GET", "/v3/account/whoami")).status_code == 200


async def test_requests_on_the_websocket_count_too(house: House, database_url: str, tmp_path: Path) -> None:
    async with empty_house(database_url, tmp_path, rate_limits={"messages": TWICE}) as http:
        alice = house.alice
        elsewhere = Somebody(http, alice.user_id, alice.device_id, alice.access_token)
        async with elsewhere.websocket() as socket:
            statuses = []
            for number in range(3):
                path = f"/_matrix/client/v3/rooms/{house.room}/send/m.room.message/w{number}"
                request = {"type": "request", "id": number, "method": "PUT", "path": path, "body": {"body": "x"}}
                await socket.send_message(orjson.dumps(request).decode())
                with trio.fail_after(60):
                    while '"type":"response"' not in (answer := await socket.get_message()):
                        pass
                statuses.append(orjson.loads(answer)["status"])
            assert statuses == [200, 200, 429]
