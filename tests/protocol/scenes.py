"""Rooms for tests of the rules: signed events of any version, and the state they lead to."""

from __future__ import annotations

from typing import Any

from tricord.protocol.authorization import auth_event_keys, authorize, check_auth_events
from tricord.protocol.events import Event, VerifiedEvent, build_event
from tricord.protocol.identifiers import EventId, RoomId, UserId, server_name_of
from tricord.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from tricord.protocol.signing import SigningKey

KEY = SigningKey.parse("ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
ALICE = UserId("@alice:a.test")
BOB = UserId("@bob:b.test")
CAROL = UserId("@carol:c.test")

ALL_VERSIONS = list(ROOM_VERSIONS.values())


def versions(capability: str) -> list[RoomVersion]:
    """Return the versions that have a capability."""
    return [version for version in ALL_VERSIONS if getattr(version, capability)]


class Room:
    """A room that Alice made and joined. Events go on top of each other if the rules allow them."""

    def __init__(self, version: RoomVersion, create_content: dict[str, Any] | None = None) -> None:
        self.version = version
        self.room_id = None if version.room_id_is_create_event_id else RoomId("!room:a.test")
        self.state: dict[tuple[str, str], Event] = {}
        self.tip: tuple[EventId, ...] = ()
        creator = {"creator": ALICE} if version.create_content_names_creator else {}
        create = self.add(
            ALICE, "m.room.create", "", {**creator, "room_version": version.name, **(create_content or {})}
        )
        self.room_id = create.room_id
        self.join(ALICE)

    def event(
        self, sender: UserId, event_type: str, state_key: str | None, content: dict[str, Any], **more: Any
    ) -> VerifiedEvent:
        """Build an event on top of the room as it is."""
        keys = auth_event_keys(event_type, sender, state_key, content, self.version)
        return build_event(
            **{
                "version": self.version,
                "room_id": self.room_id,
                "sender": sender,
                "type": event_type,
                "state_key": state_key,
                "content": content,
                "origin_server_ts": 1_700_000_000_000,
                "depth": len(self.state) + 1,
                "prev_events": self.tip,
                "auth_events": [self.state[key].event_id for key in keys if key in self.state],
                "server_name": server_name_of(sender),
                "key": KEY,
                **more,
            }
        )

    def authorize(self, event: Event) -> None:
        """Judge an event by its auth events and by the state of the room."""
        keys = auth_event_keys(event.type, event.sender, event.state_key, event.content, self.version)
        check_auth_events(event, [self.state[key] for key in keys if key in self.state])
        authorize(event, self.state)

    def add(
        self, sender: UserId, event_type: str, state_key: str | None, content: dict[str, Any], **more: Any
    ) -> VerifiedEvent:
        """Build an event, let the rules judge it, and make it part of the room."""
        event = self.event(sender, event_type, state_key, content, **more)
        self.authorize(event)
        self.tip = (event.event_id,)
        if event.state_key is not None:
            self.state[event.type, event.state_key] = event
        return event

    def join(self, user_id: UserId, **content: Any) -> VerifiedEvent:
        """Let a user join."""
        return self.add(user_id, "m.room.member", user_id, {"membership": "join", **content})

    def member(self, sender: UserId, target: UserId, membership: str, **content: Any) -> VerifiedEvent:
        """Let a user set the membership of another."""
        return self.add(sender, "m.room.member", target, {"membership": membership, **content})

    def join_rule(self, rule: str) -> VerifiedEvent:
        """Let Alice set the join rule."""
        return self.add(ALICE, "m.room.join_rules", "", {"join_rule": rule})

    def levels(self, sender: UserId = ALICE, **content: Any) -> VerifiedEvent:
        """Let a user set the power levels."""
        return self.add(sender, "m.room.power_levels", "", content)

    def say(self, sender: UserId) -> VerifiedEvent:
        """Let a user send a message."""
        return self.add(sender, "m.room.message", None, {"body": "hello"})
