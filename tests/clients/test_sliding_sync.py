"""Sliding sync over HTTP, of the real homeserver: what is for a device comes by it too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients.either_server import real_server
from tricord.clients import Refused
from tricord.clients.api.sliding_sync import SlidingSync

WANTED: dict[str, Any] = {"to_device": {"enabled": True, "limit": 2}, "e2ee": {"enabled": True}}


async def test_messages_to_a_device_are_told_until_their_token_comes_back(database_url: str, tmp_path: Path) -> None:
    async with real_server(database_url, tmp_path) as server:
        alice = await server.user("alice")
        for number in range(3):
            messages = {alice.user_id: {alice.device_id: {"number": number}}}
            await alice.send_to_device("org.example.note", messages)
        seen = await alice.sliding_sync(extensions=WANTED)
        assert _numbers(seen) == [0, 1]
        assert _numbers(await alice.sliding_sync(pos=seen.pos, extensions=WANTED)) == [0, 1]
        token = {"since": seen.extensions["to_device"]["next_batch"]}
        wanted = {**WANTED, "to_device": {**WANTED["to_device"], **token}}
        seen = await alice.sliding_sync(pos=seen.pos, extensions=wanted, timeout_ms=30_000)
        assert _numbers(seen) == [2]
        assert _numbers(await alice.sliding_sync(extensions=WANTED, conn_id="other")) == [2]
        assert "device_one_time_keys_count" in seen.extensions["e2ee"]


async def test_a_connection_that_is_not_known_is_refused(database_url: str, tmp_path: Path) -> None:
    async with real_server(database_url, tmp_path) as server:
        alice = await server.user("alice")
        assert (await alice.versions()).unstable_features["org.matrix.simplified_msc3575"]
        with pytest.raises(Refused) as refusal:
            await alice.sliding_sync(pos="s1_1~1", timeout_ms=30_000)
        assert (refusal.value.status, refusal.value.errcode) == (400, "M_UNKNOWN_POS")


def _numbers(answer: SlidingSync.Response) -> list[int]:
    return [event["content"]["number"] for event in answer.extensions["to_device"]["events"]]
