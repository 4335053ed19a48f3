"""What users read in rooms."""

from __future__ import annotations

from tricord.homeserver.assembly.foundation import Foundation
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.assembly.shared_rooms import SharedRooms
from tricord.homeserver.client_api.relations import RelationsApi
from tricord.homeserver.client_api.threads import ThreadsApi
from tricord.homeserver.rooms.history import History
from tricord.homeserver.rooms.relations import Relations
from tricord.homeserver.rooms.state_view import StateView
from tricord.homeserver.rooms.thread_list import ThreadList
from tricord.homeserver.serving.call import Route


class Reading:
    """History, state, what relates to an event, and threads."""

    def __init__(self, base: Foundation, rooms: Rooms, shared: SharedRooms) -> None:
        database, timeline = base.database, rooms.timeline
        visibility, client_events = rooms.visibility, rooms.client_events
        self.history = History(
            rooms.state,
            timeline,
            visibility,
            client_events,
            base.publisher,
            older=shared.backfill,
            elsewhere=shared.closest,
            retention=rooms.retention,
        )
        self.state_view = StateView(rooms.state, timeline, visibility, client_events, rooms.partial)
        threads = ThreadList(database, timeline, visibility, rooms.preferences, rooms.aggregations, client_events)
        self._apis = (
            RelationsApi(Relations(database, timeline, visibility, client_events)),
            ThreadsApi(threads, rooms.thread_updates, rooms.memberships),
        )

    def routes(self) -> list[Route]:
        """Return what clients are answered."""
        return [route for api in self._apis for route in api.routes()]
