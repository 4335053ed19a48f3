"""Short authentication strings: both sides show seven pictures, or three numbers, and people compare them.

What either side sends is computed here; when it is sent, and to whom, is the business of `flow.py`.
https://spec.matrix.org/v1.19/client-server-api/#short-authentication-string-sas-verification
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import vodozemac

from tricord.clients.encryption.verification.emoji import EMOJI, Emoji
from tricord.clients.encryption.verification.messages import SAS, Code, VerificationFailed, list_of, text_of
from tricord.protocol.canonical_json import canonical_json
from tricord.protocol.errors import BadJson
from tricord.protocol.identifiers import DeviceId, UserId
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64

KEY_AGREEMENT = "curve25519-hkdf-sha256"
HASH = "sha256"
MAC_METHOD = "hkdf-hmac-sha256.v2"
# The same MAC in a broken base64, which older clients know alone.
OLD_MAC_METHOD = "hkdf-hmac-sha256"
DECIMAL = "decimal"
EMOJI_METHOD = "emoji"

_KEY_IDS = "KEY_IDS"


@dataclass(frozen=True, slots=True)
class Party:
    """One of the two devices."""

    user_id: UserId
    device_id: DeviceId


@dataclass(frozen=True, slots=True)
class ShortString:
    """What both sides show, and people compare."""

    emoji: tuple[Emoji, ...]
    """Seven pictures; none where the other device cannot show them: then it is the numbers."""
    decimals: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Choice:
    mac_method: str
    strings: tuple[str, ...]


def start_content() -> dict[str, Any]:
    """Return what begins it, without what says in which verification."""
    return {
        "method": SAS,
        "key_agreement_protocols": [KEY_AGREEMENT],
        "hashes": [HASH],
        "message_authentication_codes": [MAC_METHOD, OLD_MAC_METHOD],
        "short_authentication_string": [EMOJI_METHOD, DECIMAL],
    }


class ShortAuthentication:
    """One run, on either side. Its own ephemeral key is made for it, and is used once."""

    def __init__(
        self, us: Party, them: Party, transaction_id: str, start: Mapping[str, Any], *, we_started: bool
    ) -> None:
        """Take the content of the message that started it, as it was sent: the commitment covers it."""
        self._us, self._them = us, them
        self._transaction_id = transaction_id
        self._start = dict(start)
        self._we_started = we_started
        self._key = vodozemac.Sas()
        self._public_key = self._key.public_key.to_base64()
        self._commitment: bytes | None = None
        self._choice: _Choice | None = None
        self._established: vodozemac.EstablishedSas | None = None
        self._their_key = ""

    def accept(self) -> dict[str, Any]:
        """Return what accepts the other's start, with the commitment to our key; raise VerificationFailed.

        Raised as `m.unknown_method` when there is nothing in common.
        """
        agreements, hashes = list_of(self._start, "key_agreement_protocols"), list_of(self._start, "hashes")
        macs = list_of(self._start, "message_authentication_codes")
        strings = tuple(s for s in (EMOJI_METHOD, DECIMAL) if s in list_of(self._start, "short_authentication_string"))
        # Both know the right one: then the deprecated one must not be used.
        mac = next((method for method in (MAC_METHOD, OLD_MAC_METHOD) if method in macs), None)
        if KEY_AGREEMENT not in agreements or HASH not in hashes or mac is None or not strings:
            raise VerificationFailed(Code.UNKNOWN_METHOD, "there is no key agreement, hash, MAC or string in common")
        self._choice = _Choice(mac, strings)
        return {
            "method": SAS,
            "key_agreement_protocol": KEY_AGREEMENT,
            "hash": HASH,
            "message_authentication_code": mac,
            "short_authentication_string": list(strings),
            "commitment": encode_base64(self._commitment_to(self._public_key)),
        }

    def accepted(self, content: dict[str, Any]) -> dict[str, Any]:
        """Take the other's acceptance of our start, and return our key; raise VerificationFailed."""
        mac = text_of(content, "message_authentication_code")
        strings = tuple(list_of(content, "short_authentication_string"))
        if (
            text_of(content, "key_agreement_protocol") != KEY_AGREEMENT
            or text_of(content, "hash") != HASH
            or mac not in self._start["message_authentication_codes"]
            or not strings
            or not set(strings) <= set(self._start["short_authentication_string"])
        ):
            raise VerificationFailed(Code.UNKNOWN_METHOD, "something was chosen that was not offered")
        try:
            self._commitment = decode_base64(text_of(content, "commitment"))
        except BadJson as error:
            raise VerificationFailed(Code.INVALID_MESSAGE, "the commitment is not base64") from error
        self._choice = _Choice(mac, strings)
        return self.key()

    def key(self) -> dict[str, Any]:
        """Return our ephemeral key."""
        return {"key": self._public_key}

    def receive_key(self, content: dict[str, Any]) -> ShortString:
        """Take the other's ephemeral key, and return what people compare; raise VerificationFailed.

        Raised as `m.mismatched_commitment` when the key is not the one that was committed to, or when the start that
        the other side has seen is not the one that we have sent.
        """
        their_key = text_of(content, "key")
        if self._we_started:
            if self._commitment is None:
                raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "a key came before it was committed to")
            if not hmac.compare_digest(self._commitment_to(their_key), self._commitment):
                raise VerificationFailed(Code.MISMATCHED_COMMITMENT, "the key is not the one that was committed to")
        if self._established is not None:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "a second key came")
        if their_key == self._public_key:
            raise VerificationFailed(Code.INVALID_MESSAGE, "our own key came back to us")
        try:
            their_public_key = vodozemac.Curve25519PublicKey.from_base64(their_key)
            self._established = self._key.diffie_hellman(their_public_key)
        except ValueError as error:
            raise VerificationFailed(Code.INVALID_MESSAGE, "the key is no Curve25519 key") from error
        self._their_key = their_key
        return self.short_string()

    def short_string(self) -> ShortString:
        """Return what people compare.

        https://spec.matrix.org/v1.19/client-server-api/#sas-hkdf-calculation
        """
        established, choice = self._settled()
        ours = f"{self._us.user_id}|{self._us.device_id}|{self._public_key}"
        theirs = f"{self._them.user_id}|{self._them.device_id}|{self._their_key}"
        first, second = (ours, theirs) if self._we_started else (theirs, ours)
        shared = established.bytes(f"MATRIX_KEY_VERIFICATION_SAS|{first}|{second}|{self._transaction_id}")
        emoji = tuple(EMOJI[index] for index in shared.emoji_indices) if EMOJI_METHOD in choice.strings else ()
        return ShortString(emoji, shared.decimals)

    def mac(self, keys: Mapping[str, str]) -> dict[str, Any]:
        """Return the MACs of our keys, given by key id: what vouches for them once people have compared.

        https://spec.matrix.org/v1.19/client-server-api/#mac-calculation
        """
        macs = {key_id: self._mac_of(key, key_id, ours=True) for key_id, key in keys.items()}
        return {"mac": macs, "keys": self._mac_of(",".join(sorted(keys)), _KEY_IDS, ours=True)}

    def verified(self, content: dict[str, Any], keys: Mapping[str, str]) -> set[str]:
        """Return which of the other's keys, given by key id, its MACs vouch for; raise VerificationFailed.

        Ids that we do not know are passed over, as the other may know more keys of its user than we do. But the list
        of ids must be as it was sent, every MAC of a known key must fit, and there must be at least one.
        """
        macs = content.get("mac")
        if not isinstance(macs, dict) or not all(isinstance(mac, str) for mac in macs.values()):
            raise VerificationFailed(Code.INVALID_MESSAGE, "mac is missing, or holds what is no string")
        self._check(text_of(content, "keys"), ",".join(sorted(macs)), _KEY_IDS)
        known = macs.keys() & keys.keys()
        for key_id in known:
            self._check(macs[key_id], keys[key_id], key_id)
        if not known:
            raise VerificationFailed(Code.KEY_MISMATCH, "none of the keys that were vouched for is known here")
        return set(known)

    def _check(self, mac: str, text: str, key_id: str) -> None:
        expected = self._mac_of(text, key_id, ours=False)
        # Texts, not bytes, since the deprecated method's base64 cannot be decoded; padding is not what a MAC is about.
        if not hmac.compare_digest(_comparable(mac), _comparable(expected)):
            raise VerificationFailed(Code.KEY_MISMATCH, f"the MAC of {key_id} does not fit")

    def _mac_of(self, text: str, key_id: str, *, ours: bool) -> str:
        established, choice = self._settled()
        first, second = (self._us, self._them) if ours else (self._them, self._us)
        info = (
            f"MATRIX_KEY_VERIFICATION_MAC{first.user_id}{first.device_id}{second.user_id}{second.device_id}"
            f"{self._transaction_id}{key_id}"
        )
        if choice.mac_method == MAC_METHOD:
            return established.calculate_mac(text, info)
        return established.calculate_mac_invalid_base64(text, info)

    def _settled(self) -> tuple[vodozemac.EstablishedSas, _Choice]:
        if self._established is None or self._choice is None:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "keys have not been exchanged yet")
        return self._established, self._choice

    def _commitment_to(self, public_key: str) -> bytes:
        try:
            return hashlib.sha256(public_key.encode() + canonical_json(self._start)).digest()
        except (BadJson, UnicodeEncodeError) as error:
            raise VerificationFailed(Code.INVALID_MESSAGE, "the start or the key has no canonical form") from error


def _comparable(mac: str) -> bytes:
    return mac.rstrip("=").encode(errors="replace")
