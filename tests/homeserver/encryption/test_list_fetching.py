"""Fetching lists of devices, where one goes out of date just when the last of its server has been fetched."""

from __future__ import annotations

from typing import Any

import trio

from tests.homeserver.peers.post import arrive, hasty
from tests.homeserver.rooms.foreign import ZOE, Foreign
from tests.homeserver.rooms.house import ALICE, SERVER, opened_house
from tricord.federation.errors import PeerRefused
from tricord.homeserver.encryption.device_changes import DeviceChanges
from tricord.homeserver.encryption.remote_lists import RemoteLists
from tricord.homeserver.peers.list_fetching import ListFetching
from tricord.homeserver.storage.remote_devices import RemoteList
from tricord.protocol.identifiers import ServerName, UserId


class ForgetfulPeers:
    """Servers that know none of their users."""

    def __init__(self) -> None:
        self.sending, self.asked = trio.open_memory_channel[UserId](10)

    async def user_devices(self, server: ServerName, user_id: UserId) -> Any:
        await self.sending.send(user_id)
        raise PeerRefused(server, 404, {"errcode": "M_NOT_FOUND", "error": "there is no such user"})


class LateLists(RemoteLists):
    """Lists of which it takes long to learn that none is out of date; notes when it was asked who is to be asked."""

    is_late, go, looked = trio.Event(), trio.Event(), trio.Event()

    async def stale(self, server: ServerName, limit: int) -> tuple[list[RemoteList], int]:
        found = await super().stale(server, limit)
        if not found[0]:
            self.is_late.set()
            await self.go.wait()
        return found

    async def servers_to_ask(self) -> list[ServerName]:
        found = await super().servers_to_ask()
        self.looked.set()
        return found


async def test_a_list_that_goes_out_of_date_during_the_last_look_is_fetched(database_url: str) -> None:
    async with opened_house(database_url) as house, trio.open_nursery() as nursery:
        room_id = await house.create()
        await arrive(house, room_id, await Foreign(house, room_id).joins(ZOE))
        peers: Any = ForgetfulPeers()
        fetching = ListFetching(SERVER, peers, hasty())
        lists = LateLists(house.database, DeviceChanges(SERVER, house.publisher, house.memberships), fetching.wake)
        nursery.start_soon(fetching.run, lists)
        with trio.fail_after(60):
            await lists.begin(ALICE, [ZOE])
            assert await peers.asked.receive() == ZOE
            await lists.is_late.wait()
            lists.looked = trio.Event()
            await lists.begin(ALICE, [ZOE])
            await lists.looked.wait()
            lists.go.set()
            assert await peers.asked.receive() == ZOE
        nursery.cancel_scope.cancel()
