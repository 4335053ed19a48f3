"""What may be in a profile.

https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3profileuseridkeyname
"""

from __future__ import annotations

import re
from typing import Any

from tricord.protocol.errors import InvalidParam, KeyTooLarge, ProfileTooLarge

MAXIMUM_PROFILE_BYTES = 64 << 10
# These go into every member event of the user, whose size is limited too.
MEMBER_FIELDS = ("displayname", "avatar_url")

_MAXIMUM_NAME_BYTES = 255
_FIELD_NAME = re.compile(r"[a-z][a-z0-9._-]*")
_MXC = re.compile(r"mxc://[0-9A-Za-z.:\[\]-]{1,255}/[0-9A-Za-z_-]{1,255}")
_TIME_ZONE = re.compile(r"[0-9A-Za-z_+/-]{1,255}")


def check_field_name(name: str) -> str:
    """Return the name of a field; raise if there cannot be one of that name."""
    if len(name.encode(errors="replace")) > _MAXIMUM_NAME_BYTES:
        raise KeyTooLarge(f"the name of a profile field has at most {_MAXIMUM_NAME_BYTES} bytes")
    if _FIELD_NAME.fullmatch(name) is None:
        raise InvalidParam("the name of a profile field begins with a-z and goes on with a-z, 0-9 and any of . _ -")
    return name


def check_value(name: str, value: Any) -> None:
    """Raise InvalidParam if a field the specification knows has another kind of value."""
    match name:
        case "displayname":
            if not isinstance(value, str) or len(value) > 256:
                raise InvalidParam("a display name is a string of at most 256 characters")
        case "avatar_url":
            if not isinstance(value, str) or (value and _MXC.fullmatch(value) is None):
                raise InvalidParam("an avatar is an mxc:// URI")
        case "m.tz":
            if not isinstance(value, str) or _TIME_ZONE.fullmatch(value) is None:
                raise InvalidParam("a time zone is a name such as Europe/Madrid")


def check_size(fields: dict[str, bytes]) -> None:
    """Raise ProfileTooLarge if the fields, as one JSON object, are more than a profile may be."""
    # Around each field two quotation marks, a colon and a comma (or, for the last one, a brace; and one before all).
    size = 1 + sum(len(name) + len(value) + 4 for name, value in fields.items())
    if size > MAXIMUM_PROFILE_BYTES:
        raise ProfileTooLarge(f"a profile has at most {MAXIMUM_PROFILE_BYTES} bytes")
