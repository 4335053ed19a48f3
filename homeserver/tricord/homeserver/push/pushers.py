"""Pushers: where users want to be notified when no client of theirs is open.

https://spec.matrix.org/v1.19/client-server-api/#push-notifications
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from tricord.clients.api.pushers import SetPusher
from tricord.homeserver.clock import Clock
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.storage import pushers as storage
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.pushers import Pusher
from tricord.homeserver.stream.publisher import Publisher
from tricord.protocol.errors import InvalidParam, MissingParam
from tricord.protocol.identifiers import UserId

HTTP, WEB_PUSH = "http", "webpush"
_CHANNEL = "tricord_pushers"
_PATH = "/_matrix/push/v1/notify"
_LONGEST_APP_ID, _LONGEST_PUSHKEY, _LONGEST_TEXT = 64, 512, 255
# A browser, a phone and a few more; each costs a request for each message.
_MOST_PUSHERS = 100


class Pushers:
    """The only reader and writer of pushers."""

    def __init__(self, database: Database, publisher: Publisher, clock: Clock) -> None:
        self._database = database
        self._publisher = publisher
        self._clock = clock

    def on_change(self, call_back: Callable[[UserId], None]) -> None:
        """Call back with the users whose pushers change, in whatever process; "" stands for anybody."""
        self._database.listen(_CHANNEL, lambda payload: call_back(UserId(payload)))

    async def of(self, user_id: UserId) -> list[Pusher]:
        """Return a user's pushers."""
        return await self._database.read(storage.pushers_of, [user_id])

    async def everybodys(self) -> list[Pusher]:
        """Return all pushers."""
        return await self._database.read(storage.all_pushers)

    async def set(self, requester: Requester, wanted: SetPusher.Body) -> None:
        """Add or change a pusher. It notifies of what comes from now on."""
        pusher = _checked(requester, wanted, self._clock.now_ms(), self._publisher.position)
        known = await self.of(requester.user_id)
        if len(known) >= _MOST_PUSHERS and pusher.name not in {each.name for each in known}:
            raise InvalidParam(f"{requester.user_id} has {_MOST_PUSHERS} pushers already")
        others = await self._database.run(storage.put_pusher, pusher, replace_others=not wanted.append)
        for user_id in (requester.user_id, *others):
            await self._announce(user_id)

    async def remove(self, user_id: UserId, app_id: str, pushkey: str) -> None:
        """Remove a pusher, if it is there."""
        await self._database.run(storage.delete_pusher, user_id, app_id, pushkey)
        await self._announce(user_id)

    async def _announce(self, user_id: UserId) -> None:
        await self._database.notify(_CHANNEL, user_id)


def _checked(requester: Requester, wanted: SetPusher.Body, now_ms: int, position: int) -> Pusher:
    kind = wanted.kind or ""
    texts = {
        "app_display_name": wanted.app_display_name,
        "device_display_name": wanted.device_display_name,
        "lang": wanted.lang,
    }
    for name, value in texts.items():
        if value is None:
            raise MissingParam(f"a pusher needs `{name}`")
        if len(value) > _LONGEST_TEXT or "\0" in value:
            raise InvalidParam(f"`{name}` has more than {_LONGEST_TEXT} characters, or a NUL")
    if wanted.profile_tag is not None and (len(wanted.profile_tag) > _LONGEST_TEXT or "\0" in wanted.profile_tag):
        raise InvalidParam(f"`profile_tag` has more than {_LONGEST_TEXT} characters, or a NUL")
    if len(wanted.app_id) > _LONGEST_APP_ID or "\0" in wanted.app_id:
        raise InvalidParam(f"`app_id` has more than {_LONGEST_APP_ID} characters, or a NUL")
    if len(wanted.pushkey.encode()) > _LONGEST_PUSHKEY or "\0" in wanted.pushkey:
        raise InvalidParam(f"`pushkey` has more than {_LONGEST_PUSHKEY} bytes, or a NUL")
    if wanted.data is None:
        raise MissingParam("a pusher needs `data`")
    if kind == HTTP:
        _check_gateway(wanted.data.get("url"))
    elif kind == WEB_PUSH:
        # See web_push_key.py for why here.
        from tricord.homeserver.push.web_push import Subscription

        Subscription.checked(wanted.pushkey, wanted.data)
    else:
        raise InvalidParam(f"this server knows no pushers of the kind {kind!r}, only {HTTP!r} and {WEB_PUSH!r}")
    return Pusher(
        requester.user_id,
        wanted.app_id,
        wanted.pushkey,
        requester.session_id,
        kind,
        texts["app_display_name"] or "",
        texts["device_display_name"] or "",
        wanted.profile_tag,
        texts["lang"] or "",
        wanted.data,
        now_ms,
        position,
    )


def _check_gateway(url: object) -> None:
    if not isinstance(url, str):
        raise MissingParam("a pusher of the kind `http` needs `data.url`")
    try:
        parts = urlsplit(url)
        is_right = parts.scheme == "https" and bool(parts.hostname) and parts.path == _PATH
    except ValueError:
        is_right = False
    if not is_right:
        raise InvalidParam(f"`data.url` is not an https URL with the path {_PATH}")
