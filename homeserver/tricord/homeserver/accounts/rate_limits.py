"""Which requests are limited, by whom they come from, and how much of them is allowed."""

from __future__ import annotations

import ipaddress

from pydantic import Field

from tricord.homeserver.accounts.token_buckets import Rate, TokenBuckets
from tricord.homeserver.section import Section
from tricord.homeserver.stream.common_memory import Buckets


class RateLimitSettings(Section):
    """How often things may be done. Each limit is a bucket that holds `burst` and is refilled by `per_second`."""

    enabled: bool = Field(True, description="whether there are limits; false for tests and benchmarks only")
    login_by_address: Rate = Field(Rate(per_second=0.5, burst=20), description="attempts to sign in from one address")
    login_failures: Rate = Field(
        Rate(per_second=0.05, burst=10), description="wrong passwords for one account from one address"
    )
    login_failures_by_account: Rate = Field(
        Rate(per_second=0.1, burst=60), description="wrong passwords for one account from anywhere"
    )
    registration: Rate = Field(Rate(per_second=0.1, burst=10), description="accounts created from one address")
    account_probes: Rate = Field(
        Rate(per_second=1, burst=30), description="queries about user names, tokens and login flows from one address"
    )
    requests: Rate = Field(Rate(per_second=50, burst=500), description="requests of one user, of any kind")
    messages: Rate = Field(Rate(per_second=20, burst=200), description="events that one user sends, of any kind")
    joins: Rate = Field(Rate(per_second=0.5, burst=30), description="rooms that one user joins or knocks on")
    invites: Rate = Field(Rate(per_second=0.5, burst=50), description="people whom one user invites")
    rooms: Rate = Field(Rate(per_second=0.1, burst=20), description="rooms that one user creates")
    uploads: Rate = Field(Rate(per_second=2, burst=50), description="files that one user uploads or announces")
    downloads: Rate = Field(Rate(per_second=20, burst=300), description="files and thumbnails that one user asks for")
    previews: Rate = Field(Rate(per_second=0.5, burst=30), description="previews of URLs that one user asks for")
    profile: Rate = Field(Rate(per_second=0.2, burst=20), description="profile changes by one user")
    lookups: Rate = Field(
        Rate(per_second=5, burst=100), description="searches for rooms and people, and views of spaces, by one user"
    )
    reports: Rate = Field(Rate(per_second=0.02, burst=20), description="reports that one user makes to the operator")


def address_key(address: str) -> str:
    """Return what counts as one address: IPv6 users have a /64 each, and could use a new one for every attempt."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


class LoginLimits:
    """Slows down guessing of passwords, without letting a guesser lock the owner out.

    Failures count for the pair of account and address, so that the owner, who comes from elsewhere, still gets in.
    The wide bucket for the account as a whole is against guessing from many addresses at once.
    """

    def __init__(self, settings: RateLimitSettings, common: Buckets | None = None) -> None:
        self._enabled = settings.enabled
        self._attempts = TokenBuckets("sign-ins from this address", settings.login_by_address, common)
        self._failures = TokenBuckets("wrong passwords", settings.login_failures, common)
        self._account_failures = TokenBuckets(
            "wrong passwords for this account", settings.login_failures_by_account, common
        )

    def attempt(self, address: str) -> None:
        """Count an attempt to sign in; raise LimitExceeded if there were too many from there."""
        if self._enabled:
            self._attempts.take(address_key(address))

    def check_password_allowed(self, account: str, address: str) -> None:
        """Raise LimitExceeded if there were too many wrong passwords for the account."""
        if self._enabled:
            self._failures.check((account, address_key(address)))
            self._account_failures.check(account)

    def password_failed(self, account: str, address: str) -> None:
        """Count a wrong password."""
        if self._enabled:
            self._failures.take((account, address_key(address)))
            self._account_failures.take(account)


class RegistrationLimits:
    """Slows down the making of accounts, and the trying out of names and tokens."""

    def __init__(self, settings: RateLimitSettings, common: Buckets | None = None) -> None:
        self._enabled = settings.enabled
        self._registrations = TokenBuckets("accounts from this address", settings.registration, common)
        self._probes = TokenBuckets("questions from this address", settings.account_probes, common)

    def register(self, address: str) -> None:
        """Count an account that is made; raise LimitExceeded if there were too many from there."""
        if self._enabled:
            self._registrations.take(address_key(address))

    def probe(self, address: str) -> None:
        """Count a question; raise LimitExceeded if there were too many from there."""
        if self._enabled:
            self._probes.take(address_key(address))
