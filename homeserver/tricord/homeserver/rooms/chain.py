"""Events built one after another on top of a room, each authorized against the state before it.

A chain is computed in memory against the head of a room. Nothing of it is real until the log has written it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import orjson

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.cached_rooms import CachedRoom
from tricord.homeserver.rooms.drafts import ClientTransaction, Draft
from tricord.homeserver.rooms.moves import Extremity
from tricord.homeserver.rooms.room_write import Link, RoomWrite
from tricord.homeserver.rooms.state_map import NodeId, Nodes, Overlay, apply
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.protocol.authorization import auth_event_keys, authorize, may_redact
from tricord.protocol.errors import EventRejected, Forbidden
from tricord.protocol.event_format import MAX_PREV_EVENTS
from tricord.protocol.events import VerifiedEvent, build_event, redacted_copy
from tricord.protocol.identifiers import EventId, ServerName
from tricord.protocol.policy_server import POLICY_TYPE, room_policy
from tricord.protocol.room_versions import RoomVersion
from tricord.protocol.signing import SigningKey

_CREATE: StateKey = ("m.room.create", "")
_POWER_LEVELS: StateKey = ("m.room.power_levels", "")
_POLICY: StateKey = (POLICY_TYPE, "")


@dataclass(frozen=True, slots=True)
class Signer:
    """In whose name events are made."""

    server_name: ServerName
    key: SigningKey
    clock: Clock


def keys_to_know(draft: Draft, version: RoomVersion) -> list[StateKey]:
    """Return which of a room's state must be known before a draft can be added."""
    keys = auth_event_keys(draft.type, draft.sender, draft.state_key, draft.content, version)
    keys += [_CREATE, _POWER_LEVELS, _POLICY]
    if draft.state_key is not None:
        keys.append((draft.type, draft.state_key))
    return keys


class Chain:
    """What is about to be appended to one room."""

    def __init__(
        self,
        room: CachedRoom,
        signer: Signer,
        redactable: Mapping[EventId, StoredEvent],
        *,
        is_ahead: bool = False,
    ) -> None:
        self.room = room
        self.is_ahead = is_ahead
        """Whether the room is only about to be like this."""
        self.links: list[Link] = []
        self.extremities: Sequence[Extremity] = room.extremities
        self.redactions: dict[EventId, EventId] = {}
        """What it redacts, by which redaction."""
        self.state_root = room.state_root
        self.nodes: dict[NodeId, bytes] = {}
        """New nodes of the room's state."""
        self._state: dict[StateKey, StoredEvent | Link] = {}
        self._signer = signer
        self._redactable = redactable

    @property
    def names_policy_server(self) -> bool:
        """Whether the room, as it is before all this, says that a policy server recommends its events."""
        stored = self.room.state.get(_POLICY)
        return stored is not None and room_policy(stored.event.content) is not None

    def add(self, drafts: Sequence[Draft], nids: Iterator[int]) -> list[StoredEvent | Link]:
        """Add events for drafts, all of them or none. State that is set already is not set again.

        Raises Forbidden if an event is not allowed, BadJson or TooLarge if there can be no such event.
        """
        if len(drafts) == 1:
            return [self._add(drafts[0], nids)]  # which changes nothing before it can no longer fail
        mark = len(self.links), self.extremities, dict(self._state), dict(self.redactions)
        try:
            return [self._add(draft, nids) for draft in drafts]
        except Exception:
            length, self.extremities, self._state, self.redactions = mark
            del self.links[length:]
            raise

    def settle_state(self, nodes: Nodes) -> None:
        """Work out the state after each event."""
        root, self.nodes = self.room.state_root, {}
        for link in self.links:
            if (key := link.key) is not None:
                root, made = apply(Overlay(self.nodes, nodes), root, {key: link.nid})
                self.nodes.update(made)
            link.state_after = root
        self.state_root = root

    def settle_redactions(self) -> None:
        """Cut down what the chain redacts of itself."""
        for link in self.links:
            because = self.redactions.get(link.event.event_id)
            if because is not None:
                link.event, link.redacted_because = redacted_copy(link.event), because

    def settled(self) -> RoomWrite:
        """Return what is to be written, once redactions and state are settled."""
        return RoomWrite(
            self.room,
            self.links,
            self.state_root,
            self.extremities,
            self.nodes,
            {key: link for link in self.links if (key := link.key) is not None},
            [
                self._redactable[target].redacted(id_)
                for target, id_ in self.redactions.items()
                if target in self._redactable
            ],
        )

    def _add(self, draft: Draft, nids: Iterator[int]) -> StoredEvent | Link:
        before = None if draft.state_key is None else self._known((draft.type, draft.state_key))
        version = self.room.version
        auth_keys = auth_event_keys(draft.type, draft.sender, draft.state_key, draft.content, version)
        auth = {key: known for key in auth_keys if (known := self._known(key)) is not None}
        previous = sorted(self.extremities, key=lambda one: one.depth)[-MAX_PREV_EVENTS:]
        event = build_event(
            version=version,
            room_id=None if draft.type == "m.room.create" and version.room_id_is_create_event_id else draft.room_id,
            sender=draft.sender,
            type=draft.type,
            state_key=draft.state_key,
            content=draft.content,
            origin_server_ts=draft.origin_server_ts or self._signer.clock.now_ms(),
            depth=previous[-1].depth + 1 if previous else 1,
            prev_events=[one.event_id for one in previous],
            auth_events=[known.event.event_id for known in auth.values()],
            redacts=draft.redacts,
            server_name=self._signer.server_name,
            key=self._signer.key,
        )
        self._authorize(event, auth)
        if before is not None and _sets_the_same(before.event, event):
            return before
        link = Link(
            event,
            next(nids),
            tuple(one.nid for one in previous),
            tuple(known.nid for known in auth.values()),
            None if before is None else before.event.event_id,
            draft=draft,
            forward=True,
        )
        if event.redacts is not None and self._may_redact(event):
            self.redactions[event.redacts] = event.event_id
        self.links.append(link)
        rest = [one for one in self.extremities if one not in previous]
        self.extremities = (*rest, Extremity(event.event_id, link.nid, event.depth))
        if (key := link.key) is not None:
            self._state[key] = link
        return link

    def _known(self, key: StateKey) -> StoredEvent | Link | None:
        return self._state.get(key) or self.room.state.get(key)

    def _authorize(self, event: VerifiedEvent, auth: Mapping[StateKey, StoredEvent | Link]) -> None:
        state = {key: known.event for key, known in auth.items()}
        if (create := self._known(_CREATE)) is not None:
            state[_CREATE] = create.event
        try:
            authorize(event, state)
        except EventRejected as reason:
            raise Forbidden(str(reason)) from reason

    def _may_redact(self, redaction: VerifiedEvent) -> bool:
        """Return whether a redaction takes effect now. On an event that is not here yet it will when that comes."""
        candidates: list[StoredEvent | Link] = [*self._redactable.values(), *self.links]
        target = next((one for one in candidates if one.event.event_id == redaction.redacts), None)
        state = {key: known.event for key in (_CREATE, _POWER_LEVELS) if (known := self._known(key)) is not None}
        return target is not None and may_redact(redaction, target.event, state)


def transaction_digest(draft: Draft) -> bytes | None:
    """Return what stands for a draft's client transaction in the database."""
    if draft.transaction is None:
        return None
    return _digest_of(draft.transaction, draft.room_id)


def _digest_of(transaction: ClientTransaction, room_id: str) -> bytes:
    parts = (
        transaction.user_id,
        transaction.device_id,
        transaction.endpoint,
        room_id,
        transaction.transaction_id,
    )
    # As JSON, so that no two different requests are written the same way.
    return blake2b(orjson.dumps(parts), digest_size=16).digest()


def _sets_the_same(before: VerifiedEvent, event: VerifiedEvent) -> bool:
    # Not `==` on the contents: to Python, True is 1.
    return before.sender == event.sender and _encoded(before) == _encoded(event)


def _encoded(event: VerifiedEvent) -> bytes:
    return orjson.dumps(event.content, option=orjson.OPT_SORT_KEYS)
