"""From a URL to a request, and from there wherever its answers redirect to."""

from __future__ import annotations

from collections.abc import Iterable

import httpx

from tricord.federation.errors import AnswerInvalid
from tricord.federation.places import Place
from tricord.federation.route import Route
from tricord.federation.transport import OpenResponse, Response

DEFAULT_PORTS = {"https": 443, "http": 80}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Trail:
    """A URL, and those that it is redirected to."""

    def __init__(self, url: str, schemes: Iterable[str]) -> None:
        self._first = url
        self._schemes = frozenset(schemes)
        self._url = _url(url, self._schemes)
        self._seen = {self._url}

    @property
    def host(self) -> str:
        """The host to ask now."""
        return self._url.host

    @property
    def route(self) -> Route:
        """The way to it."""
        name = self._url.raw_host.decode()
        port = self._url.port or DEFAULT_PORTS[self._url.scheme]
        return Route(name, self._url.netloc.decode(), (Place.at(name, port),), self._url.scheme)

    @property
    def target(self) -> str:
        """What to ask it for."""
        return self._url.raw_path.decode()

    def follow(self, location: str, max_redirects: int) -> None:
        """Go on to where an answer says; raise AnswerInvalid if that goes in circles, or too far."""
        self._url = _url(location, self._schemes, base=self._url)
        if self._url in self._seen or len(self._seen) > max_redirects:
            raise AnswerInvalid(f"{self._first[:200]} is redirected without end")
        self._seen.add(self._url)


def location_of(response: Response | OpenResponse) -> str | None:
    """Return where an answer redirects to; None if it does not."""
    return response.headers.get("location") if response.status in _REDIRECTS else None


def _url(text: str, schemes: Iterable[str], base: httpx.URL | None = None) -> httpx.URL:
    """Return a foreign URL; raise AnswerInvalid if requests do not go to such."""
    try:
        url = httpx.URL(text) if base is None else base.join(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise AnswerInvalid(f"{text[:200]!r} is not a URL") from error
    if url.scheme not in schemes or not url.raw_host or url.userinfo:
        raise AnswerInvalid(f"{text[:200]!r} is not a URL that requests go to")
    return url.copy_with(fragment=None)
