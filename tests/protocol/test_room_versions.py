from __future__ import annotations

from typing import Any

import pytest

from tests.protocol.scenes import versions
from tricord.protocol.errors import UnsupportedRoomVersion
from tricord.protocol.room_versions import ROOM_VERSIONS, EventIds, StateResolutionAlgorithm, room_version

SINCE = {
    "keys_must_be_valid_at_event_time": 5,
    "strict_canonical_json": 6,
    "notification_levels_are_authorized": 6,
    "knocking": 7,
    "restricted_joins": 8,
    "integer_power_levels": 10,
    "knock_restricted_joins": 10,
    "redacts_in_content": 11,
    "key_sizes_are_in_bytes": 11,
    "room_id_is_create_event_id": 12,
    "creators_have_infinite_power": 12,
}
UNTIL = {
    "references_carry_hashes": 2,
    "redactions_are_authorized": 2,
    "aliases_are_authorized": 5,
    "create_content_names_creator": 10,
}


def test_versions_are_those_of_the_specification() -> None:
    assert list(ROOM_VERSIONS) == [str(number) for number in range(1, 13)]


@pytest.mark.parametrize("capability", [*SINCE, *UNTIL])
def test_a_capability_comes_and_goes_with_its_version(capability: str) -> None:
    numbers = range(SINCE.get(capability, 1), UNTIL.get(capability, 12) + 1)
    assert [version.name for version in versions(capability)] == [str(number) for number in numbers]


def test_ids_and_resolution_change_in_steps() -> None:
    ids = {name: version.event_ids for name, version in ROOM_VERSIONS.items()}
    assert [name for name in ids if ids[name] is EventIds.CHOSEN_BY_SERVER] == ["1", "2"]
    assert [name for name in ids if ids[name] is EventIds.HASH] == ["3"]
    algorithms = {name: version.state_resolution for name, version in ROOM_VERSIONS.items()}
    assert algorithms.pop("1") is StateResolutionAlgorithm.V1
    assert algorithms.pop("12") is StateResolutionAlgorithm.V2_1
    assert set(algorithms.values()) == {StateResolutionAlgorithm.V2}


@pytest.mark.parametrize("name", ["13", "", "org.matrix.x", None, 12, ["12"]], ids=repr)
def test_other_versions_are_not_supported(name: Any) -> None:
    with pytest.raises(UnsupportedRoomVersion):
        room_version(name)
