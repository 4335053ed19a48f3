"""Passwords: right, wrong, too long, too many at once."""

from __future__ import annotations

import threading
import time

import pytest
import trio

from tricord.homeserver.accounts.passwords import HashCost, Passwords
from tricord.protocol.errors import InvalidParam, LimitExceeded, WeakPassword

CHEAP = HashCost(time=1, memory_kib=8, parallelism=1)


async def test_only_the_password_that_was_hashed_is_right() -> None:
    passwords = Passwords(cost=CHEAP)
    hashed = await passwords.hash("secret")
    assert "secret" not in hashed
    assert await passwords.verify(hashed, "secret")
    assert not await passwords.verify(hashed, "Secret")
    assert not await passwords.verify(None, "nobody")


async def test_a_password_beyond_512_bytes_is_refused_unhashed() -> None:
    passwords = Passwords(cost=HashCost(memory_kib=1 << 30))
    for password in ("x" * 513, "é" * 257, "x" * (1 << 20)):
        with pytest.raises(InvalidParam):
            await passwords.hash(password)
        with pytest.raises(InvalidParam):
            await passwords.verify(None, password)


async def test_a_new_password_has_the_length_that_is_asked_for() -> None:
    passwords = Passwords(minimum_length=8, cost=CHEAP)
    with pytest.raises(WeakPassword):
        await passwords.hash("1234567")
    assert await passwords.hash("12345678")


async def test_a_hash_of_another_cost_is_outdated() -> None:
    hashed = await Passwords(cost=CHEAP).hash("secret")
    assert not Passwords(cost=CHEAP).is_outdated(hashed)
    assert Passwords(cost=HashCost(time=2, memory_kib=8, parallelism=1)).is_outdated(hashed)


async def test_two_are_hashed_at_a_time_and_a_crowd_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(concurrent=2, cost=CHEAP)
    running, most, lock = 0, 0, threading.Lock()

    def slow_hash(password: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return password

    monkeypatch.setattr(passwords, "_hash", slow_hash)
    refused = 0

    async def hash_one() -> None:
        nonlocal refused
        try:
            await passwords.hash("secret")
        except LimitExceeded:
            refused += 1

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(hash_one)
    assert most == 2
    assert refused == 36
