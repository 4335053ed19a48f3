from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.federation.servers import HERE, THERE, HandClock, new_key
from tricord.federation.health import PeerHealth
from tricord.federation.request_auth import (
    RequestAuthenticator,
    authorization_header,
    parse_authorization,
    signed_request,
)
from tricord.protocol.canonical_json import canonical_json
from tricord.protocol.errors import Unauthorized
from tricord.protocol.identifiers import ServerName
from tricord.protocol.signing import SigningKey, sign_json
from tricord.protocol.verify import KeyName, ServerKey

URI = "/_matrix/federation/v1/send/1?a=%20"


class KnownKeys:
    """Keys that are at hand."""

    def __init__(self, keys: Mapping[KeyName, ServerKey]) -> None:
        self._keys = keys
        self.asked: list[KeyName] = []

    async def keys(self, names: Iterable[KeyName], *, valid_at_ts: int) -> Mapping[KeyName, ServerKey]:
        del valid_at_ts
        self.asked.extend(names)
        return {name: self._keys[name] for name in self.asked if name in self._keys}


def gatekeeper(key: SigningKey, *, valid_for_ms: int = 1000) -> tuple[RequestAuthenticator, KnownKeys]:
    clock = HandClock()
    keys = KnownKeys({(THERE, key.key_id): ServerKey(key.public_key, clock.now + valid_for_ms)})
    return RequestAuthenticator(HERE, keys, PeerHealth(), clock), keys


def header(
    key: SigningKey, body: object, origin: ServerName = THERE, destination: ServerName = HERE, uri: str = URI
) -> str:
    return authorization_header("PUT", uri, origin, destination, key, None if body is None else canonical_json(body))


def test_what_is_signed_is_what_the_specification_signs() -> None:
    key = new_key()
    body = {"pdus": [], "a": {"b": "ö"}}
    by_the_book = sign_json(
        {"method": "PUT", "uri": URI, "origin": HERE, "destination": THERE, "content": body}, HERE, key
    )
    signature = by_the_book["signatures"][HERE][key.key_id]
    assert authorization_header("PUT", URI, HERE, THERE, key, canonical_json(body)) == (
        f'X-Matrix origin="{HERE}",destination="{THERE}",key="{key.key_id}",sig="{signature}"'
    )


def test_a_request_without_a_body_is_signed_without_content() -> None:
    assert signed_request("GET", "/a", HERE, THERE, None) == canonical_json(
        {"method": "GET", "uri": "/a", "origin": HERE, "destination": THERE}
    )


@pytest.mark.parametrize(
    "value",
    [
        'X-Matrix origin="o.example",destination="d.example",key="ed25519:k",sig="AAAA"',
        'x-matrix   sig="AAAA" , KEY="ed25519:k",\tDestination="d.example",origin="o.example"',
        "X-Matrix origin=o.example,destination=d.example,key=ed25519:k,sig=AAAA",
        'X-Matrix origin="o.exampl\\e",destination="d.example",key="ed25519:k",sig="AAAA",new="a, \\"b\\"=c"',
    ],
)
def test_a_header_is_read_in_any_order_case_and_quoting(value: str) -> None:
    signature = parse_authorization(value)
    assert signature is not None
    assert (signature.origin, signature.destination) == ("o.example", "d.example")
    assert (signature.key_id, signature.signature) == ("ed25519:k", b"\0\0\0")


def test_a_header_of_an_older_server_names_no_destination_and_may_hold_ports() -> None:
    signature = parse_authorization("X-Matrix origin=o.example:8449,key=ed25519:k,sig=AAAA")
    assert signature is not None
    assert (signature.origin, signature.destination) == ("o.example:8449", None)


def test_a_header_of_another_scheme_is_none_of_ours() -> None:
    assert parse_authorization("Bearer abc") is None


@pytest.mark.parametrize(
    "value",
    [
        "X-Matrix ",
        "X-Matrix origin",
        'X-Matrix origin="o.example"',
        'X-Matrix origin="o.example",key="ed25519:k",sig="A"',
        'X-Matrix origin="o.example",key="rsa:k",sig="AAAA"',
        'X-Matrix origin="o example",key="ed25519:k",sig="AAAA"',
        'X-Matrix origin="o.example",origin="p.example",key="ed25519:k",sig="AAAA"',
        'X-Matrix origin="o.example" key="ed25519:k",sig="AAAA"',
        'X-Matrix origin="o.example,key=ed25519:k,sig=AAAA',
        'X-Matrix origin="o.example",key="ed25519:k",sig="AAAA",',
        'X-Matrix origin="o.example",key="ed25519:k",sig="AAAA",x="' + "a" * 5000 + '"',
    ],
)
def test_a_malformed_header_is_refused(value: str) -> None:
    with pytest.raises(Unauthorized):
        parse_authorization(value)


@given(st.text())
def test_any_header_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(Unauthorized):
        parse_authorization("X-Matrix " + text)


async def test_a_signed_request_tells_its_origin() -> None:
    key = new_key()
    authenticator, _ = gatekeeper(key)
    body = {"pdus": [1.5], "edus": []}
    content = b'{"edus":[],"pdus":[1.5]}'
    value = authorization_header("PUT", URI, THERE, HERE, key, content)
    assert await authenticator.origin_of("PUT", URI, [value], body) == THERE


async def test_a_signature_covers_method_uri_and_body() -> None:
    key = new_key()
    authenticator, _ = gatekeeper(key)
    value = header(key, {"a": 1})
    for method, uri, body in [("POST", URI, {"a": 1}), ("PUT", URI + "1", {"a": 1}), ("PUT", URI, {"a": 2})]:
        with pytest.raises(Unauthorized):
            await authenticator.origin_of(method, uri, [value], body)
    with pytest.raises(Unauthorized):
        await authenticator.origin_of("PUT", URI, [value], None)


async def test_a_request_for_another_server_is_refused_before_anybody_is_asked_for_keys() -> None:
    key = new_key()
    authenticator, keys = gatekeeper(key)
    with pytest.raises(Unauthorized):
        await authenticator.origin_of("PUT", URI, [header(key, {}, destination=THERE)], {})
    assert keys.asked == []


async def test_requests_without_signature_or_of_ourselves_are_refused() -> None:
    key = new_key()
    authenticator, keys = gatekeeper(key)
    for values in ([], ["Bearer abc"], [header(key, {}, origin=HERE)], [header(key, {})] * 6):
        with pytest.raises(Unauthorized):
            await authenticator.origin_of("PUT", URI, values, {})
    assert keys.asked == []


async def test_signatures_of_two_servers_on_one_request_are_refused() -> None:
    key = new_key()
    authenticator, _ = gatekeeper(key)
    with pytest.raises(Unauthorized):
        await authenticator.origin_of("PUT", URI, [header(key, {}), header(key, {}, ServerName("c.example"))], {})


async def test_one_of_several_signatures_is_enough() -> None:
    key = new_key()
    authenticator, _ = gatekeeper(key)
    assert await authenticator.origin_of("PUT", URI, [header(new_key(), {}), header(key, {})], {}) == THERE


async def test_an_expired_key_signs_no_requests() -> None:
    key = new_key()
    authenticator, _ = gatekeeper(key, valid_for_ms=-1)
    with pytest.raises(Unauthorized):
        await authenticator.origin_of("PUT", URI, [header(key, {})], {})


async def test_a_request_of_an_older_server_is_signed_without_destination() -> None:
    key = new_key()
    authenticator, _ = gatekeeper(key)
    signature = key.sign(canonical_json({"method": "GET", "uri": URI, "origin": THERE}))
    value = f"X-Matrix origin={THERE},key={key.key_id},sig={signature}"
    assert await authenticator.origin_of("GET", URI, [value], None) == THERE


async def test_a_signed_request_is_a_sign_of_life() -> None:
    key, clock, health = new_key(), HandClock(), PeerHealth()
    keys = KnownKeys({(THERE, key.key_id): ServerKey(key.public_key, clock.now)})
    health.note_unreachable(THERE)
    await RequestAuthenticator(HERE, keys, health, clock).origin_of("PUT", URI, [header(key, {})], {})
    assert health.may_be_called(THERE)
