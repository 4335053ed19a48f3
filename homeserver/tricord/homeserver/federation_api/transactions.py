"""The route of transactions."""

from __future__ import annotations

from typing import Any

from tricord.federation.api.transactions import SendTransaction
from tricord.homeserver.peers.incoming import IncomingTransactions
from tricord.homeserver.serving.call import Answer, Call, Route


class TransactionsApi:
    """Takes in what other servers send."""

    def __init__(self, transactions: IncomingTransactions) -> None:
        self._transactions = transactions

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(SendTransaction, self.send)]

    async def send(self, call: Call[SendTransaction.Body, Any]) -> Answer:
        """Take in a transaction."""
        sent = call.body
        return Answer(await self._transactions.receive(call.origin, call.path["txn_id"], sent.pdus, sent.edus))
