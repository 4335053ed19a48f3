"""Where a search goes on: of all results, or of one group of them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import astuple, dataclass

import orjson

from tricord.protocol.errors import InvalidParam

_PREFIX = "f1_"
_LONGEST = 2_000
_HIGHEST = 2**62


@dataclass(frozen=True, slots=True)
class SearchToken:
    """What a search has told already."""

    order: str
    group_key: str
    """Empty: of all results."""
    group: str
    upto: int
    """What came after this position when the search began is left out, so that nothing moves from page to page."""
    position: int
    rank: int
    nid: int
    """The place of the last result that was looked at; of searches by relevance, `position` is how many were."""

    def encode(self) -> str:
        """Return it as clients hold it."""
        return _PREFIX + base64.urlsafe_b64encode(orjson.dumps(astuple(self))).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> SearchToken:
        """Return the token that a client holds; raise InvalidParam if it is none."""
        try:
            if not text.startswith(_PREFIX) or len(text) > _LONGEST:
                raise ValueError
            encoded = text.removeprefix(_PREFIX)
            values = orjson.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
            if not isinstance(values, list) or [type(value) for value in values] != [str] * 3 + [int] * 4:
                raise ValueError
            if any(isinstance(value, int) and abs(value) > _HIGHEST for value in values):
                raise ValueError
            if abs(values[5]) >= 2**31 or (values[0] == "rank" and not 0 <= values[4] < 2**31) or "\0" in values[2]:
                raise ValueError
            return cls(*values)
        except (ValueError, binascii.Error):
            raise InvalidParam("`next_batch` is not a token of a search") from None
