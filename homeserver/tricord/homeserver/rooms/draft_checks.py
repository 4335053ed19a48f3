"""What clients may put into an event, before the log makes one of it.

https://spec.matrix.org/v1.19/client-server-api/#size-limits
"""

from __future__ import annotations

from tricord.protocol.errors import InvalidParam, TooLarge
from tricord.protocol.identifiers import UserId, server_name_of
from tricord.protocol.server_acl import ServerAcl
from tricord.protocol.strict_json import JsonObject, check_event_integers

MAX_KEY_BYTES = 255


def check_content(event_type: str, state_key: str | None, content: JsonObject) -> None:
    """Refuse numbers that events cannot hold and keys that are too long; the log checks the size of the whole.

    The oldest room versions accept floats from other servers, but no client of ours brings new ones into a room.
    """
    for name, value in (("type", event_type), ("state_key", state_key or "")):
        if len(value.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
            raise TooLarge(f"the event's `{name}` is longer than {MAX_KEY_BYTES} bytes")
    check_event_integers(content)


def check_server_acl(event_type: str, state_key: str | None, content: JsonObject, sender: UserId) -> None:
    """Refuse a list of servers that shuts out the sender's own.

    The specification has others drop whatever comes from there, the list that would take it back included: nobody here
    could undo the mistake. An empty list is the usual one, since what is not allowed is denied. So Synapse and the
    servers of the Conduit family refuse it, too. What other servers set stands, as everything that the rules allow.

    https://spec.matrix.org/v1.19/client-server-api/#mroomserver_acl
    """
    if event_type != "m.room.server_acl" or state_key != "":
        return
    own = server_name_of(sender)
    if not ServerAcl(content).allows(own):
        raise InvalidParam(
            f"this list shuts out {own} itself, which could not take it back: allow it, and do not deny it"
        )
