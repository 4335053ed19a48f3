"""Listing local users in the user directory, in the transaction that changes what they show."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from tricord.homeserver.accounts.directory_words import listed
from tricord.homeserver.accounts.profile_fields import MEMBER_FIELDS
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.profiles import profile_fields
from tricord.homeserver.storage.user_directory import put_people
from tricord.protocol.identifiers import UserId


async def list_local_users(tx: Transaction, user_ids: Sequence[UserId]) -> None:
    """List local users by their profiles, as they are now."""
    if not user_ids:
        return
    people = []
    for user_id, fields in (await profile_fields(tx, user_ids)).items():
        shown = {name: orjson.loads(fields[name]) for name in MEMBER_FIELDS if name in fields}
        people.append(listed(user_id, shown.get("displayname"), shown.get("avatar_url"), is_local=True))
    await put_people(tx, people)
