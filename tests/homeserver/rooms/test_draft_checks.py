"""What clients may put into events."""

from __future__ import annotations

from typing import Any

import pytest

from tricord.homeserver.rooms.draft_checks import check_server_acl
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import UserId

_ALICE = UserId("@alice:north.test:8448")
_SHUT_OUT: tuple[dict[str, Any], ...] = (
    {},
    {"allow": []},
    {"allow": ["south.test"]},
    {"allow": ["*"], "deny": ["NORTH.test"]},
    {"allow": ["*"], "deny": ["*.test"]},
    {"allow": "*"},
)


@pytest.mark.parametrize("content", _SHUT_OUT)
def test_nobody_shuts_out_their_own_server(content: dict[str, Any]) -> None:
    with pytest.raises(InvalidParam, match="shuts out north"):
        check_server_acl("m.room.server_acl", "", content, _ALICE)


@pytest.mark.parametrize("content", [{"allow": ["*"]}, {"allow": ["north.*"], "deny": ["south.test", 7]}])
def test_other_servers_are_shut_out(content: dict[str, Any]) -> None:
    check_server_acl("m.room.server_acl", "", content, _ALICE)


def test_what_is_no_access_list_may_say_anything() -> None:
    check_server_acl("m.room.server_acl", "elsewhere", {}, _ALICE)
    check_server_acl("m.room.server_acl", None, {}, _ALICE)
    check_server_acl("org.example.server_acl", "", {}, _ALICE)
