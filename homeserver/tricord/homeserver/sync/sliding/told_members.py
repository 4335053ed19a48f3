"""Which members each connection has been told of, where members are told only as they are needed.

In memory only: what is lost is told again. With the position of the telling, so that a client whose answer was lost,
and which asks again from before it, is told again too.
"""

from __future__ import annotations

from collections import OrderedDict

from tricord.protocol.identifiers import RoomId

_MOST_REMEMBERED = 20_000
_MOST_OF_A_ROOM = 1_000

Key = tuple[int, str, RoomId]
"""The session, the connection and the room."""


class ToldMembers:
    """Remembers members told."""

    def __init__(self) -> None:
        self._told: OrderedDict[Key, dict[str, int]] = OrderedDict()

    def of(self, key: Key, *, anew: bool) -> dict[str, int]:
        """Return the users told of, and when; to be added to. `anew` forgets them: the client does too."""
        told = self._told.get(key)
        if told is None or anew or len(told) > _MOST_OF_A_ROOM:
            told = self._told[key] = {}
            if len(self._told) > _MOST_REMEMBERED:
                self._told.popitem(last=False)
        self._told.move_to_end(key)
        return told
