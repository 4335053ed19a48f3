"""The only way from an `Event` that somebody sent to a `VerifiedEvent`.

https://spec.matrix.org/v1.19/server-server-api/#validating-hashes-and-signatures-on-received-events
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tricord.protocol.errors import SignatureInvalid
from tricord.protocol.events import Event, VerifiedEvent, redacted_copy
from tricord.protocol.hashes import content_hash_matches, signed_form
from tricord.protocol.identifiers import KeyId, ServerName, is_valid_user_id, server_name_of
from tricord.protocol.redaction import redact
from tricord.protocol.room_versions import EventIds
from tricord.protocol.signing import ALGORITHM, signature_of, verify_signature
from tricord.protocol.strict_json import JsonObject

MAX_TRUST_MS = 7 * 24 * 60 * 60 * 1000

KeyName = tuple[ServerName, KeyId]


@dataclass(frozen=True, slots=True)
class ServerKey:
    """A server's public key, and the time up to which its signatures on events count."""

    public_key: bytes
    valid_until_ts: int

    def trusted_at(self, now_ms: int) -> ServerKey:
        """Return the key as a server may use it that got it at `now_ms`: no longer than a week ahead.

        Not for keys that their server calls old: what they signed before they expired stays signed.
        """
        return replace(self, valid_until_ts=min(self.valid_until_ts, now_ms + MAX_TRUST_MS))

    def may_have_signed(self, event: Event) -> bool:
        """Return whether a signature by the key counts on an event."""
        return not event.version.keys_must_be_valid_at_event_time or self.valid_until_ts >= event.origin_server_ts


def keys_needed(event: Event) -> frozenset[KeyName]:
    """Return the names of the keys that an event claims to be signed with by those who must sign it."""
    signatures = event.pdu["signatures"]
    return frozenset(
        (server_name, key_id)
        for server_name in required_signers(event) | required_signers(redacted_copy(event))
        for key_id in _key_ids(signatures, server_name)
    )


def verify(event: Event, keys: Mapping[KeyName, ServerKey]) -> VerifiedEvent:
    """Return the event as what was signed; raise SignatureInvalid if somebody who must have has not signed it.

    If the content is not the one that was signed, what comes back is the redacted form, which was. `keys` are those
    of `keys_needed` that could be found; signatures by others say nothing.
    """
    pdu = event.pdu
    if not content_hash_matches(pdu, event.version):
        event = redacted_copy(event)
        pdu = event.pdu
    # Asked of what is left: cut down, the invite of a third party is a plain one, which its sender must have signed.
    signers = required_signers(event)
    message = signed_form(redact(pdu, event.version), event.version)
    for server_name in sorted(signers):
        _check_signatures(event, pdu, server_name, message, keys)
    return VerifiedEvent.from_verified(event)


def check_signature(event: Event, server_name: ServerName, key_id: KeyId, public_key: bytes) -> None:
    """Check a signature that is asked for beyond the required ones, like a policy server's; raise SignatureInvalid."""
    pdu = event.pdu
    message = signed_form(redact(pdu, event.version), event.version)
    _check_signature(event, pdu, server_name, key_id, message, public_key)


def required_signers(event: Event) -> frozenset[ServerName]:
    """Return the servers without whose signature the event is not valid."""
    signers = set()
    if not _is_third_party_invite(event):
        signers.add(server_name_of(event.sender))
    if event.version.event_ids is EventIds.CHOSEN_BY_SERVER:
        signers.add(server_name_of(event.event_id))
    if event.version.restricted_joins and event.type == "m.room.member":
        authorising_user = event.content.get("join_authorised_via_users_server")
        if is_valid_user_id(authorising_user):
            signers.add(server_name_of(authorising_user))
    return frozenset(signers)


def _is_third_party_invite(event: Event) -> bool:
    """Return whether the invited server may have made the event in the name of the inviting user."""
    return (
        event.type == "m.room.member"
        and event.content.get("membership") == "invite"
        and "third_party_invite" in event.content
    )


def _key_ids(signatures: JsonObject, server_name: ServerName) -> list[KeyId]:
    return [KeyId(key_id) for key_id in signatures.get(server_name, {}) if key_id.startswith(f"{ALGORITHM}:")]


def _check_signatures(
    event: Event, pdu: JsonObject, server_name: ServerName, message: bytes, keys: Mapping[KeyName, ServerKey]
) -> None:
    """Check every signature of a server whose key is known and counts; there must be one."""
    found = False
    for key_id in _key_ids(pdu["signatures"], server_name):
        key = keys.get((server_name, key_id))
        if key is None or not key.may_have_signed(event):
            continue
        _check_signature(event, pdu, server_name, key_id, message, key.public_key)
        found = True
    if not found:
        raise SignatureInvalid(f"{server_name} has not signed {event.event_id} with a key that is known and valid")


def _check_signature(
    event: Event, pdu: JsonObject, server_name: ServerName, key_id: KeyId, message: bytes, public_key: bytes
) -> None:
    try:
        verify_signature(message, signature_of(pdu, server_name, key_id), public_key)
    except SignatureInvalid as error:
        raise SignatureInvalid(f"{server_name} has not signed {event.event_id} with {key_id}: {error}") from error
