"""Who gets in with a password or a login token, and who does not."""

from __future__ import annotations

import contextlib

import pytest
import trio

from tests.homeserver.accounts.conftest import PASSWORD, SetClock
from tricord.clients.api.interactive_auth import UserIdentifier
from tricord.homeserver.accounts.deactivation import Deactivation
from tricord.homeserver.accounts.login import LoginTokens, PasswordLogin
from tricord.homeserver.accounts.password_change import PasswordChange
from tricord.protocol.errors import Forbidden, InvalidParam, LimitExceeded, UserDeactivated
from tricord.protocol.identifiers import UserId


def named(user: str) -> UserIdentifier:
    return UserIdentifier(type="m.id.user", user=user)


@pytest.mark.parametrize("name", ["alice", "Alice", "@alice:hs.test"])
async def test_the_right_password_signs_in_by_any_form_of_the_name(
    password_login: PasswordLogin, alice: UserId, name: str
) -> None:
    assert await password_login.check(named(name), PASSWORD, address="192.0.2.1") == alice


@pytest.mark.parametrize(
    "identifier",
    [
        named("alice"),
        named("bob"),
        named("@alice:elsewhere.test"),
        named("@"),
        named("nul\0"),
        UserIdentifier(type="m.id.thirdparty", medium="email", address="alice@hs.test"),
        UserIdentifier(medium="email", address="alice@hs.test"),
        UserIdentifier(type="m.id.phone", country="ES", phone="123"),
    ],
)
async def test_everybody_else_is_refused_in_the_same_words(
    password_login: PasswordLogin, alice: UserId, identifier: UserIdentifier
) -> None:
    with pytest.raises(Forbidden, match="wrong user name or password"):
        await password_login.check(identifier, "wrong", address="192.0.2.1")


async def test_guessing_is_limited_and_the_owner_still_gets_in_from_elsewhere(
    password_login: PasswordLogin, alice: UserId
) -> None:
    refusals: list[type[Exception]] = []
    for _ in range(50):
        try:
            await password_login.check(named("alice"), "wrong", address="192.0.2.1")
        except (Forbidden, LimitExceeded) as refused:
            refusals.append(type(refused))
    assert refusals[:10] == [Forbidden] * 10
    assert refusals[-1] is LimitExceeded
    assert await password_login.check(named("alice"), PASSWORD, address="192.0.2.2") == alice


async def test_a_password_of_a_megabyte_is_a_bad_parameter(password_login: PasswordLogin, alice: UserId) -> None:
    with pytest.raises(InvalidParam):
        await password_login.check(named("alice"), "x" * (1 << 20), address="192.0.2.1")


async def test_a_deactivated_user_is_told_so(
    password_login: PasswordLogin, deactivation: Deactivation, alice: UserId
) -> None:
    await deactivation.deactivate(alice)
    with pytest.raises(UserDeactivated):
        await password_login.check(named("alice"), PASSWORD, address="192.0.2.1")


async def test_a_changed_password_replaces_the_old_one(
    password_login: PasswordLogin, password_change: PasswordChange, alice: UserId
) -> None:
    await password_change.change(alice, "battery staple")
    assert await password_login.check(named("alice"), "battery staple", address="192.0.2.1")
    with pytest.raises(Forbidden):
        await password_login.check(named("alice"), PASSWORD, address="192.0.2.1")


async def test_a_login_token_works_once_even_if_used_by_many_at_once(login_tokens: LoginTokens, alice: UserId) -> None:
    token = await login_tokens.make(alice)
    winners: list[UserId] = []

    async def attempt() -> None:
        with contextlib.suppress(Forbidden):
            winners.append(await login_tokens.take(token))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(attempt)
    assert winners == [alice]


async def test_a_login_token_is_good_for_two_minutes(login_tokens: LoginTokens, clock: SetClock, alice: UserId) -> None:
    token = await login_tokens.make(alice)
    clock.advance(120)
    with pytest.raises(Forbidden):
        await login_tokens.take(token)
