"""What a new room starts with."""

from __future__ import annotations

import pytest

from tricord.homeserver.rooms.presets import PRESETS, power_levels
from tricord.protocol.identifiers import UserId
from tricord.protocol.room_versions import room_version

ALICE = UserId("@alice:hs.test")
BOB = UserId("@bob:hs.test")


def test_creators_are_listed_only_where_the_version_gives_them_no_infinite_power() -> None:
    preset = PRESETS["private_chat"]
    assert power_levels(preset, room_version("11"), ALICE, [], {})["users"] == {ALICE: 100}
    assert power_levels(preset, room_version("12"), ALICE, [], {})["users"] == {}


def test_trusted_invitees_are_as_high_as_the_creator() -> None:
    levels = power_levels(PRESETS["trusted_private_chat"], room_version("11"), ALICE, [BOB], {})
    assert levels["users"] == {ALICE: 100, BOB: 100}


@pytest.mark.parametrize("override", [{}, {"events": {"m.room.name": 0}}, {"state_default": 60}])
def test_in_version_12_replacing_the_room_needs_more_than_other_state(override: dict[str, object]) -> None:
    levels = power_levels(PRESETS["public_chat"], room_version("12"), ALICE, [], override)
    assert levels["events"]["m.room.tombstone"] == 150


def test_the_override_lies_on_top_of_the_preset() -> None:
    levels = power_levels(PRESETS["private_chat"], room_version("11"), ALICE, [], {"invite": 75, "x": 1})
    assert (levels["invite"], levels["x"], levels["ban"]) == (75, 1, 50)
