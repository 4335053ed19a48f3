from __future__ import annotations

import pytest
import trio

from tricord.homeserver.together import together


class NotThere(Exception):
    pass


async def test_reads_go_on_at_the_same_time_and_answer_in_their_order() -> None:
    asked, answered = trio.Event(), trio.Event()

    async def question() -> str:
        asked.set()
        await answered.wait()
        return "question"

    async def answer() -> int:
        await asked.wait()
        answered.set()
        return 42

    with trio.fail_after(60):
        assert await together(question(), answer()) == ("question", 42)


async def test_what_fails_is_raised_as_if_it_stood_alone_and_ends_the_others() -> None:
    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise NotThere

    with trio.fail_after(60), pytest.raises(NotThere):
        await together(trio.Event().wait(), fails())


async def test_nothing_to_read_is_read_at_once() -> None:
    assert await together() == ()
