from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.federation.servers import HERE, THERE, HandClock, new_key
from tricord.federation.errors import PeerUnreachable
from tricord.federation.key_documents import KeyDocument, read_document
from tricord.federation.keys import KeyRing
from tricord.protocol.errors import SignatureInvalid
from tricord.protocol.identifiers import KeyId, ServerName
from tricord.protocol.signing import SigningKey, sign_json
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import encode_base64
from tricord.protocol.verify import ServerKey

NOTARY = ServerName("notary.example")
OTHER = ServerName("other.example")
DAY = 24 * 3600 * 1000


def document(
    server: ServerName, *keys: SigningKey, valid_until_ts: int, old: Mapping[str, tuple[SigningKey, int]] | None = None
) -> JsonObject:
    published: JsonObject = {
        "server_name": server,
        "valid_until_ts": valid_until_ts,
        "verify_keys": {key.key_id: {"key": encode_base64(key.public_key)} for key in keys},
        "old_verify_keys": {
            key_id: {"key": encode_base64(key.public_key), "expired_ts": expired}
            for key_id, (key, expired) in (old or {}).items()
        },
    }
    for key in keys:
        sign_json(published, server, key)
    return published


@dataclass
class Published:
    """What servers and notaries answer, and how often they were asked."""

    of_servers: dict[ServerName, JsonObject] = field(default_factory=dict)
    of_notaries: dict[ServerName, list[JsonObject]] = field(default_factory=dict)
    asked: list[ServerName] = field(default_factory=list)
    notaries_asked: list[tuple[ServerName, set[ServerName]]] = field(default_factory=list)
    seconds: float = 0

    async def server_keys(self, destination: ServerName) -> JsonObject:
        self.asked.append(destination)
        await trio.sleep(self.seconds)
        if destination not in self.of_servers:
            raise PeerUnreachable(destination, "is not there")
        return self.of_servers[destination]

    async def notary_keys(
        self, notary: ServerName, wanted: Mapping[ServerName, Mapping[KeyId, int]]
    ) -> list[JsonObject]:
        self.notaries_asked.append((notary, set(wanted)))
        await trio.sleep(self.seconds)
        if notary not in self.of_notaries:
            raise PeerUnreachable(notary, "is not there")
        return self.of_notaries[notary]


@dataclass
class Shelf:
    """A store of documents."""

    documents: dict[ServerName, KeyDocument] = field(default_factory=dict)

    async def load(self, servers: Collection[ServerName]) -> Mapping[ServerName, KeyDocument]:
        await trio.lowlevel.checkpoint()
        return {server: self.documents[server] for server in servers if server in self.documents}

    async def save(self, document: KeyDocument, now_ms: int) -> None:
        del now_ms
        await trio.lowlevel.checkpoint()
        self.documents[document.server_name] = document


@dataclass
class Scene:
    """A key ring, and the world around it."""

    published: Published = field(default_factory=Published)
    shelf: Shelf = field(default_factory=Shelf)
    clock: HandClock = field(default_factory=HandClock)
    own: SigningKey = field(default_factory=new_key)
    key: SigningKey = field(default_factory=new_key)

    def ring(self, *notaries: ServerName) -> KeyRing:
        return KeyRing(HERE, self.own, self.published, self.shelf, self.clock.now_ms, notaries=notaries)

    def publish(self, server: ServerName = THERE, valid_for_ms: int = DAY, **more: Any) -> None:
        until = self.clock.now + valid_for_ms
        self.published.of_servers[server] = document(server, self.key, valid_until_ts=until, **more)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_key_is_asked_for_once_and_then_known(scene: Scene) -> None:
    scene.publish()
    ring = scene.ring()
    for _ in range(3):
        keys = await ring.keys([(THERE, scene.key.key_id)], valid_at_ts=scene.clock.now)
        assert keys[THERE, scene.key.key_id].public_key == scene.key.public_key
    assert scene.published.asked == [THERE]
    await scene.ring().keys([(THERE, scene.key.key_id)], valid_at_ts=scene.clock.now)
    assert scene.published.asked == [THERE]


async def test_all_who_want_keys_of_a_server_at_once_share_one_request(scene: Scene, autojump_clock: MockClock) -> None:
    scene.publish()
    scene.published.seconds = 1
    ring = scene.ring()
    found = []

    async def want() -> None:
        found.append(await ring.keys([(THERE, scene.key.key_id)], valid_at_ts=scene.clock.now))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(want)
    assert scene.published.asked == [THERE]
    assert all((THERE, scene.key.key_id) in keys for keys in found)


async def test_if_whoever_asks_is_cancelled_another_who_waits_asks(scene: Scene, autojump_clock: MockClock) -> None:
    scene.publish()
    scene.published.seconds = 10
    ring = scene.ring()
    found: dict[Any, Any] = {}

    async def impatient() -> None:
        with trio.move_on_after(1):
            await ring.keys([(THERE, scene.key.key_id)], valid_at_ts=scene.clock.now)

    async def patient() -> None:
        await trio.sleep(0.5)
        found.update(await ring.keys([(THERE, scene.key.key_id)], valid_at_ts=scene.clock.now))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        nursery.start_soon(patient)
    assert (THERE, scene.key.key_id) in found
    assert len(scene.published.asked) == 2


async def test_a_server_that_does_not_answer_is_not_asked_all_the_time(scene: Scene, autojump_clock: MockClock) -> None:
    ring = scene.ring()
    for _ in range(600):
        assert await ring.keys([(THERE, scene.key.key_id)], valid_at_ts=scene.clock.now) == {}
        await trio.sleep(1)
    assert 5 < len(scene.published.asked) < 15


async def test_a_key_that_a_server_does_not_have_is_not_asked_for_all_the_time(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.publish()
    ring = scene.ring()
    for number in range(600):
        assert await ring.keys([(THERE, KeyId(f"ed25519:{number}"))], valid_at_ts=scene.clock.now) == {}
        await trio.sleep(1)
    assert len(scene.published.asked) < 15
    assert len(await ring.keys([(THERE, scene.key.key_id)], valid_at_ts=scene.clock.now)) == 1


async def test_keys_are_asked_for_again_when_they_have_expired(scene: Scene, autojump_clock: MockClock) -> None:
    scene.publish()
    ring = scene.ring()
    name = (THERE, scene.key.key_id)
    await ring.keys([name], valid_at_ts=scene.clock.now)
    scene.clock.now += 2 * DAY
    await ring.keys([name], valid_at_ts=scene.clock.now - 2 * DAY)
    assert len(scene.published.asked) == 1
    scene.publish()
    keys = await ring.keys([name], valid_at_ts=scene.clock.now)
    assert len(scene.published.asked) == 2
    assert keys[name].valid_until_ts == scene.clock.now + DAY


async def test_an_expired_key_is_still_told_where_its_server_is_gone(scene: Scene, autojump_clock: MockClock) -> None:
    scene.publish()
    ring = scene.ring()
    name = (THERE, scene.key.key_id)
    until = (await ring.keys([name], valid_at_ts=scene.clock.now))[name].valid_until_ts
    del scene.published.of_servers[THERE]
    scene.clock.now += 30 * DAY
    assert (await ring.keys([name], valid_at_ts=scene.clock.now))[name].valid_until_ts == until


async def test_no_key_is_trusted_for_more_than_a_week(scene: Scene) -> None:
    scene.publish(valid_for_ms=1000 * DAY)
    name = (THERE, scene.key.key_id)
    keys = await scene.ring().keys([name], valid_at_ts=scene.clock.now)
    assert keys[name].valid_until_ts == scene.clock.now + 7 * DAY
    scene.clock.now += 8 * DAY
    assert (await scene.ring().keys([name], valid_at_ts=0))[name].valid_until_ts == scene.clock.now - DAY


async def test_old_keys_count_until_they_expired_and_outlive_their_document(
    scene: Scene, autojump_clock: MockClock
) -> None:
    old = new_key()
    scene.publish(old={old.key_id: (old, 1000)})
    ring = scene.ring()
    names = [(THERE, old.key_id), (THERE, scene.key.key_id)]
    keys = await ring.keys(names, valid_at_ts=scene.clock.now)
    assert keys[names[0]].valid_until_ts == 1000
    scene.clock.now += 2 * DAY
    scene.publish()
    assert (await ring.keys(names, valid_at_ts=scene.clock.now))[names[0]].valid_until_ts == 1000
    assert scene.shelf.documents[THERE].keys[old.key_id].valid_until_ts == 1000


async def test_a_key_that_became_old_is_no_longer_trusted(scene: Scene, autojump_clock: MockClock) -> None:
    scene.publish()
    ring = scene.ring()
    name = (THERE, scene.key.key_id)
    await ring.keys([name], valid_at_ts=scene.clock.now)
    newer = new_key()
    revoked = scene.clock.now + 5
    scene.clock.now += 2 * DAY
    scene.published.of_servers[THERE] = document(
        THERE, newer, valid_until_ts=scene.clock.now + DAY, old={name[1]: (scene.key, revoked)}
    )
    keys = await ring.keys([(THERE, newer.key_id), name], valid_at_ts=scene.clock.now)
    assert keys[name].valid_until_ts == revoked


async def test_the_keys_of_another_server_are_refused(scene: Scene) -> None:
    scene.published.of_servers[THERE] = document(OTHER, scene.key, valid_until_ts=scene.clock.now + DAY)
    names = [(THERE, scene.key.key_id), (OTHER, scene.key.key_id)]
    assert await scene.ring().keys(names, valid_at_ts=scene.clock.now) == {}
    assert scene.shelf.documents == {}


def test_malformed_and_unsigned_documents_are_refused(scene: Scene) -> None:
    good = document(THERE, scene.key, valid_until_ts=5)
    key_id = scene.key.key_id
    read_document(good, THERE, 0)
    changes: list[JsonObject] = [
        {"server_name": "other.example"},
        {"server_name": 1},
        {"valid_until_ts": "5"},
        {"valid_until_ts": 6},
        {"verify_keys": []},
        {"verify_keys": {}},
        {"verify_keys": {key_id: {"key": "AAAA"}}},
        {"verify_keys": {key_id: {"key": encode_base64(new_key().public_key)}}},
        {"old_verify_keys": {"ed25519:x": {"key": "AAAA"}}},
        {"old_verify_keys": {f"ed25519:{number}": {"key": "A", "expired_ts": 1} for number in range(300)}},
        {"signatures": {}},
        {"signatures": {THERE: {key_id: "AAAA"}}},
        {"signatures": {THERE: {key_id: 1}}},
    ]
    for change in changes:
        with pytest.raises(SignatureInvalid):
            read_document({**good, **change}, THERE, 0)


def test_a_key_that_has_not_signed_its_document_is_not_taken(scene: Scene) -> None:
    published = document(THERE, scene.key, new_key(), valid_until_ts=5)
    other = next(key_id for key_id in published["verify_keys"] if key_id != scene.key.key_id)
    del published["signatures"][THERE][other]
    assert set(read_document(published, THERE, 0).keys) == {scene.key.key_id}


async def test_a_notary_is_asked_where_the_server_does_not_answer(scene: Scene, autojump_clock: MockClock) -> None:
    notary = new_key()
    scene.published.of_servers[NOTARY] = document(NOTARY, notary, valid_until_ts=scene.clock.now + DAY)
    theirs = document(THERE, scene.key, valid_until_ts=scene.clock.now - DAY)
    scene.published.of_notaries[NOTARY] = [sign_json(theirs, NOTARY, notary)]
    keys = await scene.ring(NOTARY).keys([(THERE, scene.key.key_id)], valid_at_ts=scene.clock.now - 2 * DAY)
    assert keys[THERE, scene.key.key_id].valid_until_ts == scene.clock.now - DAY


async def test_what_a_notary_says_unasked_or_unsigned_is_not_believed(scene: Scene, autojump_clock: MockClock) -> None:
    notary, until = new_key(), scene.clock.now + DAY
    scene.published.of_servers[NOTARY] = document(NOTARY, notary, valid_until_ts=until)
    unsigned_by_notary = document(THERE, scene.key, valid_until_ts=until)
    signed_by_another = sign_json(document(THERE, scene.key, valid_until_ts=until), NOTARY, new_key())
    not_asked_for = sign_json(document(OTHER, scene.key, valid_until_ts=until), NOTARY, notary)
    unsigned_by_server = document(THERE, scene.key, valid_until_ts=until)
    unsigned_by_server["signatures"] = {}
    scene.published.of_notaries[NOTARY] = [
        unsigned_by_notary,
        signed_by_another,
        not_asked_for,
        sign_json(unsigned_by_server, NOTARY, notary),
        {},
        {"server_name": []},
    ]
    assert await scene.ring(NOTARY).keys([(THERE, scene.key.key_id)], valid_at_ts=scene.clock.now) == {}
    assert OTHER not in scene.shelf.documents


async def test_notaries_that_do_not_answer_do_not_wait_for_each_other(scene: Scene, autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        keys = await scene.ring(NOTARY, OTHER).keys(
            [(name, scene.key.key_id) for name in (THERE, NOTARY, OTHER)], valid_at_ts=scene.clock.now
        )
    assert keys == {}


async def test_keys_of_many_servers_are_asked_of_a_notary_at_once(scene: Scene, autojump_clock: MockClock) -> None:
    notary, until = new_key(), scene.clock.now + DAY
    servers = [ServerName(f"s{number}.example") for number in range(150)]
    scene.published.of_servers[NOTARY] = document(NOTARY, notary, valid_until_ts=until)
    scene.published.of_notaries[NOTARY] = [
        sign_json(document(server, scene.key, valid_until_ts=until), NOTARY, notary) for server in servers
    ]
    ring = scene.ring(NOTARY)
    keys = await ring.keys([(server, scene.key.key_id) for server in servers], valid_at_ts=scene.clock.now)
    assert len(keys) == 150
    assert scene.published.asked == [NOTARY]
    assert len(scene.published.notaries_asked) == 2


async def test_our_own_keys_are_known_and_never_asked_for(scene: Scene) -> None:
    ring = scene.ring()
    names = [(HERE, scene.own.key_id), (HERE, KeyId("ed25519:other"))]
    assert set(await ring.keys(names, valid_at_ts=scene.clock.now)) == {names[0]}
    assert scene.published.asked == []


async def test_what_we_publish_others_can_read(scene: Scene) -> None:
    ring = scene.ring()
    published = read_document(ring.own_document(), HERE, scene.clock.now)
    assert published.keys[scene.own.key_id].public_key == scene.own.public_key
    scene.publish()
    theirs = await ring.document_of(THERE, scene.clock.now)
    assert theirs is not None
    countersigned = ring.countersigned(theirs)
    assert set(countersigned["signatures"]) == {HERE, THERE}
    assert set(theirs.json["signatures"]) == {THERE}
    read_document(countersigned, THERE, scene.clock.now)


async def test_as_a_notary_we_tell_what_a_server_said_last(scene: Scene, autojump_clock: MockClock) -> None:
    scene.publish()
    ring = scene.ring()
    assert await ring.document_of(THERE, scene.clock.now) is not None
    del scene.published.of_servers[THERE]
    scene.clock.now += 30 * DAY
    assert await ring.document_of(THERE, scene.clock.now) is not None
    assert await ring.document_of(OTHER, scene.clock.now) is None


async def test_questions_to_us_as_a_notary_do_not_stand_in_the_way_of_our_own(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.publish()
    scene.published.seconds = 10
    ring = scene.ring()
    async with trio.open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(ring.document_of, ServerName(f"slow{number}.example"), scene.clock.now)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(11):
            assert await ring.keys([(THERE, scene.key.key_id)], valid_at_ts=scene.clock.now)
        nursery.cancel_scope.cancel()


async def test_own_keys_of_before_are_published_and_known(scene: Scene) -> None:
    old = new_key()
    ring = KeyRing(
        HERE,
        scene.own,
        scene.published,
        scene.shelf,
        scene.clock.now_ms,
        retired_keys={old.key_id: ServerKey(old.public_key, 7), scene.own.key_id: ServerKey(scene.own.public_key, 7)},
    )
    document = read_document(ring.own_document(), HERE, scene.clock.now)
    assert document.keys[old.key_id] == ServerKey(old.public_key, 7)
    assert document.keys[scene.own.key_id].valid_until_ts > scene.clock.now
    keys = await ring.keys([(HERE, old.key_id), (HERE, scene.own.key_id)], valid_at_ts=scene.clock.now)
    assert keys[HERE, old.key_id].valid_until_ts == 7
    assert keys[HERE, scene.own.key_id].valid_until_ts > scene.clock.now


async def test_keys_that_come_while_the_store_is_read_are_kept(scene: Scene) -> None:
    ring, newer = scene.ring(), new_key()
    go, is_there = trio.Event(), trio.Event()

    async def load_late(servers: Collection[ServerName]) -> Mapping[ServerName, KeyDocument]:
        is_there.set()
        await go.wait()
        return {}

    def told(key: SigningKey) -> KeyDocument:
        until = scene.clock.now + DAY
        return read_document(document(THERE, key, valid_until_ts=until), THERE, scene.clock.now)

    load, scene.shelf.load = scene.shelf.load, load_late  # type: ignore[method-assign]  # the first answer is late
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ring._keep, told(scene.key))
        await is_there.wait()
        scene.shelf.load = load  # type: ignore[method-assign]
        await ring._keep(told(newer))
        go.set()
    assert scene.shelf.documents[THERE].keys.keys() == {scene.key.key_id, newer.key_id}
