"""The main path: two people talk, over real sockets, through the SDK."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import running_homeserver, signed_in
from tricord.clients import Refused


@pytest.mark.parametrize("everything_by_quart", [False, True], ids=["straight", "by quart"])
async def test_two_people_talk(database_url: str, tmp_path: Path, everything_by_quart: bool) -> None:
    async with (
        running_homeserver(database_url, tmp_path, everything_by_quart=everything_by_quart) as homeserver,
        signed_in(homeserver, "alice") as alice,
        signed_in(homeserver, "bob") as bob,
    ):
        room_id = await alice.create_room(name="Tea", preset="private_chat")
        with pytest.raises(Refused) as refused:
            await bob.send_text(room_id, "May I?")
        assert (refused.value.status, refused.value.errcode) == (403, "M_FORBIDDEN")
        await alice.invite(room_id, bob.user_id)
        assert room_id in (await bob.sync())["rooms"]["invite"]
        await bob.join(room_id)
        said = await bob.send_text(room_id, "Hello")
        told = await alice.sync()
        timeline = told["rooms"]["join"][room_id]["timeline"]["events"]
        assert timeline[-1]["event_id"] == said
        assert timeline[-1]["content"]["body"] == "Hello"
