"""What goes away by itself."""

from __future__ import annotations

from tricord.homeserver.assembly.foundation import Foundation, Run
from tricord.homeserver.assembly.media import media_administration_of
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.rooms.purge import Purge


class Upkeep:
    """Deleting what is over."""

    def __init__(self, base: Foundation, rooms: Rooms) -> None:
        settings = base.settings
        files = media_administration_of(settings, base.database) if settings.retention.files_too else None
        self._purge = Purge(base.database, rooms.cached, base.clock, settings.retention, files)

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [self._purge.run]
