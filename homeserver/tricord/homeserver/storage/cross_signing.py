"""The tables of cross-signing keys, and of signatures on keys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import UserId


class CrossSigningKey(NamedTuple):
    """A key of a user, as JSON."""

    user_id: UserId
    usage: str
    public_key: str
    key: bytes


class KeySignature(NamedTuple):
    """A signature on a device or a master key."""

    user_id: UserId
    name: str
    signer: UserId
    key_id: str
    signature: str


async def cross_signing_keys_of(tx: Transaction, user_ids: Collection[UserId]) -> list[CrossSigningKey]:
    """Return all cross-signing keys of some users."""
    rows = await tx.fetch(
        "SELECT user_id, usage, public_key, key FROM cross_signing_keys WHERE user_id = ANY($1)", list(user_ids)
    )
    return [CrossSigningKey(*row) for row in rows]


async def put_cross_signing_keys(tx: Transaction, keys: Sequence[CrossSigningKey]) -> None:
    """Write keys of one user, in place of those they had; what the old ones have signed, and was signed, goes."""
    await tx.execute(
        """
        WITH old AS (
            SELECT k.user_id, k.public_key FROM cross_signing_keys k
            JOIN unnest($1::text[], $2::text[], $3::text[]) AS t (user_id, usage, public_key) USING (user_id, usage)
            WHERE k.public_key <> t.public_key
        ), worthless AS MATERIALIZED (
            SELECT s.user_id, s.name, s.signer, s.key_id FROM key_signatures s JOIN old
            ON (s.user_id = old.user_id AND s.name = old.public_key)
                OR (s.signer = old.user_id AND s.key_id = 'ed25519:' || old.public_key)
            ORDER BY 1, 2, 3, 4 FOR UPDATE OF s
        )
        DELETE FROM key_signatures s USING worthless w
        WHERE (s.user_id, s.name, s.signer, s.key_id) = (w.user_id, w.name, w.signer, w.key_id)
        """,
        [key.user_id for key in keys],
        [key.usage for key in keys],
        [key.public_key for key in keys],
    )
    await tx.execute(
        """
        INSERT INTO cross_signing_keys (user_id, usage, public_key, key)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[])
        ON CONFLICT (user_id, usage) DO UPDATE SET public_key = excluded.public_key, key = excluded.key
        """,
        [key.user_id for key in keys],
        [key.usage for key in keys],
        [key.public_key for key in keys],
        [key.key for key in keys],
    )


async def delete_cross_signing_keys(tx: Transaction, user_id: UserId, usages: Collection[str]) -> None:
    """Delete some keys of a user."""
    await tx.execute("DELETE FROM cross_signing_keys WHERE user_id = $1 AND usage = ANY($2)", user_id, list(usages))


async def delete_identity(tx: Transaction, user_id: UserId) -> bool:
    """Delete all keys of a user who is no more, and what they have signed; return whether they had any."""
    deleted = await tx.execute("DELETE FROM cross_signing_keys WHERE user_id = $1", user_id)
    await tx.execute(
        """
        WITH worthless AS MATERIALIZED (
            SELECT user_id, name, signer, key_id FROM key_signatures WHERE user_id = $1 OR signer = $1
            ORDER BY 1, 2, 3, 4 FOR UPDATE
        )
        DELETE FROM key_signatures s USING worthless w
        WHERE (s.user_id, s.name, s.signer, s.key_id) = (w.user_id, w.name, w.signer, w.key_id)
        """,
        user_id,
    )
    return deleted != "DELETE 0"


async def put_key_signatures(tx: Transaction, signatures: Collection[KeySignature]) -> None:
    """Write signatures; those on others' keys are placed in the stream afterwards."""
    await tx.execute(
        """
        INSERT INTO key_signatures (user_id, name, signer, key_id, signature, position)
        SELECT *, 0 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
        -- In one order everywhere, so that two who write or delete the same do not wait for each other in a circle.
        ORDER BY 1, 2, 3, 4
        ON CONFLICT (user_id, name, signer, key_id) DO UPDATE SET signature = excluded.signature
        """,
        [one.user_id for one in signatures],
        [one.name for one in signatures],
        [one.signer for one in signatures],
        [one.key_id for one in signatures],
        [one.signature for one in signatures],
    )


async def place_key_signatures(tx: Transaction, signatures: Collection[KeySignature], position: int) -> None:
    """Note the place in the stream of signatures that this transaction has written."""
    await tx.execute(
        """
        UPDATE key_signatures s SET position = $5
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS t (user_id, name, signer, key_id)
        WHERE (s.user_id, s.name, s.signer, s.key_id) = (t.user_id, t.name, t.signer, t.key_id)
        """,
        [one.user_id for one in signatures],
        [one.name for one in signatures],
        [one.signer for one in signatures],
        [one.key_id for one in signatures],
        position,
    )


async def key_signatures_of(
    tx: Transaction, user_ids: Collection[UserId], seen_by: UserId | None
) -> list[KeySignature]:
    """Return the signatures on keys of some users: their own, and those of whom they are shown to."""
    rows = await tx.fetch(
        """
        SELECT user_id, name, signer, key_id, signature FROM key_signatures
        WHERE user_id = ANY($1) AND (signer = user_id OR signer = $2)
        """,
        list(user_ids),
        seen_by,
    )
    return [KeySignature(*row) for row in rows]


async def signatures_on_others(
    tx: Transaction, signer: UserId, user_ids: Collection[UserId] | None, limit: int | None = None
) -> list[KeySignature]:
    """Return what a user has signed of some others (None: of all)."""
    rows = await tx.fetch(
        """
        SELECT user_id, name, signer, key_id, signature FROM key_signatures
        WHERE signer = $1 AND user_id <> $1 AND ($2::text[] IS NULL OR user_id = ANY($2)) LIMIT $3
        """,
        signer,
        None if user_ids is None else list(user_ids),
        limit,
    )
    return [KeySignature(*row) for row in rows]


async def delete_signatures_on(tx: Transaction, user_id: UserId, names: Collection[str]) -> None:
    """Delete signatures on devices that are not what was signed any more."""
    await tx.execute("DELETE FROM key_signatures WHERE user_id = $1 AND name = ANY($2)", user_id, list(names))


async def is_cross_signing_key(tx: Transaction, user_id: UserId, name: str) -> bool:
    """Return whether a user has a cross-signing key of this name."""
    return bool(
        await tx.fetchval(
            "SELECT EXISTS (SELECT FROM cross_signing_keys WHERE user_id = $1 AND public_key = $2)", user_id, name
        )
    )
