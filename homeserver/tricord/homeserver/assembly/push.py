"""Notifications: what waits to be read, and telling users who are not looking."""

from __future__ import annotations

from collections.abc import Callable

from tricord.federation.transport import Outside
from tricord.homeserver.assembly.foundation import Foundation, LetGo, Run
from tricord.homeserver.assembly.personal import Personal
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.push.counts import NotificationCounts
from tricord.homeserver.push.delivery import Delivery
from tricord.homeserver.push.notifier import Notifier
from tricord.homeserver.push.pushers import Pushers
from tricord.homeserver.push.web_push_key import WebPushKey
from tricord.homeserver.serving.call import LateRoutes, Route


class Push:
    """Counts, pushers, and what runs them."""

    def __init__(self, base: Foundation, rooms: Rooms, personal: Personal, outside: Outside) -> None:
        database, timeline, memberships = base.database, rooms.timeline, rooms.memberships
        self.web_push_key = WebPushKey(
            base.settings.data_dir, base.settings.push.contact or f"https://{base.server_name}"
        )
        self.counts = NotificationCounts(
            database,
            timeline,
            rooms.state,
            memberships,
            personal.push_rules,
            rooms.changes,
            rooms.preferences,
            rooms.retention,
        )
        pushers = Pushers(database, base.publisher, base.clock)
        self._notifier = Notifier(
            database,
            base.publisher,
            rooms.changes,
            memberships,
            rooms.state,
            timeline,
            self.counts,
            pushers,
            Delivery(outside, self.web_push_key, base.clock),
            base.clock,
        )

        def load() -> Callable[[], list[Route]]:
            from tricord.homeserver.client_api.pushers import PushersApi
            from tricord.homeserver.push.notified import NotifiedEvents

            notified = NotifiedEvents(
                database, base.publisher, memberships, rooms.visibility, self.counts, rooms.client_events
            )
            return PushersApi(pushers, notified).routes

        self._routes = LateRoutes("/_matrix/client/v3/pushers", "/_matrix/client/v3/notifications", load=load)

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [self._notifier.run]

    @property
    def let_go(self) -> list[LetGo]:
        """Return how they forget."""
        return [self.counts.let_go]

    def routes(self) -> list[LateRoutes]:
        """Return what clients are answered about them."""
        return [self._routes]
