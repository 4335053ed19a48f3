"""Searching what was said, and keeping the index of it."""

from __future__ import annotations

from tricord.homeserver.assembly.foundation import Foundation, Run
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.client_api.search import SearchApi
from tricord.homeserver.rooms.state_view import StateView
from tricord.homeserver.search.indexer import SearchIndexer
from tricord.homeserver.search.search import Search
from tricord.homeserver.search.stems import Stems
from tricord.homeserver.serving.call import Route


class Searching:
    """The index of words, and what is found by it."""

    def __init__(self, base: Foundation, rooms: Rooms) -> None:
        stems = Stems()
        common = base.common
        self._indexer = SearchIndexer(
            base.database, base.publisher, stems, is_ours=lambda: common is None or common.siblings.is_first
        )
        self._search = Search(
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
            stems,
        )

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [self._indexer.run]

    def routes(self) -> list[Route]:
        """Return what clients are answered who search."""
        return SearchApi(self._search).routes()
