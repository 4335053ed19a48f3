"""Policy lists, as soon as they are changed."""

from __future__ import annotations

import pytest

from tests.homeserver.rooms.foreign import ZOE
from tests.homeserver.rooms.house import ALICE, SERVER, opened_house
from tricord.homeserver.moderation.policy_lists import PolicyLists
from tricord.homeserver.storage.stream import take_positions
from tricord.protocol.errors import Forbidden


async def test_a_rule_holds_once_it_is_said_though_an_earlier_commit_is_not_published_yet(database_url: str) -> None:
    async with opened_house(database_url) as house:
        room_id = await house.create()
        lists = PolicyLists([room_id], SERVER, house.state, house.publisher)
        await lists.check_invitation(ALICE, ZOE, None)
        await house.database.run(take_positions, 1)
        ban = {"entity": ZOE, "recommendation": "m.ban", "reason": "spam"}
        await house.set(room_id, "m.policy.rule.user", "zoe", ban)
        with pytest.raises(Forbidden):
            await lists.check_invitation(ALICE, ZOE, None)
