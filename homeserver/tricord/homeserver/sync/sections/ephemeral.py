"""What passes: who is typing in a room, and up to where people have read.

The specification keeps all events of ignored users but for state from whoever ignores them. What they type and read
comes in events about several people: it is left out of those.
https://spec.matrix.org/v1.19/client-server-api/#ignoring-users
"""

from __future__ import annotations

from collections.abc import Container, Iterable

import orjson

from tricord.homeserver.storage.receipts import UNTHREADED, Receipt
from tricord.homeserver.sync.delta import Json
from tricord.protocol.identifiers import UserId
from tricord.protocol.strict_json import JsonObject


def typing_event(user_ids: Iterable[UserId], ignored: Container[UserId], *, begins: bool) -> Json | None:
    """Return who is typing, of those who are not ignored, as an event that replaces the one before.

    None: nobody is, and a client that `begins` need not hear that. Any other may have been told of somebody.
    https://spec.matrix.org/v1.19/client-server-api/#mtyping
    """
    heard = [user_id for user_id in user_ids if user_id not in ignored]
    if begins and not heard:
        return None
    return orjson.dumps({"type": "m.typing", "content": {"user_ids": heard}})


def receipt_event(receipts: Iterable[Receipt]) -> Json | None:
    """Return receipts as one event, if there are any; whoever passes them has left out what the viewer must not see.

    https://spec.matrix.org/v1.19/client-server-api/#mreceipt
    """
    content: dict[str, JsonObject] = {}
    for receipt in receipts:
        values: JsonObject = {"ts": receipt.received_ts}
        if receipt.thread_id != UNTHREADED:
            values["thread_id"] = receipt.thread_id
        by_user = content.setdefault(receipt.event_id, {}).setdefault(receipt.receipt_type, {})
        # The format has one place for each (event, type, user): of a user's receipts for several threads, which cannot
        # be on one event but by a client's mistake, the one for the whole room says the most.
        if receipt.thread_id == UNTHREADED or receipt.user_id not in by_user:
            by_user[receipt.user_id] = values
    return orjson.dumps({"type": "m.receipt", "content": content}) if content else None
