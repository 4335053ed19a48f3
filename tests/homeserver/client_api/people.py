"""Somebody who uses the server, for tests: calls endpoints as the dispatcher answers them, without a socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from tricord.homeserver.serving.call import Requester
from tricord.homeserver.serving.dispatch import Dispatcher
from tricord.protocol.identifiers import UserId


@dataclass
class Person:
    """A user on a device."""

    requester: Requester
    dispatcher: Dispatcher
    set_account_data: Callable[[str, dict[str, Any]], Awaitable[None]]
    set_profile: Callable[..., Awaitable[None]]
    sent: int = field(default=0, init=False)

    @property
    def user_id(self) -> UserId:
        return self.requester.user_id

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Call an endpoint; `path` is what comes after `/_matrix/client`."""
        status, answer = await self.dispatcher.answer(
            self.requester, method, f"/_matrix/client{path}", body or {}, client_address="127.0.0.1"
        )
        return status, orjson.loads(answer)

    async def refused(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        status, answer = await self.call(method, path, body)
        assert status >= 400, answer
        return status, answer["errcode"]

    async def get(self, path: str) -> Any:
        return await self._granted("GET", path, None)

    async def put(self, path: str, body: dict[str, Any]) -> Any:
        return await self._granted("PUT", path, body)

    async def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return await self._granted("POST", path, body)

    async def delete(self, path: str) -> Any:
        return await self._granted("DELETE", path, None)

    async def create_room(self, **wanted: Any) -> str:
        return str((await self.post("/v3/createRoom", wanted))["room_id"])

    async def join(self, room: str) -> None:
        await self.post(f"/v3/rooms/{room}/join")

    async def invite(self, room: str, person: Person) -> None:
        await self.post(f"/v3/rooms/{room}/invite", {"user_id": person.user_id})

    async def say(self, room: str, text: str, **content: Any) -> str:
        self.sent += 1
        body = {"msgtype": "m.text", "body": text, **content}
        answer = await self.put(f"/v3/rooms/{room}/send/m.room.message/{self.sent}", body)
        return str(answer["event_id"])

    async def state(self, room: str, event_type: str, state_key: str = "") -> Any:
        return await self.get(f"/v3/rooms/{room}/state/{event_type}/{state_key}")

    async def history(self, room: str, query: str = "dir=f&limit=100") -> list[str]:
        """Return what can be read of a room's messages."""
        page = await self.get(f"/v3/rooms/{room}/messages?{query}")
        return [event["content"].get("body") for event in page["chunk"] if event["type"] == "m.room.message"]

    async def _granted(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        status, answer = await self.call(method, path, body)
        assert status == 200, answer
        return answer
