"""What is remembered of push rules, where they are changed from several places at once."""

from __future__ import annotations

import pytest
import trio

from tests.homeserver.late_answers import LateAnswers
from tests.homeserver.rooms.house import ALICE
from tricord.homeserver.push.rules import PushRules
from tricord.homeserver.storage.database import Database
from tricord.homeserver.stream.publisher import Publisher


async def is_on(rules: PushRules, rule_id: str) -> bool:
    return bool((await rules.one(ALICE, "override", rule_id))["enabled"])


async def test_the_later_of_two_changes_holds_whichever_is_heard_of_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = PushRules(database, Publisher(database, 0))
    answer = LateAnswers(database, monkeypatch).next_of("write")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: rules.enable(ALICE, "override", ".m.rule.master", enabled=True))
        await answer.is_there.wait()
        await rules.enable(ALICE, "override", ".m.rule.master", enabled=False)
        answer.go.set()
    assert not await is_on(rules, ".m.rule.master")


async def test_a_change_that_another_process_has_overtaken_is_not_remembered(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(database, 0)
    rules, of_another = PushRules(database, publisher), PushRules(database, Publisher(database, 0))
    answer = LateAnswers(database, monkeypatch).next_of("write")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.run)
        async with trio.open_nursery() as changing:
            changing.start_soon(lambda: rules.enable(ALICE, "override", ".m.rule.master", enabled=True))
            await answer.is_there.wait()
            await of_another.enable(ALICE, "override", ".m.rule.master", enabled=False)
            while publisher.position < 2:
                await publisher.reach(2)
            answer.go.set()
        nursery.cancel_scope.cancel()
    assert not await is_on(rules, ".m.rule.master")
