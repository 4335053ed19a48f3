"""What users read in rooms."""

from __future__ import annotations

from collections.abc import Callable

from tricord.homeserver.assembly.foundation import Foundation
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.assembly.shared_rooms import SharedRooms
from tricord.homeserver.rooms.history import History
from tricord.homeserver.rooms.state_view import StateView
from tricord.homeserver.serving.call import LateRoutes, Route


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

        def load_relations() -> Callable[[], list[Route]]:
            from tricord.homeserver.client_api.relations import RelationsApi
            from tricord.homeserver.rooms.relations import Relations

            return RelationsApi(Relations(database, timeline, visibility, client_events)).routes

        def load_threads() -> Callable[[], list[Route]]:
            from tricord.homeserver.client_api.threads import ThreadsApi
            from tricord.homeserver.rooms.thread_list import ThreadList

            threads = ThreadList(database, timeline, visibility, rooms.preferences, rooms.aggregations, client_events)
            return ThreadsApi(threads, rooms.thread_updates, rooms.memberships).routes

        of_room = "/_matrix/client/v1/rooms/{room_id}"
        self._routes = [
            LateRoutes(f"{of_room}/relations", load=load_relations),
            LateRoutes(
                f"{of_room}/threads", "/_matrix/client/unstable/io.element.msc4360/thread_updates", load=load_threads
            ),
        ]

    def routes(self) -> list[LateRoutes]:
        """Return what clients are answered."""
        return self._routes
