"""What is for one device only, as sliding sync tells it: messages, by a token of their own, and keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tricord.homeserver.encryption.inboxes import Inboxes
from tricord.homeserver.stream.tokens import decode_token, encode_token
from tricord.homeserver.sync.delta import Json
from tricord.homeserver.sync.sections.devices import DevicesSection
from tricord.homeserver.sync.viewer import Viewer
from tricord.protocol.strict_json import JsonObject

_MOST_MESSAGES = 1_000


class SlidingDevices:
    """Tells devices what is for them."""

    def __init__(self, inboxes: Inboxes, section: DevicesSection) -> None:
        self._inboxes = inboxes
        self._section = section

    async def messages(self, viewer: Viewer, since: str | None, upto: int, *, limit: int) -> tuple[Sequence[Json], str]:
        """Return messages after a token, and the token after them; what is before the first is deleted."""
        if viewer.device_id is None:
            return (), encode_token(upto)
        after = decode_token(since) if since else None
        if after is not None:
            await self._inboxes.received(viewer.user_id, viewer.device_id, min(after, upto))
        most = max(1, min(limit, _MOST_MESSAGES))
        mail = await self._inboxes.mail(viewer.user_id, viewer.device_id, after, upto, most)
        return mail.messages, encode_token(upto if mail.upto is None else mail.upto)

    async def encryption(self, viewer: Viewer, since: int | None, upto: int) -> tuple[JsonObject, bool]:
        """Return whose devices changed and what is left of the own keys, and whether anything is new."""
        news = await self._section.news(viewer, since, upto)
        answer = {
            "device_lists": {"changed": list(news.lists.changed), "left": list(news.lists.left)},
            "device_one_time_keys_count": dict(news.one_time_keys),
            "device_unused_fallback_key_types": list(news.unused_fallback_keys),
        }
        return answer, bool(replace(news, messages=()))
