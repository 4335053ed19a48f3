"""The keys of other servers, in the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import orjson

from tricord.federation.keys import KeyDocument
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.server_keys import key_rows, put_key_row
from tricord.protocol.identifiers import KeyId, ServerName
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64
from tricord.protocol.verify import ServerKey


class StoredKeys:
    """Implements the key ring's `KeyStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, servers: Collection[ServerName]) -> Mapping[ServerName, KeyDocument]:
        """Return the documents of those servers that have one."""
        return {
            server: KeyDocument(
                server,
                valid_until_ts,
                {
                    KeyId(key_id): ServerKey(decode_base64(public_key), until)
                    for key_id, (public_key, until) in orjson.loads(keys).items()
                },
                orjson.loads(document),
                fetched_ts,
            )
            for server, valid_until_ts, fetched_ts, document, keys in await self._database.read(key_rows, servers)
        }

    async def save(self, document: KeyDocument, now_ms: int) -> None:
        """Keep a document."""
        keys = {key_id: (encode_base64(key.public_key), key.valid_until_ts) for key_id, key in document.keys.items()}
        await self._database.run(
            put_key_row,
            document.server_name,
            document.valid_until_ts,
            now_ms,
            orjson.dumps(document.json),
            orjson.dumps(keys),
        )
