"""Token buckets empty, fill again, and are told apart."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tricord.homeserver.accounts.rate_limits import LoginLimits, RateLimitSettings, address_key
from tricord.homeserver.accounts.token_buckets import Rate, TokenBuckets
from tricord.protocol.errors import LimitExceeded


async def test_a_burst_passes_and_the_next_waits_as_long_as_it_is_told(autojump_clock: MockClock) -> None:
    buckets = TokenBuckets("tests", Rate(per_second=0.5, burst=3))
    for _ in range(3):
        buckets.take("a")
    with pytest.raises(LimitExceeded) as refused:
        buckets.take("a")
    wait_ms = refused.value.extra["retry_after_ms"]
    assert wait_ms == 2000
    buckets.take("b")
    await trio.sleep(wait_ms / 1000)
    buckets.take("a")


async def test_buckets_used_longest_ago_are_forgotten() -> None:
    buckets = TokenBuckets("tests", Rate(per_second=0.001, burst=1), limit=2)
    for key in "abc":
        buckets.take(key)
    buckets.take("a")
    with pytest.raises(LimitExceeded):
        buckets.take("c")


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(address: str, key: str) -> None:
    assert address_key(address) == key


async def test_a_guesser_does_not_lock_out_the_owner() -> None:
    limits = LoginLimits(RateLimitSettings())
    for _ in range(10):
        limits.check_password_allowed("@alice:hs.test", "192.0.2.1")
        limits.password_failed("@alice:hs.test", "192.0.2.1")
    with pytest.raises(LimitExceeded):
        limits.check_password_allowed("@alice:hs.test", "192.0.2.1")
    limits.check_password_allowed("@alice:hs.test", "192.0.2.2")
