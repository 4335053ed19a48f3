"""What is done against abuse, and how those who run the server talk to its users."""

from __future__ import annotations

from tricord.homeserver.assembly.accounts import Accounts
from tricord.homeserver.assembly.conversation import Conversation
from tricord.homeserver.assembly.foundation import Foundation, Run
from tricord.homeserver.assembly.personal import Personal
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.client_api.reports import ReportsApi
from tricord.homeserver.moderation.reports import Reports
from tricord.homeserver.moderation.server_notices import ServerNotices
from tricord.homeserver.serving.call import Route


class Moderation:
    """Reports, and server notices."""

    def __init__(
        self, base: Foundation, accounts: Accounts, rooms: Rooms, personal: Personal, conversation: Conversation
    ) -> None:
        self._reports = Reports(base.database, rooms.memberships, rooms.timeline, rooms.visibility, base.clock)
        self._notices = ServerNotices(
            base.settings.server_notices,
            base.server_name,
            base.database,
            accounts.profiles,
            rooms.log,
            conversation.creation,
            rooms.memberships,
            conversation.changes,
            personal.account_data,
            base.clock,
        )

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [self._notices.run]

    def routes(self) -> list[Route]:
        """Return what clients are answered."""
        return ReportsApi(self._reports).routes()
