"""Messages of those who run the server to its users.

https://spec.matrix.org/v1.19/client-server-api/#server-notices

Each user has one room for them, to which a user of the server's own invites them. What is to be sent is a row, so that
the command line can have it sent by whichever process runs, and a notice to everybody survives a restart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
import structlog
import trio

from tricord.clients.api.room_creation import CreateRoom
from tricord.homeserver.accounts.account_data import TAGS, AccountData
from tricord.homeserver.accounts.names import new_user_id
from tricord.homeserver.accounts.profiles import Profiles
from tricord.homeserver.clock import Clock
from tricord.homeserver.moderation.settings import ServerNoticeSettings
from tricord.homeserver.rooms.append import Draft, Log
from tricord.homeserver.rooms.create import RoomCreation
from tricord.homeserver.rooms.drafts import ClientTransaction
from tricord.homeserver.rooms.membership_changes import MembershipChanges
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.storage.accounts import Account, account_by_id, accounts_after, insert_account
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.server_notices import (
    Notice,
    finish_notice,
    lease_notice,
    note_progress,
    notice_room_of,
    put_notice,
    put_notice_room,
)
from tricord.protocol.errors import InvalidParam, MatrixError
from tricord.protocol.identifiers import RoomId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject

NOTICE_TAG = "m.server_notice"
_CHANNEL = "tricord_notices"
_LEASE_MS = 10 * 60_000
_LOOK_EVERY_SECONDS = 60
_USERS_AT_A_TIME = 100
# Nobody but the server speaks there, or invites others.
_SILENT_LEVEL = -10

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NoticeQueue:
    """Where notices wait to be sent."""

    database: Database
    settings: ServerNoticeSettings

    async def put(self, text: str, user_id: UserId | None) -> None:
        """Have a text sent to a user, or to everybody."""
        if not self.settings.localpart:
            raise InvalidParam("there are no server notices: set server_notices.localpart")
        if not text.strip():
            raise InvalidParam("the notice is empty")
        content = {"msgtype": "m.server_notice", "body": text, "server_notice_type": "org.tricord.notice"}
        await self.database.run(put_notice, user_id, orjson.dumps(content))
        await self.database.notify(_CHANNEL, "")


class NoticeRooms:
    """Knows in which rooms users get notices."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def must_stay_invited(self, user_id: UserId, room_id: RoomId) -> bool:
        """Return whether a user may not decline to be in a room."""
        return await self._database.read(notice_room_of, user_id) == room_id


class ServerNotices:
    """Sends notices."""

    def __init__(
        self,
        settings: ServerNoticeSettings,
        server_name: ServerName,
        database: Database,
        profiles: Profiles,
        log: Log,
        creation: RoomCreation,
        memberships: Memberships,
        changes: MembershipChanges,
        account_data: AccountData,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._sender = new_user_id(settings.localpart, server_name) if settings.localpart else None
        self._database = database
        self._profiles = profiles
        self._log = log
        self._creation = creation
        self._memberships = memberships
        self._changes = changes
        self._account_data = account_data
        self._clock = clock
        self._asked = trio.Event()
        database.listen(_CHANNEL, lambda _payload: self._asked.set())

    async def run(self) -> None:
        """Send what is to be sent for ever."""
        if self._sender is None:
            return
        while True:
            self._asked = trio.Event()
            try:
                await self._prepare(self._sender)
                await self._send_all(self._sender)
            except DatabaseError as error:
                _logger.warning("sending notices is interrupted", reason=str(error))
            with trio.move_on_after(_LOOK_EVERY_SECONDS):
                await self._asked.wait()

    async def _prepare(self, sender: UserId) -> None:
        """Let there be the user whom notices come from, as the settings say."""
        await self._database.run(
            insert_account, sender, None, self._clock.now_ms(), is_admin=False, user_type="support"
        )
        for name, value in (("displayname", self._settings.display_name), ("avatar_url", self._settings.avatar_url)):
            await self._profiles.set(sender, name, value)

    async def _send_all(self, sender: UserId) -> None:
        while True:
            now = self._clock.now_ms()
            notice = await self._database.run(lease_notice, now_ts=now, until_ts=now + _LEASE_MS)
            if notice is None:
                return
            async for account in self._receivers(notice):
                if not account.deactivated and not account.is_guest and account.user_id != sender:
                    await self._try_to_send(sender, account.user_id, notice)
            await self._database.run(finish_notice, notice.notice_id)

    async def _receivers(self, notice: Notice) -> AsyncIterator[Account]:
        if notice.user_id is not None:
            account = await self._database.read(account_by_id, notice.user_id)
            if account is not None:
                yield account
            return
        after = notice.done_upto
        while page := await self._database.read(accounts_after, after, _USERS_AT_A_TIME):
            for account in page:
                yield account
            after = page[-1].user_id
            await self._database.run(note_progress, notice.notice_id, after, self._clock.now_ms() + _LEASE_MS)

    async def _try_to_send(self, sender: UserId, user_id: UserId, notice: Notice) -> None:
        try:
            room_id = await self._room_of(sender, user_id)
            # Whoever sends it again after a crash finds that it was sent.
            transaction = ClientTransaction(sender, "notices", "notice", str(notice.notice_id))
            content: JsonObject = orjson.loads(notice.content)
            await self._log.append(Draft(room_id, sender, "m.room.message", None, content, transaction=transaction))
        except MatrixError as error:
            _logger.warning("a notice could not be sent", user_id=user_id, reason=error.message)
        except DatabaseError:
            raise  # the others could not be sent it either
        except Exception:
            # One user must not keep the others from hearing of it.
            _logger.exception("sending a notice failed", user_id=user_id)

    async def _room_of(self, sender: UserId, user_id: UserId) -> RoomId:
        """Return the room in which a user gets notices; one who has left it is invited again."""
        before = await self._database.read(notice_room_of, user_id)
        if before is not None and before in await self._memberships.joined_rooms(sender):
            now = await self._memberships.membership(user_id, before)
            if now is None or now.membership not in {"join", "invite"}:
                await self._changes.invite(sender, before, user_id)
                await self._tag(user_id, before)
            return before
        room_id = await self._creation.create(
            sender,
            CreateRoom.Body(
                preset="private_chat",
                name=self._settings.room_name or None,
                topic=self._settings.room_topic or None,
                power_level_content_override={"users_default": _SILENT_LEVEL},
            ),
        )
        # First this: by it the invitation is known as one that cannot be declined.
        kept = await self._database.run(put_notice_room, user_id, room_id, instead_of=before)
        if kept != room_id:
            # Another process sends them another notice at the same time, and invites them there.
            await self._changes.leave(sender, room_id)
            return kept
        await self._changes.invite(sender, room_id, user_id)
        await self._tag(user_id, room_id)
        return room_id

    async def _tag(self, user_id: UserId, room_id: RoomId) -> None:
        def tagged(content: JsonObject) -> JsonObject:
            tags = content.get("tags")
            return {"tags": {**(tags if isinstance(tags, dict) else {}), NOTICE_TAG: {}}}

        await self._account_data.change(user_id, room_id, TAGS, tagged)
