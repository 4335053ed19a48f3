"""Accounts are made once, from names that are allowed, by those who may."""

from __future__ import annotations

import hashlib
import hmac

import pytest
import trio
from pydantic import SecretStr

from tests.homeserver.accounts.conftest import ALICE, SetClock
from tricord.homeserver.accounts.registration import Registration, SharedSecret
from tricord.homeserver.accounts.settings import RegistrationSettings
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.registration_tokens import insert_registration_token
from tricord.protocol.errors import Forbidden, InvalidParam, InvalidUsername, UserInUse
from tricord.protocol.identifiers import UserId


@pytest.mark.parametrize("name", ["a b", "ünal", "a:b", "@a", "a\0b", "x" * 250, "a\n"])
async def test_a_name_outside_of_the_grammar_is_refused(registration: Registration, name: str) -> None:
    with pytest.raises(InvalidUsername):
        await registration.check_available(name)


async def test_capitals_become_small(registration: Registration) -> None:
    assert await registration.check_available("Alice") == ALICE


async def test_whoever_wants_no_name_gets_one(registration: Registration) -> None:
    assert await registration.check_available(None) != await registration.check_available(None)


async def test_a_taken_name_is_refused(registration: Registration, alice: UserId) -> None:
    with pytest.raises(UserInUse):
        await registration.check_available("alice")
    with pytest.raises(UserInUse):
        await registration.create(alice, "other")


async def test_of_many_who_want_a_name_at_once_one_gets_it(registration: Registration) -> None:
    outcomes: list[bool] = []

    async def attempt() -> None:
        try:
            await registration.create(ALICE, None)
        except UserInUse:
            outcomes.append(False)
        else:
            outcomes.append(True)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(attempt)
    assert sorted(outcomes) == [False] * 9 + [True]


async def test_a_registration_token_lets_in_as_many_as_it_allows(
    registration: Registration, database: Database, clock: SetClock
) -> None:
    await database.run(insert_registration_token, "twice", 2, None, clock.now_ms())
    for name in ("a", "b"):
        await registration.create(UserId(f"@{name}:hs.test"), None, registration_token="twice")
    assert not await registration.token_is_valid("twice")
    with pytest.raises(Forbidden):
        await registration.create(UserId("@c:hs.test"), None, registration_token="twice")
    assert await registration.check_available("c")


async def test_a_registration_token_expires(registration: Registration, database: Database, clock: SetClock) -> None:
    await database.run(insert_registration_token, "soon", None, clock.now_ms() + 1000, clock.now_ms())
    assert await registration.token_is_valid("soon")
    clock.advance(1)
    assert not await registration.token_is_valid("soon")


def secret_of(text: str, clock: SetClock) -> SharedSecret:
    return SharedSecret(RegistrationSettings(shared_secret=SecretStr(text)), clock)


def mac_of(*parts: str) -> str:
    return hmac.new(b"shared", "\0".join(parts).encode(), hashlib.sha1).hexdigest()


def test_who_knows_the_shared_secret_may_register(clock: SetClock) -> None:
    secret = secret_of("shared", clock)
    nonce = secret.nonce()
    mac = mac_of(nonce, "alice", "pass", "admin")
    secret_of("shared", clock).check(nonce, mac, username="alice", password="pass", admin=True, user_type=None)
    typed = mac_of(nonce, "alice", "pass", "notadmin", "bot")
    secret.check(nonce, typed, username="alice", password="pass", admin=False, user_type="bot")


def test_a_mac_over_something_else_is_refused(clock: SetClock) -> None:
    secret = secret_of("shared", clock)
    nonce = secret.nonce()
    mac = mac_of(nonce, "alice", "pass", "notadmin")
    with pytest.raises(Forbidden):
        secret.check(nonce, mac, username="alice", password="pass", admin=True, user_type=None)
    with pytest.raises(Forbidden):
        secret.check(nonce, "é", username="alice", password="pass", admin=False, user_type=None)


def test_a_nonce_is_ours_and_young(clock: SetClock) -> None:
    secret = secret_of("shared", clock)
    nonce = secret.nonce()
    clock.advance(61)
    for bad in (nonce, "", "zz-1", secret_of("other", clock).nonce()):
        mac = mac_of(bad, "alice", "pass", "notadmin")
        with pytest.raises(InvalidParam):
            secret.check(bad, mac, username="alice", password="pass", admin=False, user_type=None)


def test_without_a_secret_nobody_registers_with_it(clock: SetClock) -> None:
    for settings in (RegistrationSettings(), RegistrationSettings(shared_secret=SecretStr(""))):
        with pytest.raises(Forbidden):
            SharedSecret(settings, clock).nonce()
