"""What belongs to the user: account data of the account and of rooms, and their push rules, which are shown as such."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from tricord.homeserver.push.rules import PushRules
from tricord.homeserver.storage.account_data import account_data_changes, account_data_of_account
from tricord.homeserver.storage.database import Database
from tricord.homeserver.sync.delta import Json
from tricord.homeserver.sync.viewer import Viewer
from tricord.protocol.event_filters import EventFilter
from tricord.protocol.identifiers import RoomId, UserId


@dataclass(slots=True)
class AccountDataNews:
    """What became of a user's account data."""

    of_account: list[Json] = field(default_factory=list)
    of_rooms: dict[RoomId, list[Json]] = field(default_factory=dict)


class AccountDataSection:
    """Reads account data."""

    def __init__(self, database: Database, push_rules: PushRules) -> None:
        self._database = database
        self._push_rules = push_rules

    async def changes(self, viewer: Viewer, after: int, upto: int, *, everything: bool) -> AccountDataNews:
        """Return what changed, or everything there is."""
        news = AccountDataNews()
        wanted = viewer.filter
        rules = await self._push_rules.of(viewer.user_id)
        if (everything or after < rules.position <= upto) and _allows(
            wanted.account_data, viewer.user_id, "m.push_rules"
        ):
            content = orjson.dumps({"global": rules.ruleset})
            news.of_account.append(account_data_event("m.push_rules", content))
        data = await self._database.read(
            account_data_changes, viewer.user_id, after=0 if everything else after, upto=upto
        )
        for datum in data:
            if datum.room_id is None:
                if _allows(wanted.account_data, viewer.user_id, datum.type):
                    news.of_account.append(account_data_event(datum.type, datum.content))
            elif wanted.room.account_data.allows_room(datum.room_id) and _allows(
                wanted.room.account_data, viewer.user_id, datum.type
            ):
                news.of_rooms.setdefault(datum.room_id, []).append(account_data_event(datum.type, datum.content))
        return news

    async def of_account(self, viewer: Viewer, upto: int) -> list[Json]:
        """Return all there is, but for what is about rooms."""
        rules = await self._push_rules.of(viewer.user_id)
        data = await self._database.read(account_data_of_account, viewer.user_id, upto=upto)
        return [
            account_data_event("m.push_rules", orjson.dumps({"global": rules.ruleset})),
            *(account_data_event(datum.type, datum.content) for datum in data),
        ]


def _allows(wanted: EventFilter, user_id: UserId, data_type: str) -> bool:
    return wanted.allows_everything or (wanted.allows_sender(user_id) and wanted.allows_type(data_type))


def account_data_event(data_type: str, content: bytes) -> Json:
    """Return a piece of account data as clients see it."""
    return b'{"type":%b,"content":%b}' % (orjson.dumps(data_type), content)
