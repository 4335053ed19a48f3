"""Where matrix-nio 0.26 leaves the text of the SAS verification, so that no verification with it can succeed.

It commits to its key with hexadecimal digits, where the text has unpadded base64, and checks ours for them. It shows
other pictures. And it knows only the MAC method whose base64 is wrong, but encodes that one rightly. If one of these
tests fails, nio has come closer.
https://spec.matrix.org/v1.19/client-server-api/#short-authentication-string-sas-verification
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from nio.crypto.device import OlmDevice
from nio.crypto.sas import Sas, SasState
from nio.events import KeyVerificationAccept, KeyVerificationKey, KeyVerificationMac, KeyVerificationStart

from tricord.clients.encryption.verification.messages import Code, VerificationFailed
from tricord.clients.encryption.verification.sas import (
    OLD_MAC_METHOD,
    Party,
    ShortAuthentication,
    ShortString,
    start_content,
)
from tricord.protocol.canonical_json import canonical_json
from tricord.protocol.identifiers import DeviceId, UserId
from tricord.protocol.unpadded_base64 import encode_base64

pytestmark = pytest.mark.peer

ALICE = Party(UserId("@alice:hs.test"), DeviceId("ALICE"))
NORA = Party(UserId("@nora:hs.test"), DeviceId("NORA"))
ALICES_KEY, NORAS_KEY = encode_base64(b"a" * 32), encode_base64(b"n" * 32)
ID = "a-transaction"


def as_nio_sees(party: Party, ed25519: str) -> OlmDevice:
    return OlmDevice(party.user_id, party.device_id, {"ed25519": ed25519, "curve25519": ""})


def event(what: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"type": f"m.key.verification.{what}", "sender": ALICE.user_id, "content": content}


class Ours:
    """A verification that we begin, and nio accepts."""

    def __init__(self) -> None:
        self.start = {**start_content(), "from_device": ALICE.device_id, "transaction_id": ID}
        self.alice = ShortAuthentication(ALICE, NORA, ID, self.start, we_started=True)
        started = KeyVerificationStart.from_dict(event("start", self.start))
        seen = as_nio_sees(ALICE, ALICES_KEY)
        self.nora = Sas.from_key_verification_start(NORA.user_id, NORA.device_id, NORAS_KEY, seen, started)
        self.accepted = self.nora.accept_verification().content

    def committed(self) -> bytes:
        """Return the hash that nio is to commit to."""
        return hashlib.sha256(self.nora.pubkey.encode() + canonical_json(self.start)).digest()

    def compared(self) -> ShortString:
        """Go on to where people compare, as if nio had committed as the text has it."""
        key = self.alice.accepted({**self.accepted, "commitment": encode_base64(self.committed())})
        self.nora.receive_key_event(KeyVerificationKey.from_dict(event("key", {**key, "transaction_id": ID})))
        shown = self.alice.receive_key(self.nora.share_key().content)
        assert list(shown.decimals) == list(self.nora.get_decimals())
        self.nora.accept_sas()
        return shown


def test_when_we_begin_nio_commits_in_hexadecimal() -> None:
    ours = Ours()
    assert ours.accepted["commitment"] == ours.committed().hex()
    ours.alice.accepted(ours.accepted)
    with pytest.raises(VerificationFailed) as refusal:
        ours.alice.receive_key(ours.nora.share_key().content)
    assert refusal.value.code is Code.MISMATCHED_COMMITMENT


def test_when_nio_begins_it_wants_our_commitment_in_hexadecimal() -> None:
    nora = Sas(NORA.user_id, NORA.device_id, NORAS_KEY, as_nio_sees(ALICE, ALICES_KEY), ID)
    alice = ShortAuthentication(ALICE, NORA, ID, nora.start_verification().content, we_started=False)
    accepted = {**alice.accept(), "transaction_id": ID}
    nora.receive_accept_event(KeyVerificationAccept.from_dict(event("accept", accepted)))
    alice.receive_key(nora.share_key().content)
    nora.receive_key_event(KeyVerificationKey.from_dict(event("key", {**alice.key(), "transaction_id": ID})))
    assert nora.state is SasState.canceled
    assert nora.cancel_code == Code.MISMATCHED_COMMITMENT.value


def test_nio_shows_other_pictures() -> None:
    ours = Ours()
    shown = [emoji.symbol for emoji in ours.compared().emoji]
    pictures = [symbol for symbol, _ in Sas.emoji]
    # It takes the numbers of the pictures, of six bits each, for the bytes that these are to be cut from.
    as_bytes = "".join(f"{index:08b}" for index in map(pictures.index, shown))
    cut = [pictures[int(as_bytes[place : place + 6], 2)] for place in range(0, 42, 6)]
    assert [symbol for symbol, _ in ours.nora.get_emoji()] == cut != shown


def test_the_only_mac_that_nio_knows_is_not_encoded_as_that_method_is() -> None:
    ours = Ours()
    ours.compared()
    assert ours.nora.chosen_mac_method == OLD_MAC_METHOD
    with pytest.raises(VerificationFailed) as refusal:
        ours.alice.verified(ours.nora.get_mac().content, {f"ed25519:{NORA.device_id}": NORAS_KEY})
    assert refusal.value.code is Code.KEY_MISMATCH


def test_nor_does_nio_take_ours() -> None:
    ours = Ours()
    ours.compared()
    macs = {**ours.alice.mac({f"ed25519:{ALICE.device_id}": ALICES_KEY}), "transaction_id": ID}
    ours.nora.receive_mac_event(KeyVerificationMac.from_dict(event("mac", macs)))
    assert not ours.nora.verified
    assert ours.nora.cancel_code == Code.KEY_MISMATCH.value
