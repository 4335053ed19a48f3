"""Passwords: argon2id, a few at a time, in threads.

Each hash takes 64 MiB and a tenth of a second of a core. So there is a bound on how many run, and on how many wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import trio

from tricord.protocol.errors import InvalidParam, LimitExceeded, WeakPassword

if TYPE_CHECKING:
    import argon2

MAXIMUM_PASSWORD_BYTES = 512
_WAITING_LIMIT = 64

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class HashCost:
    """What a hash costs. The defaults are above OWASP's minimum for argon2id (46 MiB once, or 19 MiB twice).

    One lane each: more lanes make one hash quicker, and keep everybody else's requests waiting for the processor.
    """

    time: int = 2
    memory_kib: int = 64 << 10
    parallelism: int = 1


class Passwords:
    """Hashes and verifies passwords."""

    def __init__(self, *, concurrent: int = 2, minimum_length: int = 1, cost: HashCost | None = None) -> None:
        self._cost = cost or HashCost()
        self._minimum_length = minimum_length
        self._threads = trio.CapacityLimiter(concurrent)
        self._waiting = 0
        # Somebody who does not exist is verified against this, and so takes as long as somebody who does.
        self._nobody: str | None = None

    def check_acceptable(self, password: str) -> None:
        """Raise if the password cannot be a new one."""
        check_password_size(password)
        if len(password) < self._minimum_length:
            raise WeakPassword(f"a password has at least {self._minimum_length} characters")

    async def hash(self, password: str) -> str:
        """Return the hash to store of a new password."""
        self.check_acceptable(password)
        return await self._in_thread(self._hash, password)

    async def rehash(self, password: str) -> str:
        """Return a new hash of a password that is in use: it may be shorter than new ones must be."""
        return await self._in_thread(self._hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Return whether the password is the one that was hashed; for no hash, False after just as long."""
        check_password_size(password)
        return await self._in_thread(self._verify, password_hash, password)

    def is_outdated(self, password_hash: str) -> bool:
        """Return whether a hash was made at another cost than new ones are."""
        return self._hasher.check_needs_rehash(password_hash)

    @cached_property
    def _hasher(self) -> argon2.PasswordHasher:
        """argon2, loaded with the first password."""
        import argon2

        cost = self._cost
        return argon2.PasswordHasher(time_cost=cost.time, memory_cost=cost.memory_kib, parallelism=cost.parallelism)

    def _hash(self, password: str) -> str:
        return self._hasher.hash(password)

    def _verify(self, password_hash: str | None, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        if self._nobody is None:
            self._nobody = self._hash("nobody")
        try:
            matches = self._hasher.verify(password_hash or self._nobody, password)
        except (VerificationError, InvalidHashError):
            return False
        return matches and password_hash is not None

    async def _in_thread(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        if self._waiting >= _WAITING_LIMIT:
            raise LimitExceeded("too many passwords to check at once", retry_after_ms=5_000)
        self._waiting += 1
        try:
            return await trio.to_thread.run_sync(function, *arguments, limiter=self._threads)
        finally:
            self._waiting -= 1


def check_password_size(password: str) -> None:
    """Raise InvalidParam for a password longer than any may be, before anything is done with it."""
    # A string has at most as many characters as bytes: the long ones need not be encoded to be found.
    if len(password) > MAXIMUM_PASSWORD_BYTES or len(password.encode()) > MAXIMUM_PASSWORD_BYTES:
        raise InvalidParam(f"a password has at most {MAXIMUM_PASSWORD_BYTES} bytes")
