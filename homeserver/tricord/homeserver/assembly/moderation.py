"""What is done against abuse."""

from __future__ import annotations

from tricord.homeserver.assembly.foundation import Foundation
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.client_api.reports import ReportsApi
from tricord.homeserver.moderation.reports import Reports
from tricord.homeserver.serving.call import Route


class Moderation:
    """Reports."""

    def __init__(self, base: Foundation, rooms: Rooms) -> None:
        self._reports = Reports(base.database, rooms.memberships, rooms.timeline, rooms.visibility, base.clock)

    def routes(self) -> list[Route]:
        """Return what clients are answered."""
        return ReportsApi(self._reports).routes()
