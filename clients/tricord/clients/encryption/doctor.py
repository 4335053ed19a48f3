"""Why can a message not be decrypted? In words, and with what can be done.

    python -m tricord.clients.encryption.doctor bot.store.keys
    python -m tricord.clients.encryption.doctor bot.store.keys --room '!tea:example.org' --event event.json

It reads the store of keys while nothing else has it open, and changes nothing.
"""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tricord.clients.encryption.errors import CannotDecrypt, EncryptionError, Reason, WrongPassphrase
from tricord.clients.encryption.megolm import Decrypted, Megolm
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored_devices
from tricord.clients.encryption.stored import key_requests as stored_requests
from tricord.clients.encryption.stored import room_keys as stored_keys
from tricord.protocol.errors import MatrixError
from tricord.protocol.identifiers import DeviceId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject, parse_object

# https://spec.matrix.org/v1.19/client-server-api/#mroom_keywithheld
_CODES = {
    "m.blacklisted": "The sender has blocked this device. Only they can change that.",
    "m.unverified": "The sender gives keys only to devices that are vouched for: sign this device with the identity of "
    "its user (`client.set_up_identity`, or verify it with another device).",
    "m.unauthorised": "The sender says that this device may not have the key: it was not in the room at the time.",
    "m.unavailable": "The sender does not have the key any more. Another device of theirs, or the backup, may.",
    "m.no_olm": "The sender could not reach this device: no one-time key was left. It is repaired by the next message "
    "between both; then the sender can share the keys again.",
    "m.history_not_shared": "Whoever invited us may not pass on this key: it was made for those in the room then.",
}
_ADVICE = {
    Reason.NO_KEY: "Its sender did not know this device when it was sent, the message with the key is still on its "
    "way, or it was sent before we came. Another verified device of ours may pass it on, and the backup may have it "
    "(`client.identity.restore_keys`).",
    Reason.WITHHELD: "Ask the sender to look at the reason.",
    Reason.KEY_TOO_LATE: "We were given the key from a later message on: this one was sent before we were to read. A "
    "device of ours that was there earlier, or the backup, may have the whole key.",
    Reason.UNKNOWN_ALGORITHM: "A newer client has sent it: a newer version of this program may read it.",
    Reason.BAD_CIPHERTEXT: "It was changed on its way, or a faulty client has sent it.",
    Reason.BAD_PLAINTEXT: "A faulty client has sent it.",
    Reason.WRONG_ROOM: "Somebody has moved it here from another room: do not believe it.",
    Reason.WRONG_SENDER: "Somebody says to be its sender who is not: do not believe it.",
    Reason.REPLAYED: "Somebody has sent an old message once more: do not believe it.",
    Reason.UNTRUSTED_DEVICE: "Only devices are trusted that are vouched for. Its sender should verify the device that "
    "sent it; or trust more with `Encryption(trust='known')`.",
    Reason.NOT_ENCRYPTED: "There is nothing to decrypt.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found, and what can be done about it."""

    what: str
    advice: str = ""

    def __str__(self) -> str:
        """Return both, as they are printed."""
        return f"{self.what}\n    {self.advice}" if self.advice else self.what


def examine_event(store: Store, room_id: RoomId, event: JsonObject) -> list[Finding]:
    """Say why an event of a room cannot be decrypted, or how sure it is who sent it, if it can."""
    try:
        with store.transaction():
            raise _Undone(Megolm(store, _now_ms).decrypt(room_id, event))
    except _Undone as undone:
        return _readable(undone.decrypted)
    except CannotDecrypt as reason:
        findings = [Finding(f"The event {event.get('event_id')} cannot be decrypted: {reason}.", _advice(reason))]
        return findings + _about_key(store, room_id, event, reason)


def examine(store: Store) -> list[Finding]:
    """Say how it stands with the encryption of a device: what is amiss, and what waits."""
    owner = store.value("owner")
    if owner is None:
        return [Finding("The store is empty: no device has used it yet.")]
    user_id, device_id = UserId(owner[0]), DeviceId(owner[1])
    return [
        Finding(f"These are the keys of the device {device_id} of {user_id}."),
        *_about_device(store, user_id, device_id),
        *_about_backup(store),
        *_about_rooms(store),
        *_about_others(store, user_id),
        *_about_waiting(store),
    ]


def _about_device(store: Store, user_id: UserId, device_id: DeviceId) -> list[Finding]:
    findings = []
    if not store.value("device_is_published"):
        findings.append(
            Finding("The keys of the device are not published: nobody can write to it.", "They are with the next sync.")
        )
    identity = stored_devices.identity(store, user_id)
    if identity is None:
        advice = "Make one with `client.set_up_identity()`: others trust this device then."
        return [*findings, Finding("The user has no identity (cross-signing keys).", advice)]
    if identity.has_changed or identity.was_verified:
        advice = "If it was not you who replaced it, somebody at the homeserver tries to be you."
        findings.append(Finding("Another identity is published for the user than the one we knew.", advice))
    own = stored_devices.device(store, user_id, device_id)
    if own is None or not identity.vouches_for(own):
        advice = "Verify it with another device, or restore with the recovery key: some give keys only then."
        findings.append(Finding("The identity of the user does not vouch for this device.", advice))
    elif not identity.is_verified:
        advice = "Verify this device with another one of yours."
        findings.append(Finding("The identity that is published is not known to be the user's own.", advice))
    else:
        findings.append(Finding("The identity of the user is known, and vouches for this device."))
    return findings


def _about_backup(store: Store) -> list[Finding]:
    backup = store.value("backup")
    if backup is None:
        return [Finding("Keys are not backed up.", "`client.set_up_identity()` sees to it.")]
    row = store.row("SELECT count(*) AS n FROM room_keys WHERE backed_up_in IS NOT ?", backup["version"])
    waiting = 0 if row is None else row["n"]
    return [Finding(f"Keys are backed up (version {backup['version']}); {waiting} are not there yet.")]


def _about_rooms(store: Store) -> list[Finding]:
    rooms = store.row("SELECT count(*) AS n FROM rooms")
    keys = {
        row["origin"]: row["n"] for row in store.rows("SELECT origin, count(*) AS n FROM room_keys GROUP BY origin")
    }
    told = ", ".join(f"{count} {stored_keys.Origin[name].value}" for name, count in keys.items()) or "none"
    return [Finding(f"Encrypted rooms: {0 if rooms is None else rooms['n']}. Keys of sessions: {told}.")]


def _about_others(store: Store, user_id: UserId) -> list[Finding]:
    findings = []
    for row in store.rows("SELECT user_id FROM identities WHERE user_id <> ? ORDER BY user_id", user_id):
        identity = stored_devices.identity(store, UserId(row["user_id"]))
        if identity is not None and (identity.has_changed or identity.was_verified):
            was = ", who was verified," if identity.was_verified else ""
            advice = "Ask them by another way whether they have set up their encryption anew; then accept or verify it."
            findings.append(Finding(f"{identity.user_id}{was} has another identity than before.", advice))
    for row in store.rows("SELECT user_id, claims_failed FROM olm_troubles WHERE session_wanted OR claims_failed > 0"):
        what = f"Messages to or from a device of {row['user_id']} do not get through"
        why = f"{row['claims_failed']} times no one-time key was to be had" if row["claims_failed"] else "a new session"
        findings.append(Finding(f"{what}: {why}.", "It is tried again by itself."))
    outdated = store.rows("SELECT user_id FROM tracked_users WHERE changes > queried")
    if outdated:
        what = f"The devices of {len(outdated)} users are to be asked for."
        findings.append(Finding(what, "That is done with the next sync; their servers may be away."))
    return findings


def _about_waiting(store: Store) -> list[Finding]:
    rows = store.rows(
        "SELECT room_id, session_id, count(*) AS n, min(event) AS event FROM waiting_events"
        " GROUP BY room_id, session_id ORDER BY count(*) DESC"
    )
    if not rows:
        return [Finding("No message waits for its key.")]
    findings = [Finding(f"{sum(row['n'] for row in rows)} messages wait for {len(rows)} keys:")]
    for row in rows[:20]:
        found = examine_event(store, RoomId(row["room_id"]), parse_object(row["event"]))
        findings.append(Finding(f"In {row['room_id']}, {row['n']} messages of the session {row['session_id']}."))
        findings += found
    if len(rows) > 20:  # more is not read
        findings.append(Finding(f"And {len(rows) - 20} more."))
    return findings


def _about_key(store: Store, room_id: RoomId, event: JsonObject, reason: CannotDecrypt) -> list[Finding]:
    findings: list[Finding] = []
    sender = event.get("sender")
    if reason.reason not in {Reason.NO_KEY, Reason.WITHHELD, Reason.KEY_TOO_LATE} or not isinstance(sender, str):
        return findings
    if not stored_devices.devices_of(store, UserId(sender)):
        findings.append(Finding(f"No device of {sender} is known to us.", "They may be asked for, or have left."))
    content = event.get("content")
    named = content.get("sender_key") if isinstance(content, dict) else None
    if isinstance(named, str) and not stored_devices.devices_by_key(store, named):
        advice = "It may be new, or deleted; what the event says of it is not certain."
        findings.append(Finding("The device that the event names as its sender's is not known to us.", advice))
    if reason.session_id is not None:
        request = stored_requests.request_for(store, room_id, reason.session_id)
        if request is None:
            advice = "None of them is verified: verify one, and it passes on the keys that it has."
            findings.append(Finding("Our other devices have not been asked for the key.", advice))
        else:
            findings.append(Finding(f"Our other devices have been asked for the key: {', '.join(request.asked)}."))
    return findings


def _readable(decrypted: Decrypted) -> list[Finding]:
    who = "a device that is not known" if decrypted.device is None else f"the device {decrypted.device.device_id}"
    findings = [Finding(f"It can be decrypted. It was sent by {who}: {decrypted.standing.value}.")]
    return findings + [Finding(f"But {doubt.value}.") for doubt in decrypted.warnings]


def _advice(reason: CannotDecrypt) -> str:
    return _CODES.get(reason.code or "", _ADVICE.get(reason.reason, ""))


class _Undone(Exception):
    """Nothing of what was tried is kept but its outcome."""

    def __init__(self, decrypted: Decrypted) -> None:
        super().__init__()
        self.decrypted = decrypted


def _now_ms() -> int:
    return int(time.time() * 1000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine a store, as the command line asks for it."""
    parser = argparse.ArgumentParser(prog="tricord.clients.encryption.doctor", description=__doc__)
    parser.add_argument("store", type=Path, help="the file of the keys")
    parser.add_argument("--room", help="the id of the room that the event is of")
    parser.add_argument("--event", type=Path, help="a file with the event as the homeserver gives it, in JSON")
    options = parser.parse_args(arguments)
    if (options.room is None) != (options.event is None):
        parser.error("--room and --event go together")
    if not options.store.is_file():
        parser.error(f"there is no file {options.store}")
    try:
        store = _opened(options.store)
        try:
            if options.event is None:
                findings = examine(store)
            else:
                findings = examine_event(store, RoomId(options.room), parse_object(options.event.read_bytes()))
        finally:
            store.close()
    except (EncryptionError, MatrixError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(map(str, findings)))
    return 0


def _opened(path: Path) -> Store:
    try:
        return Store(path)
    except WrongPassphrase:
        return Store(path, passphrase=getpass.getpass("Passphrase of the store: "))


if __name__ == "__main__":
    sys.exit(main())
