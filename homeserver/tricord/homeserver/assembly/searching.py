"""Searching what was said, and keeping the index of it."""

from __future__ import annotations

from collections.abc import Callable

from tricord.homeserver.assembly.foundation import Foundation, Run
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.search.indexer import SearchIndexer
from tricord.homeserver.search.stems import Stems
from tricord.homeserver.serving.call import LateRoutes, Route


class Searching:
    """The index of words, and what is found by it."""

    def __init__(self, base: Foundation, rooms: Rooms) -> None:
        self._base, self._rooms = base, rooms
        self._stems = Stems()
        share = None if base.common is None else base.common.share
        self._indexer = SearchIndexer(
            base.database, base.publisher, self._stems, is_ours=lambda: share is None or share.is_smallest
        )

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [self._indexer.run]

    def routes(self) -> list[LateRoutes]:
        """Return what clients are answered who search."""
        return [LateRoutes("/_matrix/client/v3/search", load=self._load)]

    def _load(self) -> Callable[[], list[Route]]:
        from tricord.homeserver.client_api.search import SearchApi
        from tricord.homeserver.rooms.state_view import StateView
        from tricord.homeserver.search.search import Search

        base, rooms = self._base, self._rooms

        def routes() -> list[Route]:
            search = Search(
                base.database,
                base.publisher,
                rooms.memberships,
                rooms.state,
                StateView(rooms.state, rooms.timeline, rooms.visibility, rooms.client_events, rooms.partial),
                rooms.visibility,
                rooms.preferences,
                rooms.aggregations,
                rooms.client_events,
                self._indexer,
                self._stems,
            )
            return SearchApi(search).routes()

        return routes
