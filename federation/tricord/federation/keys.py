"""The public keys of other servers: remembered, asked for at the server itself, or at a notary.

https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

import trio

from tricord.federation.errors import PeerError
from tricord.federation.health import PeerHealth
from tricord.federation.key_documents import KeyDocument, merged, own_document, read_document
from tricord.protocol.errors import SignatureInvalid
from tricord.protocol.identifiers import KeyId, ServerName
from tricord.protocol.signing import SigningKey, sign_json, verify_json
from tricord.protocol.strict_json import MAX_INTEGER, JsonObject
from tricord.protocol.verify import KeyName, ServerKey

__all__ = ["KeyDocument", "KeyRing", "KeySource", "KeyStore"]

# Servers hand out keys that last for an hour at least, so whoever's clock is ahead by less is not locked out.
_CLOCK_SKEW_MS = 3600 * 1000
# How long a server is left alone, at most, that has not the keys that are said to be its own. Anybody can claim them.
_LONGEST_PAUSE_SECONDS = 600.0
_AT_ONCE = 100
_PATIENCE_SECONDS = 60
# Anybody may ask us as a notary, about servers that answer as slowly as they like.
_AT_ONCE_FOR_OTHERS = 10
_MOST_REMEMBERED = 10_000
# With more servers than this to ask, notaries are asked first: one request tells the keys of many.
_MANY_SERVERS = 20
_SERVERS_PER_QUERY = 100


class KeySource(Protocol):
    """Where keys are asked for; `Peers` is one."""

    async def server_keys(self, destination: ServerName) -> JsonObject:
        """Return the keys that a server publishes."""
        ...

    async def notary_keys(
        self, notary: ServerName, wanted: Mapping[ServerName, Mapping[KeyId, int]]
    ) -> list[JsonObject]:
        """Return what a notary knows of servers' keys."""
        ...


class KeyStore(Protocol):
    """Where key documents are kept."""

    async def load(self, servers: Collection[ServerName]) -> Mapping[ServerName, KeyDocument]:
        """Return the documents of those servers that have one."""
        ...

    async def save(self, document: KeyDocument, now_ms: int) -> None:
        """Keep a document, which has the keys of the one before it too."""
        ...


class KeyRing:
    """Knows the keys of servers, and finds those that it does not know."""

    def __init__(
        self,
        server_name: ServerName,
        key: SigningKey,
        peers: KeySource,
        store: KeyStore,
        now_ms: Callable[[], int],
        *,
        retired_keys: Mapping[KeyId, ServerKey] | None = None,
        notaries: Sequence[ServerName] = (),
    ) -> None:
        self._server_name = server_name
        self._retired_keys = {id_: old for id_, old in (retired_keys or {}).items() if id_ != key.key_id}
        self._key = key
        self._peers = peers
        self._store = store
        self._now_ms = now_ms
        self._notaries = notaries
        self._known: OrderedDict[ServerName, KeyDocument] = OrderedDict()
        self._under_way: dict[ServerName, trio.Event] = {}
        self._fruitless = PeerHealth(longest_pause_seconds=_LONGEST_PAUSE_SECONDS)
        self._limiter = trio.CapacityLimiter(_AT_ONCE)
        self._limiter_for_others = trio.CapacityLimiter(_AT_ONCE_FOR_OTHERS)

    async def keys(self, names: Iterable[KeyName], *, valid_at_ts: int) -> Mapping[KeyName, ServerKey]:
        """Return those of the keys that can be had, valid at a time as far as their servers say so.

        Whether a key counts for a signature is for the verifier to say: expired ones come too.
        """
        wanted: dict[ServerName, set[KeyId]] = {}
        for server, key_id in names:
            wanted.setdefault(server, set()).add(key_id)
        found: dict[KeyName, ServerKey] = {}
        own = {**self._retired_keys, self._key.key_id: ServerKey(self._key.public_key, MAX_INTEGER)}
        for key_id in wanted.pop(self._server_name, set()) & own.keys():
            found[self._server_name, key_id] = own[key_id]
        until = min(valid_at_ts, self._now_ms() + _CLOCK_SKEW_MS)
        documents = await self._documents(wanted, until, self._limiter)
        for server, key_ids in wanted.items():
            if (document := documents.get(server)) is not None:
                found |= {(server, key_id): document.keys[key_id] for key_id in key_ids & document.keys.keys()}
        return found

    async def document_of(self, server: ServerName, valid_at_ts: int) -> KeyDocument | None:
        """Return the keys that a server publishes, for those who ask us as a notary.

        Where the server does not answer, what it said last is good enough.

        "Intermediate notary servers should cache a response for half of its lifetime":
        https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2server
        """
        document = (await self._remembered([server])).get(server)
        if document is not None and document.is_half_over(self._now_ms()):
            await self._renew(server)
        until = min(valid_at_ts, self._now_ms() + _CLOCK_SKEW_MS)
        return (await self._documents({server: set()}, until, self._limiter_for_others)).get(server)

    def own_document(self) -> JsonObject:
        """Return the keys of this server as it publishes them."""
        return own_document(self._server_name, self._key, self._now_ms(), self._retired_keys)

    def countersigned(self, document: KeyDocument) -> JsonObject:
        """Return the keys of a server with our signature, as a notary gives them out."""
        signatures = document.json.get("signatures", {})
        copy = {**document.json, "signatures": {name: dict(of) for name, of in signatures.items()}}
        return sign_json(copy, self._server_name, self._key)

    async def _documents(
        self, wanted: Mapping[ServerName, Collection[KeyId]], until: int, limiter: trio.CapacityLimiter
    ) -> dict[ServerName, KeyDocument]:
        """Return the documents of servers, fetched where what is known does not do."""
        documents = await self._remembered(wanted)
        missing = {
            server: key_ids
            for server, key_ids in wanted.items()
            if not _suffices(documents.get(server), key_ids, until) and self._fruitless.may_be_called(server)
        }
        if len(missing) > _MANY_SERVERS:
            documents |= await self._told_by_notaries(missing, until)

        async def find(server: ServerName, key_ids: Collection[KeyId]) -> None:
            document = await self._find(server, key_ids, until, limiter)
            if document is not None:
                documents[server] = document

        # Events can be said to be of as many servers as somebody likes to invent: what is not found by then, is not.
        with trio.move_on_after(_PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                for server, key_ids in missing.items():
                    if not _suffices(documents.get(server), key_ids, until):
                        nursery.start_soon(find, server, key_ids)
        return documents

    async def _remembered(self, servers: Iterable[ServerName]) -> dict[ServerName, KeyDocument]:
        documents = {}
        unknown = []
        for server in servers:
            if (document := self._known.get(server)) is None:
                unknown.append(server)
            else:
                self._known.move_to_end(server)
                documents[server] = document
        if unknown:
            for server, document in (await self._store.load(unknown)).items():
                # A newer one may have come in the meantime.
                documents[server] = self._known.setdefault(server, document)
            while len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)
        return documents

    async def _find(
        self, server: ServerName, key_ids: Collection[KeyId], until: int, limiter: trio.CapacityLimiter
    ) -> KeyDocument | None:
        """Ask for the keys of a server, once for all who want them at the time."""
        while (under_way := self._under_way.get(server)) is not None:
            await under_way.wait()
            if _suffices(self._known.get(server), key_ids, until):
                return self._known[server]
        # Whoever asked found nothing, or was cancelled; then it is up to us.
        if not self._fruitless.may_be_called(server):
            return self._known.get(server)
        done = self._under_way[server] = trio.Event()
        try:
            async with limiter:
                await self._ask(server, key_ids, until)
            document = self._known.get(server)
            if _suffices(document, key_ids, until):
                self._fruitless.note_alive(server)
            else:
                self._fruitless.note_unreachable(server)
            return document
        finally:
            del self._under_way[server]
            done.set()

    async def _renew(self, server: ServerName) -> None:
        """Ask a server for its keys once more; who asks meanwhile is told the old ones."""
        if server in self._under_way or not self._fruitless.may_be_called(server):
            return
        done = self._under_way[server] = trio.Event()
        try:
            async with self._limiter_for_others:
                document = await self._told_by_itself(server)
            if document is None or document.is_half_over(self._now_ms()):
                self._fruitless.note_unreachable(server)
        finally:
            del self._under_way[server]
            done.set()

    async def _ask(self, server: ServerName, key_ids: Collection[KeyId], until: int) -> None:
        """Ask a server for its keys; where that does not do, ask notaries."""
        document = await self._told_by_itself(server)
        if not _suffices(document, key_ids, until):
            await self._told_by_notaries({server: key_ids}, until)

    async def _told_by_itself(self, server: ServerName) -> KeyDocument | None:
        try:
            document = read_document(await self._peers.server_keys(server), server, self._now_ms())
        except (PeerError, SignatureInvalid):
            return self._known.get(server)
        return await self._keep(document)

    async def _told_by_notaries(
        self, wanted: Mapping[ServerName, Collection[KeyId]], until: int
    ) -> dict[ServerName, KeyDocument]:
        """Return what notaries tell about servers; each is asked for what those before it did not know."""
        told: dict[ServerName, KeyDocument] = {}
        for notary in self._notaries:
            left = {
                server: dict.fromkeys(key_ids, until)
                for server, key_ids in wanted.items()
                if server != notary and not _suffices(told.get(server), key_ids, until)
            }
            if left and notary != self._server_name and (vouching := await self._notary(notary)) is not None:
                told |= await self._told_by(vouching, left)
        return told

    async def _notary(self, notary: ServerName) -> KeyDocument | None:
        """Return the keys of a notary, from itself alone: or notaries would wait for each other."""
        document = (await self._remembered([notary])).get(notary)
        if document is None or document.valid_until_ts < self._now_ms():
            document = await self._told_by_itself(notary)
        return document

    async def _told_by(
        self, notary: KeyDocument, wanted: Mapping[ServerName, Mapping[KeyId, int]]
    ) -> dict[ServerName, KeyDocument]:
        """Return what one notary tells about servers."""
        told = {}
        servers = list(wanted)
        for start in range(0, len(servers), _SERVERS_PER_QUERY):
            some = {server: wanted[server] for server in servers[start : start + _SERVERS_PER_QUERY]}
            try:
                answers = await self._peers.notary_keys(notary.server_name, some)
            except PeerError:
                break
            for answer in answers:
                if (document := self._vouched_for(notary, answer, some)) is not None:
                    told[document.server_name] = await self._keep(document)
        return told

    def _vouched_for(
        self, notary: KeyDocument, answer: JsonObject, asked: Collection[ServerName]
    ) -> KeyDocument | None:
        """Return what a notary says if it was asked for it, and both it and the server have signed it."""
        server = answer.get("server_name")
        if not isinstance(server, str) or server not in asked:
            return None
        now = self._now_ms()
        try:
            document = read_document(answer, ServerName(server), now)
            for key_id in answer["signatures"].get(notary.server_name, {}):
                key = notary.keys.get(key_id)
                if key is not None and key.valid_until_ts >= now:
                    verify_json(answer, notary.server_name, key_id, key.public_key)
                    return document
        except SignatureInvalid:
            pass
        return None

    async def _keep(self, found: KeyDocument) -> KeyDocument:
        known = self._known.get(found.server_name)
        if known is None:
            # Not remembered is not unknown: old keys must not be lost.
            known = (await self._store.load([found.server_name])).get(found.server_name)
            # Nor those that have come in the meantime.
            known = self._known.get(found.server_name, known)
        document = merged(known, found)
        self._known[found.server_name] = document
        await self._store.save(document, self._now_ms())
        return document


def _suffices(document: KeyDocument | None, key_ids: Collection[KeyId], until: int) -> bool:
    """Return whether a document has the keys, and either is fresh enough or says that they are old."""
    if document is None or not (set(key_ids) <= document.keys.keys()):
        return False
    return document.valid_until_ts >= until
