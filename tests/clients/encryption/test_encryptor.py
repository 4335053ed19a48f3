"""The encryption of a client, where answers and syncs cross."""

from __future__ import annotations

from typing import Any

from tricord.clients.encryption.encryptor import Encryption, Encryptor
from tricord.clients.errors import Refused
from tricord.protocol.identifiers import DeviceId, RoomId, UserId

ROOM, ALICE = RoomId("!room:hs"), UserId("@alice:hs")


async def test_a_room_that_becomes_encrypted_while_we_ask_whether_it_is_counts_as_encrypted() -> None:
    event = {
        "type": "m.room.encryption",
        "state_key": "",
        "sender": ALICE,
        "event_id": "$encryption",
        "origin_server_ts": 1,
        "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    }
    sync = {"rooms": {"join": {ROOM: {"timeline": {"events": [event]}}}}}

    class Http:
        async def call(self, *_: Any) -> Any:
            encryptor.machine.receive(sync, since="s1", position="s2", members_are_complete=True)
            raise Refused(404, {"errcode": "M_NOT_FOUND", "error": "it was not encrypted when this was looked up"})

    http: Any = Http()
    encryptor = Encryptor(Encryption(store=None), http, lambda: (ALICE, DeviceId("PHONE")))
    assert await encryptor.is_encrypted(ROOM)
