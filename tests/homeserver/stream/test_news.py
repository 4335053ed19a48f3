"""What processes leave for each other in their common memory."""

from __future__ import annotations

import mmap

import pytest

from tricord.homeserver.stream.common_memory import SIZE, CommonMemory
from tricord.homeserver.stream.news import _HEAD, _RING, News


@pytest.fixture
def memory() -> mmap.mmap:
    return mmap.mmap(-1, SIZE)


def news_of(memory: mmap.mmap, count: int) -> list[News]:
    everybody = [CommonMemory(memory, place, count).news for place in range(count)]
    for place, news in enumerate(everybody):
        for writer in {*range(count)} - {place}:
            news.begin(writer)
    return everybody


def test_each_reads_all_in_the_order_in_which_it_was_left_however_often_the_ring_is_filled(memory: mmap.mmap) -> None:
    one, other, third = news_of(memory, 3)
    for number in range(300):
        left = [b"%d" % number * size for size in (0, 1, 7_001)]
        for words in left:
            assert one.leave(number % 5, words, [1, 2])
        for reader in (other, third):
            assert list(reader.take()) == [(number % 5, words) for words in left]
            assert list(reader.take()) == []


def test_what_a_reader_has_not_read_is_not_overwritten(memory: mmap.mmap) -> None:
    one, other = news_of(memory, 2)
    left = 0
    while one.leave(1, b"%d" % left * 1_000, [1]):
        left += 1
    assert one.is_much_for(1)
    assert [words for _, words in other.take()] == [b"%d" % number * 1_000 for number in range(left)]
    assert not one.is_much_for(1)
    assert not one.has_some_for(1)
    assert one.leave(1, b"again", [1])
    assert one.has_some_for(1)


def test_who_is_dead_is_not_waited_for_and_its_replacement_reads_what_comes_from_then_on(memory: mmap.mmap) -> None:
    one, _dead = news_of(memory, 2)
    replacement = CommonMemory(memory, 1, 2).news
    for number in range(10_000):
        assert one.leave(1, b"%d" % number * 100, [])
        assert list(replacement.take()) == []
    replacement.begin(0)
    assert list(replacement.take()) == []
    assert one.leave(1, b"hello", [1])
    assert list(replacement.take()) == [(1, b"hello")]


def test_nothing_is_read_of_a_process_that_knows_its_reader_no_longer(memory: mmap.mmap) -> None:
    one, other = news_of(memory, 2)
    assert one.leave(1, b"before", [1])
    other.end(0)
    for _ in range(10):
        assert one.leave(1, bytes(100_000), [])
    assert list(other.take()) == []
    other.begin(0)
    assert one.leave(1, b"after", [1])
    assert list(other.take()) == [(1, b"after")]


def test_what_is_too_large_is_not_left(memory: mmap.mmap) -> None:
    one, other = news_of(memory, 2)
    assert not one.leave(1, bytes(1 << 20), [])
    assert one.leave(1, b"small", [1])
    assert list(other.take()) == [(1, b"small")]


def test_what_is_not_seen_whole_yet_is_read_once_it_is(memory: mmap.mmap) -> None:
    one, other = news_of(memory, 2)
    # The ring has been filled once, so that what was there before is whole, too, where the next begin.
    size = 1_024 - _HEAD.size
    for _ in range(_RING // 1_024):
        assert one.leave(1, b"o" * size, [1])
        assert len(list(other.take())) == 1
    before = memory[:]
    assert one.leave(2, b"n" * size, [1])
    assert one.leave(3, b"and more", [1])
    after = memory[:]
    for seen in range(1, 1_024, 100):
        at = after.index(b"n" * size) - _HEAD.size + seen
        memory[at : at + 1_024] = before[at : at + 1_024]
        assert list(other.take()) == []
        memory[at : at + 1_024] = after[at : at + 1_024]
    assert list(other.take()) == [(2, b"n" * size), (3, b"and more")]
