"""Users for a benchmark, made over the shared-secret registration that Synapse has too."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import trio

from bench.connection import Connection

PASSWORD = "bench-password"
_AT_ONCE = 4
_GUESTS_AT_ONCE = 8


@dataclass(frozen=True)
class User:
    """A signed-in user."""

    user_id: str
    access_token: str


async def register(
    base_url: str,
    shared_secret: str,
    count: int,
    *,
    at_once: int = _AT_ONCE,
    on_each: Callable[[], None] = lambda: None,
) -> list[User]:
    """Make `count` new users, some at once: their passwords take the server's time."""
    users: list[User] = []

    def note(user: User) -> None:
        users.append(user)
        on_each()

    async with trio.open_nursery() as nursery:
        for part in range(at_once):
            nursery.start_soon(_register, base_url, shared_secret, (count + part) // at_once, note)
    return users


async def _register(base_url: str, shared_secret: str, count: int, note: Callable[[User], None]) -> None:
    run = secrets.token_hex(4)
    async with Connection(base_url) as connection:
        for number in range(count):
            nonce = (await connection.call("GET", "/_synapse/admin/v1/register"))["nonce"]
            name, password = f"bench-{run}-{number}", PASSWORD
            proof = f"{nonce}\0{name}\0{password}\0notadmin".encode()
            answer = await connection.call(
                "POST",
                "/_synapse/admin/v1/register",
                {
                    "nonce": nonce,
                    "username": name,
                    "password": password,
                    "admin": False,
                    "mac": hmac.new(shared_secret.encode(), proof, hashlib.sha1).hexdigest(),
                },
            )
            note(User(answer["user_id"], answer["access_token"]))


async def guests(base_url: str, count: int, *, on_each: Callable[[], None] = lambda: None) -> list[User]:
    """Make `count` guests, who cost no password to be hashed."""
    made: list[User] = []
    numbers = iter(range(count))

    async def some() -> None:
        async with Connection(base_url) as connection:
            for _ in numbers:
                answer = await connection.call("POST", "/_matrix/client/v3/register?kind=guest", {})
                made.append(User(answer["user_id"], answer["access_token"]))
                on_each()

    async with trio.open_nursery() as nursery:
        for _ in range(_GUESTS_AT_ONCE):
            nursery.start_soon(some)
    return made
