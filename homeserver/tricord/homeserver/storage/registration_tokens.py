"""The table of registration tokens."""

from __future__ import annotations

from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction

_VALID = "token = $1 AND (uses_allowed IS NULL OR uses < uses_allowed) AND (expires_ts IS NULL OR expires_ts > $2)"
_IS_VALID = f"SELECT true FROM registration_tokens WHERE {_VALID}"  # noqa: S608
_USE = f"UPDATE registration_tokens SET uses = uses + 1 WHERE {_VALID} RETURNING true"  # noqa: S608


@dataclass(frozen=True, slots=True)
class RegistrationToken:
    """A token that lets some people register."""

    token: str
    uses_allowed: int | None
    uses: int
    expires_ts: int | None


async def insert_registration_token(
    tx: Transaction, token: str, uses_allowed: int | None, expires_ts: int | None, created_ts: int
) -> bool:
    """Add a token; return False if there is one of that name."""
    inserted = await tx.fetchval(
        """
        INSERT INTO registration_tokens (token, uses_allowed, expires_ts, created_ts) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING RETURNING true
        """,
        token,
        uses_allowed,
        expires_ts,
        created_ts,
    )
    return bool(inserted)


async def registration_token_valid(tx: Transaction, token: str, *, now_ts: int) -> bool:
    """Return whether somebody could register with the token now."""
    valid = await tx.fetchval(
        _IS_VALID,
        token,
        now_ts,
    )
    return bool(valid)


async def use_registration_token(tx: Transaction, token: str, *, now_ts: int) -> bool:
    """Count a use of the token; return False if it is not valid (any more)."""
    used = await tx.fetchval(
        _USE,
        token,
        now_ts,
    )
    return bool(used)


async def registration_tokens(tx: Transaction) -> list[RegistrationToken]:
    """Return all tokens, the newest first."""
    rows = await tx.fetch(
        "SELECT token, uses_allowed, uses, expires_ts FROM registration_tokens ORDER BY created_ts DESC, token"
    )
    return [RegistrationToken(*row) for row in rows]


async def delete_registration_token(tx: Transaction, token: str) -> bool:
    """Delete a token; return whether there was one."""
    return bool(await tx.fetchval("DELETE FROM registration_tokens WHERE token = $1 RETURNING true", token))
