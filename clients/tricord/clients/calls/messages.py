"""Sending into a room, and reading its history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tricord.clients.api import messages as api
from tricord.clients.api import search
from tricord.clients.calls.base import Calls, given, new_transaction_id
from tricord.protocol.identifiers import EventId, RoomId


class MessageCalls(Calls):
    """Messages, reactions, edits, redactions; pages of history."""

    async def send(
        self, room_id: RoomId, event_type: str, content: dict[str, Any], *, transaction_id: str | None = None
    ) -> EventId:
        """Send an event of any type; the same `transaction_id` sent again from this device gives the same event.

        https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
        """
        path = {"room_id": room_id, "event_type": event_type, "txn_id": transaction_id or new_transaction_id()}
        return (await self.http.typed(api.SendMessage, api.EventIdResponse, path, body=content)).event_id

    async def send_text(self, room_id: RoomId, text: str, *, html: str | None = None, notice: bool = False) -> EventId:
        """Send a text; a `notice` is what bots say, which other bots do not answer."""
        return await self.send(room_id, "m.room.message", text_content(text, html=html, notice=notice))

    async def reply(self, room_id: RoomId, to: EventId, text: str, *, html: str | None = None) -> EventId:
        """Answer an event.

        https://spec.matrix.org/v1.19/client-server-api/#rich-replies
        """
        content = text_content(text, html=html)
        content["m.relates_to"] = {"m.in_reply_to": {"event_id": to}}
        return await self.send(room_id, "m.room.message", content)

    async def edit(self, room_id: RoomId, event_id: EventId, text: str, *, html: str | None = None) -> EventId:
        """Replace the text of our own message.

        https://spec.matrix.org/v1.19/client-server-api/#event-replacements
        """
        content = text_content(f"* {text}", html=None if html is None else f"* {html}")
        content["m.new_content"] = text_content(text, html=html)
        content["m.relates_to"] = {"rel_type": "m.replace", "event_id": event_id}
        return await self.send(room_id, "m.room.message", content)

    async def react(self, room_id: RoomId, event_id: EventId, key: str) -> EventId:
        """React to an event, usually with an emoji.

        https://spec.matrix.org/v1.19/client-server-api/#event-annotations-and-reactions
        """
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        return await self.send(room_id, "m.reaction", {"m.relates_to": relation})

    async def redact(self, room_id: RoomId, event_id: EventId, *, reason: str | None = None) -> EventId:
        """Strip an event of its content, and return the redaction.

        https://spec.matrix.org/v1.19/client-server-api/#redactions
        """
        path = {"room_id": room_id, "event_id": event_id, "txn_id": new_transaction_id()}
        return (
            await self.http.typed(api.RedactEvent, api.EventIdResponse, path, body=given({"reason": reason}))
        ).event_id

    async def messages(
        self,
        room_id: RoomId,
        *,
        direction: api.Direction = "b",
        start: str | None = None,
        end: str | None = None,
        limit: int = 50,
        event_filter: dict[str, Any] | None = None,
    ) -> api.GetMessages.Response:
        """Read a page of history, backwards from the newest unless told otherwise; its `end` is the next `start`."""
        query = {"dir": direction, "from": start, "to": end, "limit": limit, "filter": _as_json(event_filter)}
        page = await self.http.typed(api.GetMessages, api.GetMessages.Response, {"room_id": room_id}, query=query)
        page.chunk = self.opened(room_id, page.chunk)
        return page

    async def context(
        self, room_id: RoomId, event_id: EventId, *, limit: int = 10, event_filter: dict[str, Any] | None = None
    ) -> api.GetContext.Response:
        """Read an event with at most `limit` others that came before and after it."""
        path = {"room_id": room_id, "event_id": event_id}
        query = {"limit": limit, "filter": _as_json(event_filter)}
        found = await self.http.typed(api.GetContext, api.GetContext.Response, path, query=query)
        (found.event,) = self.opened(room_id, [found.event])
        found.events_before = self.opened(room_id, found.events_before)
        found.events_after = self.opened(room_id, found.events_after)
        return found

    async def event(self, room_id: RoomId, event_id: EventId) -> dict[str, Any]:
        """Read one event."""
        (event,) = self.opened(
            room_id, [await self.http.call(api.GetEvent, {"room_id": room_id, "event_id": event_id})]
        )
        return event

    async def event_at(self, room_id: RoomId, timestamp_ms: int, *, direction: api.Direction = "f") -> EventId:
        """Return the event closest to a time, looking in one direction."""
        query = {"ts": timestamp_ms, "dir": direction}
        answer = await self.http.typed(
            api.TimestampToEvent, api.TimestampToEvent.Response, {"room_id": room_id}, query=query
        )
        return answer.event_id

    async def search(
        self,
        term: str,
        *,
        room_ids: Sequence[RoomId] | None = None,
        order: search.Order = "rank",
        start: str | None = None,
        limit: int = 10,
        **more: Any,
    ) -> dict[str, Any]:
        """Search what was said, in some rooms or in all that we are or were in.

        Return `results`, `count`, `highlights` and, if there are more, the `next_batch` to start from. `more` is what
        else the category `room_events` takes: `keys`, `event_context`, `include_state`, `groupings`.
        https://spec.matrix.org/v1.19/client-server-api/#server-side-search
        """
        chosen = given({"limit": limit, "rooms": None if room_ids is None else list(room_ids)})
        category = {"search_term": term, "order_by": order, "filter": chosen, **more}
        body = {"search_categories": {"room_events": category}}
        answer = await self.http.typed(
            search.SearchEvents, search.SearchEvents.Response, {}, query={"next_batch": start}, body=body
        )
        found: dict[str, Any] = answer.search_categories["room_events"]
        return found


def text_content(text: str, *, html: str | None = None, notice: bool = False) -> dict[str, Any]:
    """Return the content of a text message.

    https://spec.matrix.org/v1.19/client-server-api/#mtext
    """
    content: dict[str, Any] = {"msgtype": "m.notice" if notice else "m.text", "body": text}
    if html is not None:
        content |= {"format": "org.matrix.custom.html", "formatted_body": html}
    return content


def _as_json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
