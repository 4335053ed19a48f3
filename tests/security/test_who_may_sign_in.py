"""Access tokens that are none, passwords that are guessed, and pages that a browser shows."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection

from tests.security.house import House, Somebody, empty_house, inhabited_house
from tests.servers import PASSWORD, PROCESSES
from tricord.homeserver.accounts import passwords
from tricord.homeserver.clock import SystemClock

FEW = {"per_second": 0.05, "burst": 5}


class LaterAndLater(SystemClock):
    """A clock that can be put forward."""

    later_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.later_ms


async def who(house: House, token: str | None) -> tuple[int, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = await house.http.get("/_matrix/client/v3/account/whoami", headers=headers)
    return answer.status_code, answer.json()


def password_login(name: str, password: str) -> dict[str, Any]:
    return {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": name}, "password": password}


async def test_a_request_without_a_token_is_told_so(house: House) -> None:
    status, body = await who(house, None)
    assert (status, body["errcode"]) == (401, "M_MISSING_TOKEN")
    answer = await house.http.get("/_matrix/client/v3/account/whoami", headers={"Authorization": "Basic YTpi"})
    assert (answer.status_code, answer.json()["errcode"]) == (401, "M_MISSING_TOKEN")


async def test_a_token_of_nobody_is_unknown(house: House) -> None:
    for token in ("x", "syt_YWxpY2U_abcdefghijklmnopqrst_1a2b3c", "x" * 5_000, "%00", house.alice.access_token + "x"):
        status, body = await who(house, token)
        assert (status, body["errcode"]) == (401, "M_UNKNOWN_TOKEN")
        assert not body.get("soft_logout")


async def test_a_token_is_no_good_after_signing_out(house: House) -> None:
    phone = await house.login("alice")
    assert (await who(house, phone.access_token))[0] == 200
    await phone.granted("POST", "/v3/logout")
    status, body = await who(house, phone.access_token)
    assert (status, body["errcode"]) == (401, "M_UNKNOWN_TOKEN")
    assert (await who(house, house.alice.access_token))[0] == 200


async def test_a_token_that_can_be_refreshed_says_so_when_it_is_too_old(database_url: str, tmp_path: Path) -> None:
    clock = LaterAndLater()
    async with inhabited_house(database_url, tmp_path, clock=clock, login={"access_token_lifetime": 60}) as house:
        phone = await house.login("alice", refresh_token=True)
        clock.later_ms = 61_000
        status, body = await who(house, phone.access_token)
        assert (status, body["errcode"], body["soft_logout"]) == (401, "M_UNKNOWN_TOKEN", True)


async def test_guessing_passwords_is_slowed_down_but_not_for_who_comes_from_elsewhere(
    database_url: str, tmp_path: Path
) -> None:
    listeners = [{"bind": "127.0.0.1:0", "trusted_proxies": ["127.0.0.0/8"]}]
    plenty = {"per_second": 1000, "burst": 1000}
    limits = {"enabled": True, "login_by_address": plenty, "registration": plenty, "account_probes": plenty}
    async with inhabited_house(database_url, tmp_path, listeners=listeners, rate_limits=limits) as house:

        async def attempt(password: str, address: str) -> httpx.Response:
            body = password_login("alice", password)
            return await house.http.post("/_matrix/client/v3/login", json=body, headers={"X-Forwarded-For": address})

        answers = [await attempt("wrong", "192.0.2.1") for _ in range(50)]
        assert answers[0].status_code == 403
        assert answers[0].json()["errcode"] == "M_FORBIDDEN"
        assert answers[-1].status_code == 429
        assert answers[-1].json()["errcode"] == "M_LIMIT_EXCEEDED"
        assert answers[-1].json()["retry_after_ms"] > 0
        assert int(answers[-1].headers["Retry-After"]) >= answers[-1].json()["retry_after_ms"] / 1000
        # Even the right one: or else a guesser would know it from the others.
        assert (await attempt(PASSWORD, "192.0.2.1")).status_code == 429
        welcome = await attempt(PASSWORD, "192.0.2.2")
        assert welcome.status_code == 200
        house.secrets.add(welcome.json()["access_token"])


async def test_a_wrong_password_takes_as_long_for_nobody_as_for_somebody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    verify = passwords.Passwords._verify

    def noted(self: passwords.Passwords, password_hash: str | None, password: str) -> bool:
        hashed.append(password)
        return verify(self, password_hash, password)

    monkeypatch.setattr(passwords.Passwords, "_verify", noted)
    answers = []
    for name in ("alice", "nobody", "@alice:elsewhere.test"):
        answer = await house.http.post("/_matrix/client/v3/login", json=password_login(name, "wrong"))
        answers.append((answer.status_code, answer.json()))
    assert hashed == ["wrong"] * 3
    assert answers[0] == answers[1] == answers[2]


async def test_a_huge_password_is_refused_without_hashing_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords.Passwords, "_in_thread", None)
    huge = "x" * 1_000_000
    answer = await house.http.post("/_matrix/client/v3/login", json=password_login("alice", huge))
    assert (answer.status_code, answer.json()["errcode"]) == (400, "M_INVALID_PARAM")
    body = {"username": "new", "password": huge, "auth": {"type": "m.login.dummy"}}
    answer = await house.http.post("/_matrix/client/v3/register", json=body)
    assert (answer.status_code, answer.json()["errcode"]) == (400, "M_INVALID_PARAM")
    monkeypatch.undo()


async def test_many_who_sign_in_at_once_do_not_keep_the_others_waiting(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = [0]
    running = 0

    def slow(self: passwords.Passwords, password_hash: str | None, password: str) -> bool:
        nonlocal running
        running += 1
        at_once.append(running)
        time.sleep(0.02)
        running -= 1
        return False

    monkeypatch.setattr(passwords.Passwords, "_verify", slow)
    waits = []
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(
                lambda: house.http.post("/_matrix/client/v3/login", json=password_login("alice", "wrong"))
            )
        for _ in range(20):
            started = time.perf_counter()
            assert (await house.http.get("/_matrix/client/versions")).status_code == 200
            waits.append(time.perf_counter() - started)
    monkeypatch.undo()
    # As many as the setting allows each process.
    assert max(at_once) <= 2 * PROCESSES
    assert statistics.median(waits) < 0.1


async def test_who_is_deactivated_gets_in_by_no_door(house: House) -> None:
    mallory = await house.login("outsider", refresh_token=True)
    answer = await house.http.post(
        "/_matrix/client/v3/login", json=password_login("outsider", PASSWORD) | {"refresh_token": True}
    )
    refresh_token = answer.json()["refresh_token"]
    auth: dict[str, Any] = {**password_login("outsider", PASSWORD)}
    login_token = (await mallory.granted("POST", "/v1/login/get_token", {"auth": auth}))["login_token"]
    house.secrets |= {refresh_token, login_token, answer.json()["access_token"]}
    tokens = {house.outsider.access_token, mallory.access_token, answer.json()["access_token"]}
    await mallory.granted("POST", "/v3/account/deactivate", {"auth": auth})

    for token in tokens:
        status, body = await who(house, token)
        assert (status, body["errcode"]) == (401, "M_UNKNOWN_TOKEN")
    for path, body in (
        ("/v3/login", password_login("outsider", PASSWORD)),
        ("/v3/login", {"type": "m.login.token", "token": login_token}),
        ("/v3/refresh", {"refresh_token": refresh_token}),
    ):
        answer = await house.http.post(f"/_matrix/client{path}", json=body)
        assert (answer.status_code, answer.json()["errcode"]) in {
            (403, "M_USER_DEACTIVATED"),
            (403, "M_FORBIDDEN"),
            (401, "M_UNKNOWN_TOKEN"),
        }, path
        assert "access_token" not in answer.json()
    answer = await house.http.post("/_matrix/client/v3/login", json=password_login("outsider", PASSWORD))
    assert (answer.status_code, answer.json()["errcode"]) == (403, "M_USER_DEACTIVATED")
    answer = await house.http.post(
        "/_matrix/client/v3/register",
        json={"username": "outsider", "password": PASSWORD, "auth": {"type": "m.login.dummy"}},
    )
    assert (answer.status_code, answer.json()["errcode"]) == (400, "M_USER_IN_USE")


async def test_a_login_token_is_good_once_even_for_two_who_race(house: House) -> None:
    auth = password_login("alice", PASSWORD)
    token = (await house.alice.granted("POST", "/v1/login/get_token", {"auth": auth}))["login_token"]
    statuses: list[int] = []

    async def take() -> None:
        answer = await house.http.post("/_matrix/client/v3/login", json={"type": "m.login.token", "token": token})
        statuses.append(answer.status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(take)
    assert sorted(statuses) == [200] + [403] * 9


async def close_code(socket: WebSocketConnection) -> int | None:
    """Read on until the server closes, and return why it did."""
    while True:
        try:
            await socket.get_message()
        except ConnectionClosed as closed:
            return None if closed.reason is None else closed.reason.code


async def test_signing_out_closes_the_websocket(house: House) -> None:
    phone = await house.login("alice")
    async with phone.websocket() as socket:
        assert "signed_in" in await socket.get_message()
        await phone.granted("POST", "/v3/logout")
        with trio.fail_after(60):
            assert await close_code(socket) == 4001


async def test_what_is_open_with_a_token_ends_when_the_one_that_replaces_it_is_used(house: House) -> None:
    login = password_login("alice", PASSWORD) | {"refresh_token": True}
    given = (await house.http.post("/_matrix/client/v3/login", json=login)).json()
    old = Somebody(house.http, given["user_id"], given["device_id"], given["access_token"])
    since = (await old.sync())["next_batch"]
    refused: list[str] = []
    is_refused = trio.Event()

    async def wait(who: Somebody) -> None:
        # Where there are news after that position, as of presence, there are at once.
        while (answer := await who.request("GET", f"/v3/sync?timeout=50000&since={since}", timeout=60)).is_success:
            pass
        refused.append(f"{answer.status_code} {answer.request.headers['Authorization']}")
        is_refused.set()

    async with old.websocket(position=since) as socket, trio.open_nursery() as nursery:
        nursery.start_soon(wait, old)
        assert "signed_in" in await socket.get_message()
        given = await old.granted("POST", "/v3/refresh", {"refresh_token": given["refresh_token"]})
        house.secrets |= {given["access_token"], given["refresh_token"]}
        new = replace(old, access_token=given["access_token"])
        await socket.send_message('{"type": "ping"}')
        while "pong" not in await socket.get_message():
            pass
        assert refused == []
        with trio.fail_after(60):
            async with new.websocket(position=since) as other:
                assert "signed_in" in await other.get_message()
                nursery.start_soon(wait, new)
                assert await close_code(socket) == 4001
                await is_refused.wait()
                await house.alice.say(house.room, "news")
                while "news" not in await other.get_message():
                    pass
        nursery.cancel_scope.cancel()
    assert refused == [f"401 Bearer {old.access_token}"]


@pytest.mark.parametrize("how", ["signing out", "locking"])
async def test_who_waits_for_news_is_sent_away_when_the_session_ends(house: House, how: str) -> None:
    phone = await house.login("bob")
    since, quiet = (await phone.sync())["next_batch"], quote('{"presence":{"types":[]}}')
    window = {"lists": {}, "room_subscriptions": {house.room: {"timeline_limit": 5, "required_state": []}}}
    sliding = "/unstable/org.matrix.simplified_msc3575/sync"
    pos = (await phone.granted("POST", sliding, window))["pos"]
    refusals: list[tuple[int, str]] = []

    async def wait(method: str, path: str, body: Any = None) -> None:
        while (answer := await phone.request(method, path, body, timeout=60)).status_code == 200:
            assert "after the end" not in answer.text
        refusals.append((answer.status_code, answer.json()["errcode"]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "GET", f"/v3/sync?timeout=50000&since={since}&filter={quiet}")
        nursery.start_soon(wait, "POST", f"{sliding}?timeout=50000&pos={pos}", window)
        nursery.start_soon(wait, "GET", f"/v3/events?timeout=50000&from={since}")
        with trio.move_on_after(10):
            await trio.testing.wait_all_tasks_blocked(0.1)
        if how == "locking":
            await house.homeserver.administration.set_locked(phone.user_id, locked=True)
        else:
            await phone.granted("POST", "/v3/logout")
        await house.alice.say(house.room, "after the end")
    assert refusals == [(401, "M_USER_LOCKED" if how == "locking" else "M_UNKNOWN_TOKEN")] * 3
    await house.homeserver.administration.set_locked(phone.user_id, locked=False)


@pytest.mark.parametrize("session", ['"><script>alert(1)</script>', "<img onerror=alert(1)>", "'-alert(1)-'", "%00"])
async def test_a_page_shows_foreign_text_as_text_and_runs_nothing(
    database_url: str, tmp_path: Path, session: str
) -> None:
    terms = [{"id": "t", "version": "1", "name": '<img src=x onerror="x">', "url": "https://hs.test/terms"}]
    registration = {"enabled": True, "terms": terms}
    async with empty_house(database_url, tmp_path, registration=registration) as http:
        started = await http.post("/_matrix/client/v3/register", json={"username": "new", "password": PASSWORD})
        real = started.json()["session"]
        for stage in ("m.login.terms", "m.login.registration_token", "m.login.recaptcha"):
            for given in (session, real):
                answer = await http.get(f"/_matrix/client/v3/auth/{stage}/fallback/web", params={"session": given})
                assert answer.status_code < 500
                assert session not in answer.text
                assert "<img" not in answer.text
                if "html" in answer.headers["content-type"]:
                    policy = answer.headers["content-security-policy"]
                    assert "frame-ancestors 'none'" in policy
                    assert "unsafe-inline" not in policy
                    assert "default-src 'none'" in policy
                else:
                    assert answer.headers["content-type"] == "application/json"


async def test_no_page_sends_a_browser_elsewhere(house: House) -> None:
    for target in ("https://evil.test/", "javascript:alert(1)", "data:text/html,x", "//evil.test", "/%0d%0aX: y"):
        for path in ("/v3/login/sso/redirect", "/v3/login/sso/redirect/x", "/v3/auth/m.login.sso/fallback/web"):
            query = {"redirectUrl": target, "session": "x"}
            answer = await house.http.get(f"/_matrix/client{path}", params=query)
            assert 400 <= answer.status_code < 500
            assert "location" not in answer.headers
