from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.protocol.identifiers import ServerName
from tricord.protocol.server_acl import ServerAcl


def allows(content: dict[str, Any], server_name: str) -> bool:
    return ServerAcl(content).allows(ServerName(server_name))


def test_the_example_of_the_specification_lets_in_whom_it_should() -> None:
    acl = ServerAcl({"allow": ["*"], "deny": ["*.evil.com", "evil.com"], "allow_ip_literals": False})
    for name in ("example.org", "notevil.com", "evil.com.example.org"):
        assert acl.allows(ServerName(name))
        assert acl.allows(ServerName(f"{name}:8448"))
    for name in ("evil.com", "EVIL.com", "a.Evil.Com", "evil.com:443", "1.2.3.4", "1.2.3.4:8448", "[::1]", "[::1]:80"):
        assert not acl.allows(ServerName(name))


def test_who_is_both_allowed_and_denied_is_denied() -> None:
    assert not allows({"allow": ["a.test"], "deny": ["a.*"]}, "a.test")


def test_who_is_neither_is_denied() -> None:
    assert not allows({"allow": ["a.test"]}, "b.test")
    assert not allows({}, "a.test")


@pytest.mark.parametrize("value", [True, None, "false", 0, []], ids=repr)
def test_only_false_forbids_addresses(value: Any) -> None:
    assert allows({"allow": ["*"], "allow_ip_literals": value}, "1.2.3.4")


def test_addresses_may_be_listed_as_names_are() -> None:
    assert not allows({"allow": ["*"], "deny": ["10.*"]}, "10.0.0.1:8448")
    assert not allows({"allow": ["*"], "deny": ["[fe80:*]"]}, "[fe80::1]")
    assert allows({"allow": ["[fe80:*]"]}, "[fe80::1]:1")


def test_question_marks_are_for_one_character() -> None:
    assert allows({"allow": ["a?.test"]}, "a1.test")
    assert not allows({"allow": ["a?.test"]}, "a.test")


@pytest.mark.parametrize("value", [None, "*", {"*": True}, 5], ids=repr)
def test_what_is_no_list_is_empty(value: Any) -> None:
    assert not allows({"allow": value}, "a.test")
    assert allows({"allow": ["*", 5, None], "deny": value}, "a.test")


json = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)


@given(st.dictionaries(st.sampled_from(["allow", "deny", "allow_ip_literals"]), json), st.text(max_size=10))
def test_any_content_gives_an_answer(content: dict[str, Any], server_name: str) -> None:
    acl = ServerAcl(content)
    assert acl.allows(ServerName(server_name)) == acl.allows(ServerName(server_name))
