"""Who a host name says its Matrix server is: `/.well-known/matrix/server`, asked for and remembered.

https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import trio

from tricord.federation.errors import AnswerInvalid, EgressError
from tricord.federation.server_names import split_server_name
from tricord.federation.transport import Outside, Response
from tricord.protocol.errors import BadJson, InvalidParam, NotJson
from tricord.protocol.identifiers import ServerName
from tricord.protocol.strict_json import parse_object

_HOUR = 3600.0
_USUAL_SECONDS = 24 * _HOUR
_LONGEST_SECONDS = 48 * _HOUR
# Whatever the host says: it is not asked at every request.
_SHORTEST_SECONDS = 60.0
_LONGEST_ERROR_SECONDS = _HOUR
_FIRST_ERROR_SECONDS = 60.0
# From then on a new answer is asked for; where there is none, the old one does until its time is over.
_FRESH_SHARE = 0.8

_MAX_BYTES = 50 << 10
_TIMEOUT_SECONDS = 10.0
_MAX_REDIRECTS = 5
_MOST_REMEMBERED = 20_000
_MAX_AGE = re.compile(r"max-age\s*=\s*\"?(\d{1,10})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a host said; None means that it did not say."""

    delegated: ServerName | None
    ask_again_at: float
    valid_until: float
    failures: int = 0


class WellKnown:
    """Knows what hosts say of their Matrix servers."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._under_way: dict[str, trio.Event] = {}

    async def delegated(self, host: str) -> ServerName | None:
        """Return the server name that a host delegates to; None if it has no valid document."""
        host = host.lower()
        while (under_way := self._under_way.get(host)) is not None:
            await under_way.wait()
        answer = self._answers.get(host)
        if answer is None or trio.current_time() >= answer.ask_again_at:
            done = self._under_way[host] = trio.Event()
            try:
                answer = await self._ask(host, answer)
            finally:
                del self._under_way[host]
                done.set()
            self._answers[host] = answer
            while len(self._answers) > _MOST_REMEMBERED:
                self._answers.popitem(last=False)
        self._answers.move_to_end(host)
        return answer.delegated

    async def _ask(self, host: str, before: _Answer | None) -> _Answer:
        now = trio.current_time()
        failures = 0 if before is None else before.failures
        try:
            response = await (await self._outside.open()).fetch(
                f"https://{host}/.well-known/matrix/server",
                timeout_seconds=_TIMEOUT_SECONDS,
                max_bytes=_MAX_BYTES,
                max_redirects=_MAX_REDIRECTS,
            )
            if response.status >= 500:
                raise AnswerInvalid(f"{host} answers {response.status}")
            delegated = read_document(response)
        except EgressError:
            # Perhaps it will be better in a minute; the longer it is not, the less likely.
            again = now + min(_FIRST_ERROR_SECONDS * 2 ** min(failures, 10), _LONGEST_ERROR_SECONDS)
            if before is not None and before.delegated is not None and before.valid_until > now:
                again = min(again, before.valid_until)
                return _Answer(before.delegated, again, before.valid_until, failures + 1)
            return _Answer(None, again, again, failures + 1)
        if delegated is None:
            again = now + _LONGEST_ERROR_SECONDS
            return _Answer(None, again, again)
        lifetime = lifetime_seconds(response.headers)
        return _Answer(delegated, now + lifetime * _FRESH_SHARE, now + lifetime)


def read_document(response: Response) -> ServerName | None:
    """Return the server name in the document; None if it is not valid."""
    if response.status != 200:
        return None
    try:
        named = parse_object(response.body).get("m.server")
        if not isinstance(named, str):
            return None
        split_server_name(named)
        return ServerName(named)
    except (NotJson, BadJson, InvalidParam):
        return None


def lifetime_seconds(headers: Mapping[str, str]) -> float:
    """Return how long an answer counts, by what its headers say and within our own limits."""
    control = headers.get("cache-control", "").lower()
    seconds = _USUAL_SECONDS
    if "no-store" in control or "no-cache" in control:
        seconds = 0
    elif (max_age := _MAX_AGE.search(control)) is not None:
        seconds = float(max_age[1]) - _age(headers)
    elif "expires" in headers:
        seconds = _seconds_between(headers.get("date"), headers["expires"])
    return min(max(seconds, _SHORTEST_SECONDS), _LONGEST_SECONDS)


def _age(headers: Mapping[str, str]) -> float:
    age = headers.get("age", "0")
    return float(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0.0


def _seconds_between(date: str | None, expires: str) -> float:
    """Return the time from one HTTP date to another; none if they are no dates, which means "expired already"."""
    if date is None:
        return _USUAL_SECONDS
    from email.utils import parsedate_to_datetime

    try:
        return (parsedate_to_datetime(expires) - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return 0.0
