"""Sending into a room: messages, state and redactions, each checked for what the log does not know."""

from __future__ import annotations

from tricord.homeserver.rooms.aliases import Aliases
from tricord.homeserver.rooms.append import ClientTransaction, Draft, Log
from tricord.homeserver.rooms.client_format import DELAYED
from tricord.homeserver.rooms.draft_checks import check_content, check_server_acl
from tricord.homeserver.rooms.membership_changes import MembershipChanges
from tricord.homeserver.rooms.redactions import check_may_redact
from tricord.homeserver.rooms.relation_checks import RelationChecks
from tricord.homeserver.rooms.standing import standing
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.serving.call import Requester
from tricord.protocol.errors import BadJson, InvalidParam, NotFound, UserSuspended
from tricord.protocol.identifiers import EventId, RoomId, parse_event_id, parse_user_id
from tricord.protocol.strict_json import JsonObject

# Clients choose them, and they are kept and told with the event.
_LONGEST_TRANSACTION_ID = 512


class Sending:
    """What users write into rooms."""

    def __init__(
        self,
        log: Log,
        state: RoomState,
        timeline: Timeline,
        membership_changes: MembershipChanges,
        aliases: Aliases,
        relation_checks: RelationChecks,
    ) -> None:
        self._log = log
        self._state = state
        self._timeline = timeline
        self._membership_changes = membership_changes
        self._aliases = aliases
        self._relation_checks = relation_checks

    async def send_message(
        self, requester: Requester, room_id: RoomId, event_type: str, content: JsonObject, transaction_id: str
    ) -> EventId:
        """Send a message event, once for each transaction id of a device."""
        transaction = _transaction(requester, f"send/{event_type}", transaction_id)
        if event_type == "m.room.redaction":
            return await self._redact(requester, room_id, content, transaction)
        if requester.is_suspended:
            raise UserSuspended(f"{requester.user_id} is suspended and may not send messages")
        check_content(event_type, None, content)
        draft = Draft(room_id, requester.user_id, event_type, None, content, transaction=transaction)
        await self._relation_checks.check(draft)
        return (await self._log.append(draft)).event.event_id

    async def redact(
        self,
        requester: Requester,
        room_id: RoomId,
        event_id: EventId,
        content: JsonObject,
        transaction_id: str,
    ) -> EventId:
        """Redact an event, once for each transaction id of a device."""
        transaction = _transaction(requester, f"redact/{event_id}", transaction_id)
        return await self._redact(requester, room_id, {**content, "redacts": event_id}, transaction)

    async def send_delayed(
        self,
        requester: Requester,
        room_id: RoomId,
        event_type: str,
        state_key: str | None,
        content: JsonObject,
        delay_id: str,
    ) -> EventId:
        """Send an event whose time has come; once, whoever tries again after a crash."""
        if state_key is None:
            return await self.send_message(requester, room_id, event_type, content, DELAYED + delay_id)
        transaction = _transaction(requester, "delayed", DELAYED + delay_id)
        return await self.set_state(requester, room_id, event_type, state_key, content, transaction)

    async def set_state(
        self,
        requester: Requester,
        room_id: RoomId,
        event_type: str,
        state_key: str,
        content: JsonObject,
        transaction: ClientTransaction | None = None,
    ) -> EventId:
        """Set a piece of state; what is set already stays the event it is."""
        is_own_membership = event_type == "m.room.member" and state_key == requester.user_id
        leaves = is_own_membership and content.get("membership") == "leave"
        if requester.is_suspended and not leaves:
            raise UserSuspended(f"{requester.user_id} is suspended and may only leave")
        check_content(event_type, state_key, content)
        check_server_acl(event_type, state_key, content, requester.user_id)
        if event_type == "m.room.member":
            return await self._membership_changes.set(requester, room_id, parse_user_id(state_key), content)
        if event_type == "m.room.canonical_alias" and state_key == "":
            await self._aliases.check_canonical(room_id, content)
        draft = Draft(room_id, requester.user_id, event_type, state_key, content, transaction=transaction)
        return (await self._log.append(draft)).event.event_id

    async def _redact(
        self, requester: Requester, room_id: RoomId, content: JsonObject, transaction: ClientTransaction
    ) -> EventId:
        """Send a redaction; `redacts` comes in the content and goes where the room's version wants it."""
        check_content("m.room.redaction", None, content)
        redacts = content.get("redacts")
        if not isinstance(redacts, str):
            raise BadJson("`redacts` does not name the event to redact")
        user_id = requester.user_id
        room = await standing(self._state, room_id, [user_id])
        room.check_joined(user_id)
        target = await self._target(room_id, parse_event_id(redacts))
        check_may_redact(room, user_id, target)
        if requester.is_suspended and target.event.sender != user_id:
            raise UserSuspended(f"{user_id} is suspended and may only redact what they said themselves")
        content = {key: value for key, value in content.items() if key != "redacts"}
        draft = Draft(
            room_id,
            user_id,
            "m.room.redaction",
            None,
            content,
            redacts=target.event.event_id,
            transaction=transaction,
        )
        return (await self._log.append(draft)).event.event_id

    async def _target(self, room_id: RoomId, event_id: EventId) -> StoredEvent:
        target = await self._timeline.event(event_id)
        if target is None or target.event.room_id != room_id:
            raise NotFound(f"there is no event {event_id} in {room_id}")
        return target


def _transaction(requester: Requester, endpoint: str, transaction_id: str) -> ClientTransaction:
    """Return what a repetition is known by: it has the same transaction id, and so the whole path, of the same device.

    https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers
    """
    if len(transaction_id) > _LONGEST_TRANSACTION_ID:
        raise InvalidParam(f"a transaction id has at most {_LONGEST_TRANSACTION_ID} characters")
    device = requester.device_id or f"session {requester.session_id}"
    return ClientTransaction(requester.user_id, device, endpoint, transaction_id)
