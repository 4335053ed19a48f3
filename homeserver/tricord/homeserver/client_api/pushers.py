"""Routes of pushers and notifications."""

from __future__ import annotations

from tricord.clients.api.pushers import GetNotifications, GetPushers, Pusher, SetPusher
from tricord.homeserver.push.notified import NotifiedEvents
from tricord.homeserver.push.pushers import Pushers
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import InvalidParam
from tricord.protocol.strict_json import JsonObject


class PushersApi:
    """Where users are notified, and of what they were."""

    def __init__(self, pushers: Pushers, notified: NotifiedEvents) -> None:
        self._pushers = pushers
        self._notified = notified

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(GetPushers, self.all_pushers),
            Route(SetPusher, self.set),
            Route(GetNotifications, self.notifications),
        ]

    async def all_pushers(self, call: Call[JsonObject, None]) -> GetPushers.Response:
        """List them."""
        return GetPushers.Response(
            pushers=[
                Pusher(
                    pushkey=each.pushkey,
                    app_id=each.app_id,
                    kind=each.kind,
                    app_display_name=each.app_display_name,
                    device_display_name=each.device_display_name,
                    profile_tag=each.profile_tag,
                    lang=each.lang,
                    data=each.data,
                )
                for each in await self._pushers.of(call.requester.user_id)
            ]
        )

    async def set(self, call: Call[SetPusher.Body, None]) -> JsonObject:
        """Add, change or remove one."""
        if call.body.kind is None:
            await self._pushers.remove(call.requester.user_id, call.body.app_id, call.body.pushkey)
        else:
            await self._pushers.set(call.requester, call.body)
        return {}

    async def notifications(self, call: Call[JsonObject, GetNotifications.Query]) -> JsonObject:
        """Page through notifications."""
        query = call.query
        if query.only not in (None, "", "highlight"):
            raise InvalidParam(f"`only` is {query.only!r} and not `highlight`")
        return await self._notified.page(
            call.requester, query.from_, query.limit, only_highlights=query.only == "highlight"
        )
