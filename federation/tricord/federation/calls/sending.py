"""Events that go to another server, for it to take in or to sign."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tricord.federation.api import policy, transactions
from tricord.federation.calls.base import QUICK_SECONDS, PeerCalls, json_object
from tricord.federation.errors import PeerAnswerInvalid
from tricord.protocol.identifiers import EventId, KeyId, ServerName
from tricord.protocol.strict_json import JsonObject, parse_event_object


class SendingCalls(PeerCalls):
    """Transactions, and the signatures of policy servers."""

    async def send_transaction(
        self,
        destination: ServerName,
        transaction_id: str,
        origin_server_ts: int,
        pdus: Sequence[bytes],
        edus: Sequence[JsonObject],
    ) -> dict[EventId, str | None]:
        """Send a transaction; return why events were not taken, None for those that were.

        The sender knows itself when a server may be tried again, so back-off does not stop this.
        """
        body = {
            "origin": self._client.server_name,
            "origin_server_ts": origin_server_ts,
            "pdus": [_event(pdu) for pdu in pdus],
            "edus": list(edus),
        }
        answer = await self._client.call(
            destination,
            transactions.SendTransaction,
            {"txn_id": transaction_id},
            body=body,
            timeout_seconds=60,
            urgent=True,
        )
        return _results(answer)

    async def policy_signatures(self, destination: ServerName, pdu: JsonObject, *, urgent: bool) -> dict[KeyId, str]:
        """Ask a policy server to sign an event; return its signatures by the ids of its keys."""
        answer = await self._client.call(
            destination, policy.SignByPolicy, body=pdu, timeout_seconds=QUICK_SECONDS, urgent=urgent
        )
        signatures = json_object(destination, answer).get(destination, {})
        if not isinstance(signatures, dict) or not all(isinstance(one, str) for one in signatures.values()):
            raise PeerAnswerInvalid(destination, "signatures are strings by the ids of keys")
        return {KeyId(key_id): signature for key_id, signature in signatures.items()}


@lru_cache(maxsize=128)
def _event(pdu: bytes) -> JsonObject:
    """Parse an event that goes to many servers at about the same time; nobody changes the result."""
    return parse_event_object(pdu, strict=False)


def _results(answer: Any) -> dict[EventId, str | None]:
    """Read what became of the events of a transaction.

    The server has answered 200, so it has the events: nothing in its answer could be worth sending them again.
    """
    pdus = answer.get("pdus") if isinstance(answer, dict) else None
    if not isinstance(pdus, dict):
        return {}
    return {EventId(event_id): _error(result) for event_id, result in pdus.items()}


def _error(result: Any) -> str | None:
    error = result.get("error") if isinstance(result, dict) else None
    return error[:1000] if isinstance(error, str) and error else None
