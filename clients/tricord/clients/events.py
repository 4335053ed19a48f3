"""Events as bots meet them: typed where the type is known, whole where it is not.

Nothing foreign is trusted to have its shape: a key of the wrong type reads as absent, and never stops a sync.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias, TypeVar

from tricord.clients.calls.messages import text_content
from tricord.clients.context import EventContext, Sender
from tricord.clients.encryption.errors import CannotDecrypt
from tricord.clients.encryption.megolm import Decrypted
from tricord.clients.encryption.opened import ClosedEvent, OpenedEvent
from tricord.protocol.identifiers import EventId, RoomId, UserId

T = TypeVar("T")
# A class as an argument; inside the events, `type` is the event's.
Kind: TypeAlias = type[T]


@dataclass(frozen=True, slots=True)
class RoomEvent:
    """An event in a room we are joined to. `source` is the event as the homeserver gave it, opened if it was encrypted.

    `decrypted` says who encrypted it, and how sure that is: None for what came in clear. An event that cannot be
    decrypted is of the type `m.room.encrypted`, and `closed` says why.
    """

    # The event type this class stands for; of several classes for one type, `matches` decides.
    event_type: ClassVar[str] = ""

    room_id: RoomId
    event_id: EventId
    sender: UserId
    type: str
    content: dict[str, Any]
    origin_server_ts: int
    state_key: str | None
    source: dict[str, Any]
    context: EventContext = field(repr=False, compare=False)

    async def send(self, event_type: str, content: dict[str, Any]) -> EventId:
        """Send an event of any type into the room, once however often this event is handled."""
        return await self.context.send(self.room_id, event_type, content)

    async def reply(self, text: str, *, html: str | None = None, notice: bool = True) -> EventId:
        """Answer this event with a text, in its thread if it is in one; a notice, so that no other bot answers back.

        https://spec.matrix.org/v1.19/client-server-api/#rich-replies
        """
        content = text_content(text, html=html, notice=notice)
        relation: dict[str, Any] = {"m.in_reply_to": {"event_id": self.event_id}}
        thread = self.relates_to("m.thread")
        if thread is not None:
            # https://spec.matrix.org/v1.19/client-server-api/#replies-within-threads
            relation |= {"rel_type": "m.thread", "event_id": thread, "is_falling_back": False}
        content["m.relates_to"] = relation
        return await self.send("m.room.message", content)

    async def react(self, key: str) -> EventId:
        """React to this event, usually with an emoji."""
        relation = {"rel_type": "m.annotation", "event_id": self.event_id, "key": key}
        return await self.send("m.reaction", {"m.relates_to": relation})

    @property
    def decrypted(self) -> Decrypted | None:
        """What is known of who encrypted it."""
        return self.source.decrypted if isinstance(self.source, OpenedEvent) else None

    @property
    def closed(self) -> CannotDecrypt | None:
        """Why it cannot be decrypted."""
        return self.source.reason if isinstance(self.source, ClosedEvent) else None

    @property
    def relation(self) -> dict[str, Any]:
        """How this event relates to another; empty if it does not."""
        relation: dict[str, Any] | None = self.get("m.relates_to", dict)
        return relation or {}

    def relates_to(self, rel_type: str) -> EventId | None:
        """Return the event this one relates to in the given way, if it does."""
        relation = self.relation
        if relation.get("rel_type") != rel_type:
            return None
        target = relation.get("event_id")
        return EventId(target) if isinstance(target, str) else None

    def get(self, key: str, kind: Kind[T]) -> T | None:
        """Return a key of the content if it has the given type."""
        value = self.content.get(key)
        return value if isinstance(value, kind) else None


@dataclass(frozen=True, slots=True)
class Message(RoomEvent):
    """Something that somebody said.

    https://spec.matrix.org/v1.19/client-server-api/#mroommessage
    """

    event_type: ClassVar[str] = "m.room.message"

    @property
    def text(self) -> str:
        """The words, as plain text."""
        return self.get("body", str) or ""

    @property
    def html(self) -> str | None:
        """The words as HTML, if they came so. Foreign: sanitize before showing."""
        return self.get("formatted_body", str)

    @property
    def message_type(self) -> str:
        """The kind of message: `m.text`, `m.notice`, `m.image` and so on."""
        return self.get("msgtype", str) or ""

    @property
    def replaces(self) -> EventId | None:
        """The message this one is an edit of."""
        return self.relates_to("m.replace")

    @property
    def in_reply_to(self) -> EventId | None:
        """The event this one answers."""
        answered = self.relation.get("m.in_reply_to")
        target = answered.get("event_id") if isinstance(answered, dict) else None
        return EventId(target) if isinstance(target, str) else None


@dataclass(frozen=True, slots=True)
class Reaction(RoomEvent):
    """An annotation of another event, usually an emoji.

    https://spec.matrix.org/v1.19/client-server-api/#mreaction
    """

    event_type: ClassVar[str] = "m.reaction"

    @property
    def target(self) -> EventId | None:
        """The event reacted to."""
        return self.relates_to("m.annotation")

    @property
    def key(self) -> str:
        """What the reaction says."""
        key = self.relation.get("key")
        return key if isinstance(key, str) else ""


@dataclass(frozen=True, slots=True)
class Member(RoomEvent):
    """A change of somebody's membership or name in the room.

    https://spec.matrix.org/v1.19/client-server-api/#mroommember
    """

    event_type: ClassVar[str] = "m.room.member"

    @property
    def user_id(self) -> UserId:
        """Whose membership it is."""
        return UserId(self.state_key or "")

    @property
    def membership(self) -> str:
        """`join`, `invite`, `leave`, `ban` or `knock`."""
        return self.get("membership", str) or ""

    @property
    def display_name(self) -> str | None:
        """The name the user goes by in the room."""
        return self.get("displayname", str)


@dataclass(frozen=True, slots=True)
class Redaction(RoomEvent):
    """The stripping of another event.

    https://spec.matrix.org/v1.19/client-server-api/#mroomredaction
    """

    event_type: ClassVar[str] = "m.room.redaction"

    @property
    def target(self) -> EventId | None:
        """The event that was stripped; its place depends on the room version."""
        target = self.content.get("redacts", self.source.get("redacts"))
        return EventId(target) if isinstance(target, str) else None


@dataclass(frozen=True, slots=True)
class Invitation:
    """We were invited; `state` is what the inviting server shows of the room, none of it verified."""

    room_id: RoomId
    sender: UserId | None
    state: tuple[dict[str, Any], ...]


_CLASSES: dict[str, type[RoomEvent]] = {kind.event_type: kind for kind in (Message, Reaction, Member, Redaction)}


def typed_event(room_id: RoomId, source: Any, sender_of_answers: Sender) -> RoomEvent | None:
    """Return the event as the class of its type, or None for what is not an event at all."""
    if not isinstance(source, dict):
        return None
    event_id, sender, event_type = source.get("event_id"), source.get("sender"), source.get("type")
    content, state_key = source.get("content"), source.get("state_key")
    if not (isinstance(event_id, str) and isinstance(sender, str) and isinstance(event_type, str)):
        return None
    timestamp = source.get("origin_server_ts")
    return _CLASSES.get(event_type, RoomEvent)(
        room_id=room_id,
        event_id=EventId(event_id),
        sender=UserId(sender),
        type=event_type,
        content=content if isinstance(content, dict) else {},
        origin_server_ts=timestamp if isinstance(timestamp, int) else 0,
        state_key=state_key if isinstance(state_key, str) else None,
        source=source,
        context=EventContext(sender_of_answers, EventId(event_id)),
    )


def invitation(room_id: RoomId, user_id: UserId, state: Any) -> Invitation:
    """Return the invitation that a sync tells of; `state` is its stripped state."""
    events = tuple(event for event in state if isinstance(event, dict)) if isinstance(state, list) else ()
    for event in events:
        if event.get("type") == "m.room.member" and event.get("state_key") == user_id:
            sender = event.get("sender")
            return Invitation(room_id, UserId(sender) if isinstance(sender, str) else None, events)
    return Invitation(room_id, None, events)
