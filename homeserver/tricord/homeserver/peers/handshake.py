"""Asking another server to let a local user into a room, out of it, or to its door.

All three go alike: the server gives a template, we make the event and sign it, the server takes it. Nothing of the
template is signed as it comes: it says where in the room the event would be, and who vouches for it; the rest is ours.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from tricord.federation.calls.membership import Template
from tricord.federation.errors import PeerAnswerInvalid, PeerError, PeerRefused
from tricord.homeserver.rooms.chain import Signer
from tricord.protocol.errors import (
    BadJson,
    Forbidden,
    IncompatibleRoomVersion,
    InviteBlocked,
    MatrixError,
    NotFound,
    UnableToAuthoriseJoin,
    UnableToGrantJoin,
    Unknown,
    Unreachable,
)
from tricord.protocol.event_format import MAX_AUTH_EVENTS, MAX_PREV_EVENTS, read_references
from tricord.protocol.events import VerifiedEvent, build_event
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId, is_valid_user_id
from tricord.protocol.room_versions import RoomVersion, room_version
from tricord.protocol.strict_json import JsonObject

# How many servers are asked, one after the other.
_MOST_SERVERS = 10
# What says more to a client than the status does.
_PASSED_ON = {refusal.errcode: refusal for refusal in (InviteBlocked, UnableToAuthoriseJoin, UnableToGrantJoin)}
# By these a server says that we, not our user, asked for something that makes no sense.
_OUR_FAULTS = frozenset({"M_INVALID_PARAM", "M_MISSING_PARAM"})

T = TypeVar("T")

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a server let us have: where, in which version, and the event that we made."""

    destination: ServerName
    version: RoomVersion
    event: VerifiedEvent


async def first_that_answers(servers: Iterable[ServerName], ask: Callable[[ServerName], Awaitable[T]]) -> T:
    """Ask servers one after the other; return the first answer, or raise the refusal that says most."""
    refusal: MatrixError | None = None
    tried: list[ServerName] = []
    for server in servers:
        if len(tried) == _MOST_SERVERS:
            break
        tried.append(server)
        try:
            return await ask(server)
        except PeerRefused as error:
            refusal = as_refusal(error) if refusal is None or error.status != 404 else refusal
        except MatrixError as error:
            # What it says is no use to us; the next one may be honest.
            _logger.info("a server gave what cannot be used", server=server, reason=error.message)
            refusal = error
        except PeerAnswerInvalid as error:
            _logger.info("a server gave what cannot be used", server=server, reason=str(error))
            refusal = refusal or Unreachable(f"{server} gave an answer that cannot be used: {error.message}")
        except PeerError as error:
            _logger.info("a server did not help", server=server, reason=str(error))
    if refusal is not None:
        raise refusal
    if not tried:
        raise NotFound("no server is known that is in the room: name one with `via`")
    raise Unknown(f"none of the servers could be reached: {', '.join(tried)}")


def event_from(
    template: Template, room_id: RoomId, user_id: UserId, content: JsonObject, signer: Signer
) -> VerifiedEvent:
    """Make our own event where a template says; raise BadJson if it is not a template for this."""
    version = room_version(template.room_version)
    proposed = template.event
    if (
        proposed.get("type") != "m.room.member"
        or proposed.get("room_id") != room_id
        or proposed.get("sender") != user_id
        or proposed.get("state_key") != user_id
    ):
        raise BadJson("the other server proposes an event for somebody else, or somewhere else")
    theirs, content = proposed.get("content"), dict(content)
    if not isinstance(theirs, dict) or theirs.get("membership") != content["membership"]:
        raise BadJson(f"the other server proposes something else than the membership {content['membership']!r}")
    if version.restricted_joins and content["membership"] == "join":
        authorising = theirs.get("join_authorised_via_users_server")
        if is_valid_user_id(authorising):
            content["join_authorised_via_users_server"] = authorising
    depth = proposed.get("depth")
    if not isinstance(proposed.get("prev_events"), list) or not isinstance(proposed.get("auth_events"), list):
        raise BadJson("the other server proposes an event without its references")
    try:
        prev_events = read_references(proposed["prev_events"], version)
        auth_events = read_references(proposed["auth_events"], version)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadJson("the other server proposes an event without its references") from error
    if not prev_events or len(prev_events) > MAX_PREV_EVENTS or len(auth_events) > MAX_AUTH_EVENTS:
        raise BadJson("the other server proposes an event with too many references, or none")
    return build_event(
        version=version,
        room_id=room_id,
        sender=user_id,
        type="m.room.member",
        state_key=user_id,
        content=content,
        origin_server_ts=signer.clock.now_ms(),
        depth=depth if isinstance(depth, int) and 0 <= depth < 2**53 else 1,
        prev_events=prev_events,
        auth_events=auth_events,
        server_name=signer.server_name,
        key=signer.key,
        origin=signer.server_name,
        reference_hashes=_reference_hashes(proposed),
    )


def _reference_hashes(proposed: JsonObject) -> dict[EventId, str]:
    """Return the hashes that references of the oldest versions bear."""
    hashes = {}
    for reference in [*proposed["prev_events"], *proposed["auth_events"]]:
        if isinstance(reference, list) and len(reference) == 2 and isinstance(reference[1], dict):
            value = reference[1].get("sha256")
            if isinstance(reference[0], str) and isinstance(value, str):
                hashes[EventId(reference[0])] = value
    return hashes


def as_refusal(error: PeerRefused) -> MatrixError:
    """Return what a client is told of another server's refusal to change a membership.

    "If `M_MISSING_PARAM` or `M_INVALID_PARAM` is returned […], the Client-Server API request SHOULD fail with a 5xx
    error": https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid
    """
    if error.errcode == "M_INCOMPATIBLE_ROOM_VERSION":
        return IncompatibleRoomVersion(error.message, room_version=str(error.body.get("room_version", "")))
    if error.errcode in _PASSED_ON:
        return _PASSED_ON[error.errcode](error.message)
    if error.status == 400 and error.errcode in _OUR_FAULTS:
        return Unreachable(f"{error.server} does not understand this server: {error.message}")
    if error.status == 404:
        return NotFound(error.message)
    if error.status in (400, 401, 403):
        return Forbidden(error.message)
    return Unknown(error.message)


def candidates(*groups: Sequence[ServerName], without: ServerName) -> list[ServerName]:
    """Return servers, the likeliest first and each once, but not our own."""
    return [server for server in dict.fromkeys(one for group in groups for one in group) if server != without]
