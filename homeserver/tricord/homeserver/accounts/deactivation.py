"""The end of an account.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tricord.homeserver.accounts.revocations import Revocations
from tricord.homeserver.accounts.sessions import KeysChanged
from tricord.homeserver.storage.account_data import delete_account_data
from tricord.homeserver.storage.accounts import locked_account, mark_deactivated
from tricord.homeserver.storage.cross_signing import delete_identity
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.device_lists import put_device_list_changes
from tricord.homeserver.storage.devices import Ended, delete_devices
from tricord.homeserver.storage.filters import delete_filters
from tricord.homeserver.storage.key_backups import delete_all_backups
from tricord.homeserver.storage.login_tokens import delete_login_tokens
from tricord.homeserver.storage.media_upkeep import erase_uploads
from tricord.homeserver.storage.openid_tokens import delete_openid_tokens
from tricord.homeserver.storage.profiles import delete_profile
from tricord.homeserver.storage.room_updates import request_room_update
from tricord.homeserver.storage.user_directory import remove_person
from tricord.protocol.errors import NotFound
from tricord.protocol.identifiers import UserId


class Deactivation:
    """Ends accounts. There is no way back, and nobody else ever gets the user id."""

    def __init__(
        self,
        database: Database,
        revocations: Revocations,
        *,
        rooms_to_tell: Callable[[], None],
        keys_changed: KeysChanged | None = None,
    ) -> None:
        self._keys_changed = keys_changed
        self._database = database
        self._revocations = revocations
        self._rooms_to_tell = rooms_to_tell

    async def deactivate(self, user_id: UserId, *, erase: bool = False) -> None:
        """Sign a user out everywhere, delete what they kept, and leave their rooms soon after.

        To erase is also to show their events to newcomers as redacted, and to delete the files that they uploaded.
        """
        ended = await self._database.run(_deactivate, user_id, erase=erase)
        await self._revocations.announce(ended.session_ids)
        if ended.keys_changed is not None and self._keys_changed is not None:
            await self._keys_changed(user_id, ended.keys_changed)
        self._rooms_to_tell()


async def _deactivate(tx: Transaction, user_id: UserId, *, erase: bool) -> Ended:
    if await locked_account(tx, user_id) is None:
        raise NotFound(f"there is no user {user_id}")
    # First this: a sign-in that waits for the account finds it deactivated.
    await mark_deactivated(tx, user_id, erase=erase)
    await delete_login_tokens(tx, user_id)
    await delete_openid_tokens(tx, user_id)
    await delete_profile(tx, user_id)
    await remove_person(tx, user_id)
    await delete_filters(tx, user_id)
    had_identity = await delete_identity(tx, user_id)
    await delete_all_backups(tx, user_id)
    # Tags, ignored users, settings of clients: nobody can read them any more, so erasing is not only for those who ask.
    await delete_account_data(tx, user_id)
    if erase:
        await erase_uploads(tx, user_id)
    await request_room_update(tx, user_id, "leave")
    ended = await delete_devices(tx, user_id, None)
    if had_identity and ended.keys_changed is None:
        return replace(ended, keys_changed=await put_device_list_changes(tx, user_id))
    return ended
