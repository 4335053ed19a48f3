"""Delivering a notification: to a push gateway, or to a browser's push service.

https://spec.matrix.org/v1.19/push-gateway-api/
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import orjson

from tricord.federation.errors import EgressError
from tricord.federation.transport import Outside
from tricord.homeserver.clock import Clock
from tricord.homeserver.push.pushers import WEB_PUSH
from tricord.homeserver.push.web_push_key import WebPushKey
from tricord.homeserver.storage.pushers import Pusher
from tricord.protocol.errors import MatrixError
from tricord.protocol.strict_json import JsonObject

_TIMEOUT_SECONDS = 30.0
_MOST_ANSWER_BYTES = 64 << 10
# How long a push service keeps what it cannot deliver now.
_WEB_PUSH_TTL_SECONDS = 24 * 3600
_GONE = (403, 404, 410)
_TOO_LARGE = 413


class Delivered(enum.Enum):
    """What became of a notification."""

    TAKEN = "taken"
    GONE = "nobody is there any more"
    LATER = "to be tried again"


class Delivery:
    """Sends notifications."""

    def __init__(self, outside: Outside, key: WebPushKey, clock: Clock) -> None:
        self._outside = outside
        self._key = key
        self._clock = clock

    async def deliver(self, pusher: Pusher, notification: JsonObject, tweaks: Mapping[str, object]) -> Delivered:
        """Send a notification, without its devices, to where a pusher points."""
        if pusher.data.get("format") == "event_id_only":
            notification = _brief(notification)
        try:
            if pusher.kind == WEB_PUSH:
                return await self._to_browser(pusher, notification)
            return await self._to_gateway(pusher, notification, tweaks)
        except EgressError:
            return Delivered.LATER

    async def _to_gateway(self, pusher: Pusher, notification: JsonObject, tweaks: Mapping[str, object]) -> Delivered:
        device = {
            "app_id": pusher.app_id,
            "pushkey": pusher.pushkey,
            "pushkey_ts": pusher.pushkey_ts // 1000,
            "data": {key: value for key, value in pusher.data.items() if key != "url"},
            "tweaks": dict(tweaks),
        }
        answer = await (await self._outside.open()).fetch(
            str(pusher.data["url"]),
            method="POST",
            headers={"Content-Type": "application/json"},
            content=orjson.dumps({"notification": {**notification, "devices": [device]}}),
            timeout_seconds=_TIMEOUT_SECONDS,
            max_bytes=_MOST_ANSWER_BYTES,
        )
        if not 200 <= answer.status < 300:
            return Delivered.LATER
        try:
            rejected = orjson.loads(answer.body).get("rejected", [])
        except (orjson.JSONDecodeError, AttributeError):
            rejected = []
        return Delivered.GONE if isinstance(rejected, list) and pusher.pushkey in rejected else Delivered.TAKEN

    async def _to_browser(self, pusher: Pusher, notification: JsonObject) -> Delivered:
        # See web_push_key.py for why here.
        from tricord.homeserver.push.web_push import MOST_PLAINTEXT, Subscription, encrypted

        try:
            subscription = Subscription.checked(pusher.pushkey, pusher.data)
        except MatrixError:
            return Delivered.GONE
        message = {**notification, "app_id": pusher.app_id}
        plaintext = orjson.dumps(message)
        if len(plaintext) > MOST_PLAINTEXT:
            plaintext = orjson.dumps({**_brief(notification), "app_id": pusher.app_id})
        answer = await (await self._outside.open()).fetch(
            subscription.endpoint,
            method="POST",
            headers={
                "Authorization": self._key.vapid.authorization(subscription.endpoint, self._clock.now_ms() // 1000),
                "Content-Encoding": "aes128gcm",
                "Content-Type": "application/octet-stream",
                "TTL": str(_WEB_PUSH_TTL_SECONDS),
                "Urgency": "high" if notification.get("prio") == "high" else "normal",
            },
            content=encrypted(plaintext, subscription),
            timeout_seconds=_TIMEOUT_SECONDS,
            max_bytes=_MOST_ANSWER_BYTES,
        )
        if answer.status in _GONE:
            return Delivered.GONE
        # What is too large for the service will not get smaller.
        return Delivered.TAKEN if 200 <= answer.status < 300 or answer.status == _TOO_LARGE else Delivered.LATER


def _brief(notification: JsonObject) -> JsonObject:
    return {key: notification[key] for key in ("event_id", "room_id", "counts", "prio") if key in notification}
