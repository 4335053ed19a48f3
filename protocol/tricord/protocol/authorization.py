"""The authorization rules: whether an event may be part of a room, given the state before it.

Every event is judged by these rules, by every server and in the same way, whether it was made here or elsewhere: where
two servers disagree, the room falls apart. `RuleBroken` says which rule of the room version's text refused.

https://spec.matrix.org/v1.19/rooms/v12/#authorisation-rules
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cache

from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId, UserId, is_valid_user_id, server_name_of
from tricord.protocol.membership_rules import membership_rules
from tricord.protocol.numbered_rules import (
    CREATE,
    JOIN_RULES,
    POWER_LEVELS,
    Case,
    NumberedRules,
    RuleBroken,
    StateKey,
    allow,
    included,
)
from tricord.protocol.power_level_rules import power_level_rules
from tricord.protocol.power_levels import PowerLevels
from tricord.protocol.room_versions import RoomVersion, is_room_version
from tricord.protocol.strict_json import JsonObject


def authorize(event: Event, state: Mapping[StateKey, Event]) -> None:
    """Check an event against the state before it; raise RuleBroken if it may not be in the room.

    `state` may also be what the event's own `auth_events` stand for. The create event must always be in it, in
    versions too where no event names it.
    """
    rules_of(event.version)(Case(event, state))


def check_auth_events(event: Event, auth_events: Iterable[Event], rejected: Collection[EventId] = ()) -> None:
    """Check that an event names the right `auth_events`; raise RuleBroken if not.

    `rejected` are those of them that were refused themselves. What the right ones say about the event is for
    `authorize` to judge. Create events are judged by rule 1 alone, which does not look at what they name.
    """
    if event.type == "m.room.create":
        return
    try:
        _check_selection(event, auth_events, rejected)
    except RuleBroken as broken:
        broken.is_below(rules_of(event.version).number_of(_auth_events_are_of_the_room))
        raise


def auth_event_keys(
    event_type: str, sender: UserId, state_key: str | None, content: JsonObject, version: RoomVersion
) -> list[StateKey]:
    """Return which pieces of the room's state an event must name as its `auth_events`, where they are set.

    https://spec.matrix.org/v1.19/server-server-api/#auth-events-selection
    """
    if event_type == "m.room.create":
        return []
    keys = [] if version.room_id_is_create_event_id else [CREATE]
    keys += [POWER_LEVELS, ("m.room.member", sender)]
    if event_type == "m.room.member" and state_key is not None:
        if state_key != sender:
            keys.append(("m.room.member", state_key))
        keys += _membership_keys(content, version, {sender, state_key})
    return keys


def may_redact(redaction: Event, target: Event, state: Mapping[StateKey, Event]) -> bool:
    """Return whether an accepted redaction takes effect on the event that it names.

    https://spec.matrix.org/v1.19/rooms/v11/#handling-redactions
    """
    if redaction.room_id != target.room_id or target.type == "m.room.create":
        return False  # without the content of its create event, the room of an older version would lose its rules
    if redaction.version.redactions_are_authorized:
        return True
    power = PowerLevels(state[CREATE], state.get(POWER_LEVELS))
    return power.of_user(redaction.sender) >= power.redact or server_name_of(redaction.sender) == server_name_of(
        target.sender
    )


@cache
def rules_of(version: RoomVersion) -> NumberedRules:
    """Return the rules of a room version, in the order of its text."""
    return NumberedRules(
        _create,
        *included(_room_was_created, when=version.room_id_is_create_event_id),
        _auth_events_are_of_the_room,
        _sender_may_federate,
        *included(_aliases, when=version.aliases_are_authorized),
        membership_rules(version),
        _sender_is_joined,
        _third_party_invite,
        _sender_has_the_power,
        _state_of_users_is_their_own,
        power_level_rules(version),
        *included(_redaction, when=version.redactions_are_authorized),
        allow,
    )


def _create(case: Case) -> bool:
    event, content = case.event, case.event.content
    if event.type != "m.room.create":
        return False
    if event.state_key != "":
        raise RuleBroken("the state key of a create event is empty")
    if event.prev_events:
        raise RuleBroken("a create event has no events before it", 1)
    if event.version.room_id_is_create_event_id:
        if "room_id" in event.pdu:
            raise RuleBroken("a create event bears no room id: it gives it", 2)
    elif server_name_of(event.room_id) != server_name_of(event.sender):
        raise RuleBroken(f"{event.sender} cannot create a room in the name of another server", 2)
    if "room_version" in content and not is_room_version(content["room_version"]):
        raise RuleBroken(f"the room version {content['room_version']!r} is not known", 3)
    if event.version.create_content_names_creator and "creator" not in content:
        raise RuleBroken("the content names no creator", 4)
    if event.version.creators_have_infinite_power and "additional_creators" in content:
        creators = content["additional_creators"]
        if not isinstance(creators, list) or not all(map(is_valid_user_id, creators)):
            raise RuleBroken("`additional_creators` is not an array of user ids", 4)
    return True


def _room_was_created(case: Case) -> bool:
    create = case.state.get(CREATE)
    if create is None or case.event.room_id[1:] != create.event_id[1:]:
        raise RuleBroken(f"{case.event.room_id} is not the id of an accepted create event")
    return False


def _auth_events_are_of_the_room(case: Case) -> bool:
    """Check of the auth events what the state shows; `check_auth_events` sees the rest."""
    create = case.state.get(CREATE)
    if create is None:
        raise RuleBroken("there is no create event", 4)
    if create.room_id != case.event.room_id:
        raise RuleBroken(f"the create event is of {create.room_id}, not of {case.event.room_id}", 5)
    return False


def _check_selection(event: Event, auth_events: Iterable[Event], rejected: Collection[EventId]) -> None:
    selected = set(auth_event_keys(event.type, event.sender, event.state_key, event.content, event.version))
    seen: set[StateKey] = set()
    for auth_event in auth_events:
        if auth_event.state_key is None:
            raise RuleBroken(f"auth event {auth_event.event_id} is not state", 2)
        key = (auth_event.type, auth_event.state_key)
        if key in seen:
            raise RuleBroken(f"there are two auth events for {key}", 1)
        if key not in selected:
            raise RuleBroken(f"{key} does not authorize this event", 2)
        if auth_event.event_id in rejected:
            raise RuleBroken(f"auth event {auth_event.event_id} was rejected", 3)
        if auth_event.room_id != event.room_id:
            raise RuleBroken(f"auth event {auth_event.event_id} is not in {event.room_id}", 5)
        seen.add(key)
    if CREATE in selected and CREATE not in seen:
        raise RuleBroken("there is no create event", 4)


def _membership_keys(content: JsonObject, version: RoomVersion, present: set[str]) -> list[StateKey]:
    """Return what a membership needs beyond the members themselves."""
    keys: list[StateKey] = []
    membership = content.get("membership")
    if membership in ("join", "invite", "knock"):
        keys.append(JOIN_RULES)
    if membership == "invite":
        invite = content.get("third_party_invite")
        signed = invite.get("signed") if isinstance(invite, dict) else None
        token = signed.get("token") if isinstance(signed, dict) else None
        if isinstance(token, str):
            keys.append(("m.room.third_party_invite", token))
    if membership == "join" and version.restricted_joins:
        authorising_user = content.get("join_authorised_via_users_server")
        if isinstance(authorising_user, str) and authorising_user not in present:
            keys.append(("m.room.member", authorising_user))
    return keys


def _sender_may_federate(case: Case) -> bool:
    if case.create.content.get("m.federate") is False and server_name_of(case.event.sender) != server_name_of(
        case.create.sender
    ):
        raise RuleBroken(f"the room does not federate, and {case.event.sender} is of another server")
    return False


def _aliases(case: Case) -> bool:
    if case.event.type != "m.room.aliases":
        return False
    if case.event.state_key is None:
        raise RuleBroken("aliases need a state key", 1)
    if case.event.state_key != server_name_of(case.event.sender):
        raise RuleBroken(f"{case.event.sender} cannot set the aliases of another server", 2)
    return True


def _sender_is_joined(case: Case) -> bool:
    if case.membership(case.event.sender) != "join":
        raise RuleBroken(f"{case.event.sender} is not joined")
    return False


def _third_party_invite(case: Case) -> bool:
    if case.event.type != "m.room.third_party_invite":
        return False
    if case.sender_level < case.power.invite:
        raise RuleBroken(f"{case.event.sender} may not invite", 1)
    return True


def _sender_has_the_power(case: Case) -> bool:
    needed = case.power.needed_for(case.event)
    if needed > case.sender_level:
        raise RuleBroken(f"{case.event.type} needs {needed} and {case.event.sender} has {case.sender_level}")
    return False


def _state_of_users_is_their_own(case: Case) -> bool:
    state_key = case.event.state_key
    if state_key is not None and state_key.startswith("@") and state_key != case.event.sender:
        raise RuleBroken(f"the state is that of {state_key}, not of {case.event.sender}")
    return False


def _redaction(case: Case) -> bool:
    event = case.event
    if event.type != "m.room.redaction":
        return False
    if event.redacts is None or not event.redacts.startswith("$"):
        # The text leaves it open; other servers refuse it, and such a redaction would redact nothing.
        raise RuleBroken("the redaction names no event")
    if case.sender_level >= case.power.redact:
        return True
    if server_name_of(event.redacts) == server_name_of(event.event_id):
        return True
    raise RuleBroken(f"{event.sender} may not redact the events of other servers", 3)
