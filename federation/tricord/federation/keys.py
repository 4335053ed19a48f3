"""The public keys of other servers: remembered, asked for at the server itself, or at a notary.

https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from tricord.federation.calls import Peers
from tricord.federation.errors import PeerError
from tricord.protocol.errors import BadJson, SignatureInvalid
from tricord.protocol.identifiers import KeyId, ServerName
from tricord.protocol.signing import ALGORITHM, SigningKey, sign_json, verify_json
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64
from tricord.protocol.verify import KeyName, ServerKey

# How long others may use our keys without asking again.
_OURS_LAST_MS = 24 * 3600 * 1000
# How long a server whose keys were not to be had is not asked again.
_PAUSE_SECONDS = 60
_AT_ONCE = 20
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class KeyDocument:
    """The keys of a server, as it publishes them."""

    server_name: ServerName
    valid_until_ts: int
    keys: Mapping[KeyId, ServerKey]
    """Those in use and those called old; old ones are valid until they expired."""
    json: JsonObject


class KeyStore(Protocol):
    """Where key documents are kept."""

    async def load(self, servers: Collection[ServerName]) -> Mapping[ServerName, KeyDocument]:
        """Return the documents of those servers that have one."""
        ...

    async def save(self, document: KeyDocument, now_ms: int) -> None:
        """Keep a document; the keys of the one before it stay known."""
        ...


def read_document(document: JsonObject, server_name: ServerName) -> KeyDocument:
    """Read the keys that a server publishes of itself; raise SignatureInvalid if it has not signed them with each."""
    if document.get("server_name") != server_name:
        raise SignatureInvalid(f"these are not the keys of {server_name}")
    valid_until = document.get("valid_until_ts")
    verify_keys, old_keys = document.get("verify_keys"), document.get("old_verify_keys")
    if not isinstance(valid_until, int) or not isinstance(verify_keys, dict):
        raise SignatureInvalid(f"the keys of {server_name} have not the form of keys")
    keys: dict[KeyId, ServerKey] = {}
    for key_id, published in (old_keys if isinstance(old_keys, dict) else {}).items():
        expired = published.get("expired_ts") if isinstance(published, dict) else None
        public_key = _public_key(published)
        if public_key is not None and isinstance(expired, int):
            keys[KeyId(key_id)] = ServerKey(public_key, expired)
    for key_id, published in verify_keys.items():
        public_key = _public_key(published)
        if public_key is not None and key_id.startswith(f"{ALGORITHM}:"):
            verify_json(document, server_name, KeyId(key_id), public_key)
            keys[KeyId(key_id)] = ServerKey(public_key, valid_until)
    if not any(key_id in keys for key_id in verify_keys):
        raise SignatureInvalid(f"{server_name} publishes no key that can be used")
    return KeyDocument(server_name, valid_until, keys, document)


def own_document(server_name: ServerName, key: SigningKey, now_ms: int) -> JsonObject:
    """Return the keys of this server as it publishes them, signed."""
    document: JsonObject = {
        "server_name": server_name,
        "valid_until_ts": now_ms + _OURS_LAST_MS,
        "verify_keys": {key.key_id: {"key": encode_base64(key.public_key)}},
        "old_verify_keys": {},
    }
    return sign_json(document, server_name, key)


class KeyRing:
    """Knows the keys of servers, and finds those that it does not know."""

    def __init__(
        self,
        server_name: ServerName,
        key: SigningKey,
        peers: Peers,
        store: KeyStore,
        now_ms: Callable[[], int],
        *,
        notaries: Sequence[ServerName] = (),
    ) -> None:
        self._server_name = server_name
        self._key = key
        self._peers = peers
        self._store = store
        self._now_ms = now_ms
        self._notaries = notaries
        self._known: dict[ServerName, KeyDocument] = {}
        self._under_way: dict[ServerName, trio.Event] = {}
        self._not_before: dict[ServerName, float] = {}
        self._limiter = trio.CapacityLimiter(_AT_ONCE)

    async def keys(self, names: Iterable[KeyName], *, valid_at_ts: int) -> Mapping[KeyName, ServerKey]:
        """Return those of the keys that can be had, valid at a time as far as their servers say so."""
        wanted: dict[ServerName, set[KeyId]] = {}
        for server, key_id in names:
            wanted.setdefault(server, set()).add(key_id)
        unknown = [server for server in wanted if server not in self._known and server != self._server_name]
        if unknown:
            self._known |= await self._store.load(unknown)
        now = self._now_ms()
        # No key is trusted for longer than a week, so there is no use in asking for one that is valid beyond.
        needed_until = min(valid_at_ts, now)
        async with trio.open_nursery() as nursery:
            for server, key_ids in wanted.items():
                if server != self._server_name and not self._suffices(server, key_ids, needed_until):
                    nursery.start_soon(self._find, server, key_ids, needed_until)
        return {
            (server, key_id): key
            for server, key_ids in wanted.items()
            for key_id in key_ids
            if (key := self._key_of(server, key_id, now)) is not None
        }

    async def document_of(self, server: ServerName, valid_at_ts: int) -> KeyDocument | None:
        """Return the keys that a server publishes, for those who ask us as a notary."""
        if server not in self._known:
            self._known |= await self._store.load([server])
        known = self._known.get(server)
        if known is None or known.valid_until_ts < valid_at_ts:
            await self._find(server, set(), valid_at_ts)
        return self._known.get(server)

    def own_document(self) -> JsonObject:
        """Return the keys of this server as it publishes them."""
        return own_document(self._server_name, self._key, self._now_ms())

    def countersigned(self, document: KeyDocument) -> JsonObject:
        """Return the keys of a server with our signature, as a notary gives them out."""
        signatures = document.json.get("signatures", {})
        copy = {**document.json, "signatures": {name: dict(of) for name, of in signatures.items()}}
        return sign_json(copy, self._server_name, self._key)

    def _key_of(self, server: ServerName, key_id: KeyId, now: int) -> ServerKey | None:
        if server == self._server_name:
            own = ServerKey(self._key.public_key, 2**53 - 1)
            return own if key_id == self._key.key_id else None
        document = self._known.get(server)
        key = None if document is None else document.keys.get(key_id)
        return None if key is None else key.trusted_at(now)

    def _suffices(self, server: ServerName, key_ids: Collection[KeyId], valid_at_ts: int) -> bool:
        document = self._known.get(server)
        if document is None or not key_ids:
            return False
        return all(key_id in document.keys for key_id in key_ids) and document.valid_until_ts >= valid_at_ts

    async def _find(self, server: ServerName, key_ids: Collection[KeyId], valid_at_ts: int) -> None:
        """Ask for the keys of a server, once for all who want them."""
        if (under_way := self._under_way.get(server)) is not None:
            await under_way.wait()
            return
        if self._not_before.get(server, 0) > trio.current_time():
            return
        done = self._under_way[server] = trio.Event()
        try:
            async with self._limiter:
                document = await self._asked(server, valid_at_ts)
            if document is None or not (set(key_ids) <= document.keys.keys()):
                self._not_before[server] = trio.current_time() + _PAUSE_SECONDS
            if document is not None:
                before = self._known.get(server)
                if before is not None:
                    document = KeyDocument(
                        server, document.valid_until_ts, {**before.keys, **document.keys}, document.json
                    )
                self._known[server] = document
                await self._store.save(document, self._now_ms())
        finally:
            del self._under_way[server]
            done.set()

    async def _asked(self, server: ServerName, valid_at_ts: int) -> KeyDocument | None:
        try:
            return read_document(await self._peers.server_keys(server), server)
        except (PeerError, SignatureInvalid, BadJson):
            pass  # a notary may know more
        for notary in self._notaries:
            if notary in (server, self._server_name):
                continue
            try:
                answers = await self._peers.notary_keys(notary, {server: {KeyId("ed25519:any"): valid_at_ts}})

                for document in answers:
                    if isinstance(document, dict) and document.get("server_name") == server:
                        return read_document(document, server)
            except (PeerError, SignatureInvalid, BadJson):
                continue
        return None


def _public_key(published: object) -> bytes | None:
    encoded = published.get("key") if isinstance(published, dict) else None
    if not isinstance(encoded, str):
        return None
    try:
        key = decode_base64(encoded)
    except BadJson:
        return None
    return key if len(key) == _KEY_BYTES else None
