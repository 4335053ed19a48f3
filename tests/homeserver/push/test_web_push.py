"""Web Push, held against the example of its specification and read as a browser would."""

from __future__ import annotations

import base64
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tricord.homeserver.push.web_push import Subscription, VapidKey, encrypted
from tricord.homeserver.push.web_push_key import KEY_FILE, WebPushKey
from tricord.protocol.errors import MatrixError


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# https://www.rfc-editor.org/rfc/rfc8291#appendix-A
PLAINTEXT = decoded("V2hlbiBJIGdyb3cgdXAsIEkgd2FudCB0byBiZSBhIHdhdGVybWVsb24")
SENDER = decoded("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")
BROWSER = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SALT = decoded("DGv6ra1nlYgDCS1FRnbzlw")
MESSAGE = decoded(
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
    "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)
DATA = {"url": "https://push.example/abc", "auth": AUTH}


def test_the_example_of_the_specification_comes_out() -> None:
    sender = ec.derive_private_key(int.from_bytes(SENDER, "big"), ec.SECP256R1())
    assert encrypted(PLAINTEXT, Subscription.checked(BROWSER, DATA), sender=sender, salt=SALT) == MESSAGE


def test_no_two_messages_are_alike() -> None:
    subscription = Subscription.checked(BROWSER, DATA)
    assert encrypted(PLAINTEXT, subscription) != encrypted(PLAINTEXT, subscription)


def test_the_server_proves_who_it_is_to_that_push_service_alone(tmp_path: Path) -> None:
    key = VapidKey.load_or_create(tmp_path / KEY_FILE, "mailto:admin@hs.test")
    kind, _, parameters = key.authorization("https://push.example:8443/a?b", 1_000_000).partition(" ")
    values = dict(part.split("=", 1) for part in parameters.split(", "))
    signed, _, signature = values["t"].rpartition(".")
    claims = orjson.loads(decoded(signed.split(".")[1]))
    assert kind == "vapid"
    assert claims == {
        "aud": "https://push.example:8443",
        "exp": 1_000_000 + 12 * 3600,
        "sub": "mailto:admin@hs.test",
    }
    raw = decoded(signature)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(key.public))
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public.verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
    assert values["k"] == key.public


def test_the_key_stays_the_same_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    first = VapidKey.load_or_create(tmp_path / KEY_FILE, "mailto:admin@hs.test")
    assert VapidKey.load_or_create(tmp_path / KEY_FILE, "mailto:other@hs.test").public == first.public
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


async def test_the_public_key_is_told_without_loading_what_signs(tmp_path: Path) -> None:
    VapidKey.load_or_create(tmp_path / KEY_FILE, "mailto:admin@hs.test")
    key = WebPushKey(tmp_path, "mailto:admin@hs.test")
    public = await key.public()
    assert "vapid" not in vars(key)
    assert public == key.vapid.public


async def test_the_key_is_made_for_who_asks_for_it(tmp_path: Path) -> None:
    one, other = (WebPushKey(tmp_path, "mailto:admin@hs.test") for _ in range(2))
    assert await one.public() == await other.public() == WebPushKey(tmp_path, "").vapid.public


async def test_a_key_of_another_form_is_read_too(tmp_path: Path) -> None:
    made = ec.generate_private_key(ec.SECP256R1())
    traditional = made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (tmp_path / KEY_FILE).write_bytes(traditional)
    public = made.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert decoded(await WebPushKey(tmp_path, "mailto:admin@hs.test").public()) == public


@pytest.mark.parametrize(
    ("pushkey", "data"),
    [
        (BROWSER, {"url": "https://push.example/abc"}),
        (BROWSER, {"auth": AUTH}),
        (BROWSER, {"url": "http://push.example/abc", "auth": AUTH}),
        (BROWSER, {"url": "https://[oops/abc", "auth": AUTH}),
        (BROWSER, {"url": "https://push.example/abc", "auth": "c2hvcnQ"}),
        (BROWSER, {"url": "https://push.example/abc", "auth": "not base64!"}),
        ("BCVxsr7N", DATA),
        ("A" * 87, DATA),
        ("é" * 87, DATA),
    ],
)
def test_what_is_no_subscription_is_refused(pushkey: str, data: dict[str, str]) -> None:
    with pytest.raises(MatrixError):
        Subscription.checked(pushkey, data)
