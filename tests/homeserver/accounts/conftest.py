"""The parts of accounts, on a fresh database, with passwords that cost nothing."""

from __future__ import annotations

import pytest

from tricord.homeserver.accounts.deactivation import Deactivation
from tricord.homeserver.accounts.login import LoginTokens, PasswordLogin
from tricord.homeserver.accounts.password_change import PasswordChange
from tricord.homeserver.accounts.passwords import HashCost, Passwords
from tricord.homeserver.accounts.rate_limits import LoginLimits, RateLimitSettings
from tricord.homeserver.accounts.registration import Registration
from tricord.homeserver.accounts.revocations import Revocations
from tricord.homeserver.accounts.sessions import Sessions
from tricord.homeserver.accounts.settings import LoginSettings
from tricord.homeserver.storage.database import Database
from tricord.protocol.identifiers import ServerName, UserId

HERE = ServerName("hs.test")
ALICE = UserId("@alice:hs.test")
PASSWORD = "correct horse"


class SetClock:
    """A wall clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(cost=HashCost(time=1, memory_kib=8, parallelism=1))


@pytest.fixture
def revocations(database: Database) -> Revocations:
    return Revocations(database)


@pytest.fixture
def sessions(database: Database, revocations: Revocations, clock: SetClock) -> Sessions:
    return Sessions(database, revocations, clock, LoginSettings())


@pytest.fixture
def registration(database: Database, passwords: Passwords, clock: SetClock) -> Registration:
    return Registration(HERE, database, passwords, clock)


@pytest.fixture
def password_login(database: Database, passwords: Passwords) -> PasswordLogin:
    return PasswordLogin(HERE, database, passwords, LoginLimits(RateLimitSettings()))


@pytest.fixture
def login_tokens(database: Database, clock: SetClock) -> LoginTokens:
    return LoginTokens(database, clock)


@pytest.fixture
def password_change(database: Database, passwords: Passwords, sessions: Sessions) -> PasswordChange:
    return PasswordChange(database, passwords, sessions)


@pytest.fixture
def deactivation(database: Database, revocations: Revocations) -> Deactivation:
    return Deactivation(database, revocations, rooms_to_tell=lambda: None)


@pytest.fixture
async def alice(registration: Registration) -> UserId:
    await registration.create(ALICE, PASSWORD)
    return ALICE
