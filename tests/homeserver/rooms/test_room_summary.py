"""The plain text of a topic."""

from __future__ import annotations

import pytest

from tricord.homeserver.rooms.room_summary import plain_topic


@pytest.mark.parametrize(
    ("content", "topic"),
    [
        ({"topic": "tea"}, "tea"),
        ({"topic": "old", "m.topic": {"m.text": [{"body": "tea"}]}}, "tea"),
        ({"m.topic": {"m.text": [{"mimetype": "text/html", "body": "<b>tea</b>"}, {"body": "tea"}]}}, "tea"),
        ({"m.topic": {"m.text": [{"mimetype": "text/html", "body": "<b>tea</b>"}]}}, None),
        ({"topic": ""}, None),
        ({"topic": 1, "m.topic": {"m.text": "tea"}}, None),
        ({"topic": "tea", "m.topic": [1]}, "tea"),
        ({}, None),
    ],
)
def test_the_first_plain_representation_is_the_topic(content: dict[str, object], topic: str | None) -> None:
    assert plain_topic(content) == topic
