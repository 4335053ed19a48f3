"""Matrix content URIs: `mxc://server/media`.

https://spec.matrix.org/v1.19/client-server-api/#matrix-content-mxc-uris
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import ServerName, parse_server_name

# What the specification allows, and nothing else: names end up in paths of other servers.
_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)


class Mxc(NamedTuple):
    """The name of some media: where it is from, and what it is called there."""

    server_name: ServerName
    media_id: str

    def __str__(self) -> str:
        return f"mxc://{self.server_name}/{self.media_id}"


def mxc_of(server_name: str, media_id: str) -> Mxc:
    """Return the name that two parts of a path make. Raises InvalidParam."""
    if not _MEDIA_ID.fullmatch(media_id):
        raise InvalidParam("a media id has 1 to 255 letters, digits, `_` and `-`")
    return Mxc(parse_server_name(server_name), media_id)


def parse_mxc(uri: str) -> Mxc:
    """Return what a content URI names. Raises InvalidParam."""
    server_name, slash, media_id = uri.removeprefix("mxc://").partition("/")
    if not uri.startswith("mxc://") or not slash:
        raise InvalidParam(f"{uri[:100]!r} is not mxc://SERVER/MEDIA")
    return mxc_of(server_name, media_id)
