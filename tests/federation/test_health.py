from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.federation.servers import HERE, THERE
from tricord.federation import health as module
from tricord.federation.health import PeerHealth


def steady(low: float, high: float) -> float:
    return (low + high) / 2


async def test_pauses_double_from_a_second_to_an_hour(autojump_clock: MockClock) -> None:
    health = PeerHealth(jitter=steady)
    pauses = []
    for _ in range(14):
        health.note_unreachable(THERE)
        pauses.append(health.pause_seconds(THERE))
        await trio.sleep(pauses[-1])
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == 3600


async def test_failures_of_one_moment_count_once(autojump_clock: MockClock) -> None:
    health = PeerHealth(jitter=steady)
    for _ in range(10):
        health.note_unreachable(THERE)
    assert health.pause_seconds(THERE) == 1


async def test_a_sign_of_life_ends_the_pause_and_wakes_who_waits(autojump_clock: MockClock) -> None:
    health = PeerHealth(jitter=steady)
    health.note_unreachable(THERE)
    assert not health.may_be_called(THERE)
    assert health.may_be_called(HERE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(health.wait_until_callable, THERE)
        await trio.sleep(0.5)
        health.note_alive(THERE)
    assert trio.current_time() == pytest.approx(0.5, abs=0.01) or health.may_be_called(THERE)
    health.note_unreachable(THERE)
    assert health.pause_seconds(THERE) == 1


async def test_who_waits_for_a_server_goes_on_when_its_pause_is_over(autojump_clock: MockClock) -> None:
    health = PeerHealth(jitter=steady)
    health.note_unreachable(THERE)
    begun = trio.current_time()
    await health.wait_until_callable(THERE)
    assert trio.current_time() - begun == pytest.approx(1)


async def test_only_so_many_absent_servers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 1)
    health = PeerHealth()
    health.note_unreachable(THERE)
    health.note_unreachable(HERE)
    assert health.may_be_called(THERE)
    assert not health.may_be_called(HERE)
