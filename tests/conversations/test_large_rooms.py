"""A room with many members is joined, read at once, and completed within bounds.

`TRICORD_TEST_MEMBERS=50000 pytest -s tests/conversations/test_large_rooms.py` shows what it takes of a larger one.
"""

from __future__ import annotations

import contextlib
import gc
import os
import time
from pathlib import Path
from urllib.parse import unquote

import orjson
import trio

from tests.conversations.hostile import Room, peer
from tests.conversations.network import Network
from tests.conversations.towns import towns
from tests.federation.web import Seen
from tests.postgres import PostgresServer
from tricord.clients import Client
from tricord.clients.errors import ClientError
from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import EventId

_MEMBERS = int(os.environ.get("TRICORD_TEST_MEMBERS", "2000"))
_PATIENCE_SECONDS = 60 + _MEMBERS / 50
# What a member may take while the room is completed: its event as it came, as it is understood, and as it is written.
_KIB_A_MEMBER = 12
_BASE_KIB = 48 << 10
_STATM = Path("/proc/self/statm")


def _memory_kib() -> int:
    return int(_STATM.read_text().split()[1]) * 4 if _STATM.exists() else 0


async def _found(person: Client, term: str) -> list[str]:
    return [one.user_id for one in (await person.search_users(term)).results]


async def test_a_room_with_many_members_is_joined(postgres: PostgresServer, tmp_path: Path) -> None:
    network = Network()
    async with peer("big.test", network) as big, towns(postgres, tmp_path, network, hs=["xenia"]) as (town,):
        room: Room = big.found("11", big.user("mallory"))
        base = [event.pdu for event in room.state.values()]
        vouching = [room.state[key, ""].event_id for key in ("m.room.create", "m.room.power_levels")]
        rules, last = room.state["m.room.join_rules", ""].event_id, room.ends[-1]
        members = []
        for number in range(_MEMBERS):
            user = big.user(f"user{number}")
            named = {"membership": "join", "displayname": f"User number {number}"}
            auth = [*vouching, rules]
            members.append(
                big.event(room, user, "m.room.member", named, state_key=user, after=[last.event_id], auth=auth)
            )
        said: list[VerifiedEvent] = []
        for number in range(30):
            before = said[-1] if said else members[-1]
            member = members[number]
            auth = [*vouching, member.event_id]
            said.append(big.says(room, member.sender, f"hello {number}", after=[before.event_id], auth=auth))
        room.ends = [said[-1]]
        state = orjson.dumps({"pdus": base + [member.pdu for member in members], "auth_chain": base})
        single = {member.event_id: member.pdu for member in members[: len(said)]}
        del members
        gc.collect()
        may_tell = trio.Event()

        async def whole_state(_seen: Seen) -> bytes:
            await may_tell.wait()
            return state

        big.welcomes(room, members_omitted=True, servers_in_room=["big.test"], state=base, auth_chain=[])
        big.answers("GET .*/state/", whole_state)
        big.answers("GET .*/backfill/", {"pdus": [event.pdu for event in reversed(said)]})
        big.answers("GET .*/event/", lambda seen: {"pdus": [single[EventId(unquote(seen.target.rpartition("/")[2]))]]})
        start, used, most = time.monotonic(), time.process_time(), _memory_kib()
        first = most

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, _memory_kib())
                await trio.sleep(0.02)

        with trio.fail_after(_PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await town["xenia"].join(room.room_id, via=["big.test"])
                page = await town["xenia"].messages(room.room_id, limit=20)
                assert [event["type"] for event in page.chunk].count("m.room.message") >= 15
                readable = time.monotonic() - start
                may_tell.set()
                joined: set[str] = set()
                while len(joined) != _MEMBERS + 2:
                    with contextlib.suppress(ClientError):  # it takes longer than a request may
                        joined = set(await town["xenia"].joined_members(room.room_id))
                last_one = big.user(f"user{_MEMBERS - 1}")
                while last_one not in await _found(town["xenia"], f"number {_MEMBERS - 1}"):  # noqa: ASYNC110
                    await trio.sleep(0.1)  # the directory follows
                nursery.cancel_scope.cancel()
        print(
            f"{_MEMBERS} members, {len(state) >> 20} MiB of state: readable after {readable:.2f} s, complete after "
            f"{time.monotonic() - start:.2f} s ({time.process_time() - used:.1f} s of CPU, with the peer's), "
            f"{(most - first) >> 10} MiB more memory at most"
        )
        assert most - first < _BASE_KIB + _MEMBERS * _KIB_A_MEMBER
