"""From the names that people type to user ids of this server."""

from __future__ import annotations

from tricord.protocol.errors import InvalidParam, InvalidUsername
from tricord.protocol.identifiers import ServerName, UserId, is_valid_new_localpart, parse_user_id, server_name_of


def local_user_id(text: str, server_name: ServerName) -> UserId | None:
    """Return whom a localpart or user id, in any case, names here; None if that can be nobody."""
    full = text if text.startswith("@") else f"@{text}:{server_name}"
    try:
        user_id = parse_user_id(full)
    except InvalidParam:
        return None
    if server_name_of(user_id) != server_name:
        return None
    # All our users have lower-case localparts, and people's keyboards like to begin with a capital.
    localpart = user_id[: -len(server_name)].lower()
    return UserId(localpart + server_name)


def new_user_id(username: str, server_name: ServerName) -> UserId:
    """Return the user id for a wanted name; raise InvalidUsername if nobody can be called that.

    https://spec.matrix.org/v1.19/appendices/#user-identifiers
    """
    localpart = username.lower()
    if not is_valid_new_localpart(localpart):
        raise InvalidUsername("a user name consists of a-z, 0-9 and any of . _ = - / +")
    user_id = f"@{localpart}:{server_name}"
    if len(user_id) > 255:
        raise InvalidUsername("the user id would be longer than 255 characters")
    return UserId(user_id)
