"""Finding people by their names.

"The homeserver MUST at a minimum consider users who are visible to the requester based on their membership in rooms
known to the homeserver":
https://spec.matrix.org/v1.19/client-server-api/#user-directory
"""

from __future__ import annotations

import orjson
import structlog
import trio

from tricord.clients.api.people import FoundUser, SearchUsers
from tricord.homeserver.accounts.directory_words import listed, searched
from tricord.homeserver.accounts.listing import list_local_users
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey
from tricord.homeserver.storage import user_directory as storage
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import RoomId, UserId

_MOST_RESULTS = 50
# Of those who share no room with the searcher, so many are looked at.
_MOST_OTHERS = 300
_BATCH = 500
# However much happens, the directory follows it no more often than this.
_PAUSE_SECONDS = 0.5
_LOOK_EVERY_SECONDS = 300

_JOIN_RULES: StateKey = ("m.room.join_rules", "")
_HISTORY_VISIBILITY: StateKey = ("m.room.history_visibility", "")

_logger = structlog.get_logger(__name__)


class UserDirectory:
    """Searches for people whom the searcher may find.

    SQL of a search: one query for those who share a room with the searcher; where these are too few, one for others.
    """

    def __init__(
        self, database: Database, memberships: Memberships, state: RoomState, *, all_local_users: bool
    ) -> None:
        self._database = database
        self._memberships = memberships
        self._state = state
        self._all_local_users = all_local_users

    async def search(self, user_id: UserId, term: str, limit: int) -> SearchUsers.Response:
        """Return who is found, those who share a room with the searcher first."""
        limit = min(limit, _MOST_RESULTS)
        if not (words := searched(term)):
            return SearchUsers.Response(results=[], limited=False)
        rooms = list(await self._memberships.joined_rooms(user_id))
        found = await self._database.read(storage.neighbours_named, words, user_id, rooms, limit + 1)
        if len(found) <= limit:
            others = await self._database.read(storage.others_named, words, user_id, rooms, _MOST_OTHERS)
            found += await self._visible(others)
        results = [
            FoundUser(user_id=one.user_id, display_name=one.display_name, avatar_url=one.avatar_url)
            for one in found[:limit]
        ]
        return SearchUsers.Response(results=results, limited=len(found) > limit)

    async def _visible(self, others: list[storage.Found]) -> list[storage.Found]:
        """Return those who are in a room that anybody may join or read, and local users if all of them are shown."""
        rooms = {room_id for one in others if not self._is_shown(one) for room_id in one.rooms}
        states = await self._state.current_in_rooms(dict.fromkeys(rooms, (_JOIN_RULES, _HISTORY_VISIBILITY)))
        is_open: set[RoomId] = set()
        for room_id, state in states.items():
            rules, visibility = state.get(_JOIN_RULES), state.get(_HISTORY_VISIBILITY)
            if (rules is not None and rules.event.content.get("join_rule") == "public") or (
                visibility is not None and visibility.event.content.get("history_visibility") == "world_readable"
            ):
                is_open.add(room_id)
        return [one for one in others if self._is_shown(one) or not is_open.isdisjoint(one.rooms)]

    def _is_shown(self, one: storage.Found) -> bool:
        return self._all_local_users and one.is_local


class DirectoryKeeper:
    """Keeps the names of users of other servers, by the member events that arrive."""

    def __init__(self, database: Database, publisher: Publisher, residence: Residence) -> None:
        self._database = database
        self._residence = residence
        self._changed = trio.Event()
        publisher.observe(self._note, lambda _position: self._changed.set())

    async def run(self) -> None:
        """Follow memberships for ever."""
        all_listed = False
        while True:
            self._changed = trio.Event()
            try:
                while not all_listed:
                    all_listed = not await self._database.run(_list_accounts)
                while await self._database.run(self._follow):
                    pass
            except DatabaseError as error:
                _logger.warning("keeping the user directory is interrupted", reason=str(error))
            with trio.move_on_after(_LOOK_EVERY_SECONDS):
                await self._changed.wait()
            await trio.sleep(_PAUSE_SECONDS)

    def _note(self, commit: Commit) -> None:
        # Whoever came or went is among the users.
        if commit.has_events and commit.users:
            self._changed.set()

    async def _follow(self, tx: Transaction) -> bool:
        """Take in some memberships; return whether there may be more."""
        place = await storage.lock_followed_place(tx)
        if place is None:
            return False
        changes = await storage.memberships_after(tx, place, _BATCH)
        if not changes:
            return False
        latest = {
            change.user_id: change.event
            for change in changes
            if change.membership == "join" and not self._residence.is_local(change.user_id)
        }
        # In one order everywhere, so that two who write the same people do not wait for each other.
        await storage.put_people(tx, [_from_event(user_id, latest[user_id]) for user_id in sorted(latest)])
        await storage.set_followed_place(tx, (changes[-1].position, changes[-1].user_id))
        return len(changes) == _BATCH


def _from_event(user_id: UserId, event: bytes) -> storage.Entry:
    content = orjson.loads(event).get("content", {})
    return listed(user_id, content.get("displayname"), content.get("avatar_url"), is_local=False)


async def _list_accounts(tx: Transaction) -> bool:
    """List accounts that are not listed yet; return whether there may be more."""
    user_ids = sorted(await storage.unlisted_accounts(tx, _BATCH))
    await list_local_users(tx, user_ids)
    return len(user_ids) == _BATCH
