"""What can go wrong with encryption.

ClientError
└── EncryptionError
    ├── StoreError              the store cannot be used
    │   ├── StoreInUse          another process has it open
    │   ├── WrongPassphrase     it was made with another passphrase
    │   └── NotThisDevice       it is another user's or another device's
    ├── InvalidKeys             keys that somebody published are not what they must be
    ├── CannotEncrypt           the room is not encrypted, or not in a way that we know
    │   └── KeysNotShared       not everybody who is to read the message has the key yet
    ├── CannotDecrypt           an event cannot be decrypted: `reason` says why
    ├── WrongSecret             a passphrase or a key does not open what it was given for
    ├── Forged                  what came is not what was sent: a hash, a MAC or a signature does not fit
    └── Malformed               what came is not in the format that the specification says
"""

from __future__ import annotations

import enum

from tricord.clients.errors import ClientError


class EncryptionError(ClientError):
    """The base of everything that goes wrong with encryption."""


class StoreError(EncryptionError):
    """The store of the keys cannot be used."""


class StoreInUse(StoreError):
    """Another process has the store open; two would use the same key twice."""


class WrongPassphrase(StoreError):
    """The store was made with another passphrase, or with none."""


class NotThisDevice(StoreError):
    """The store belongs to another user or another device."""


class InvalidKeys(EncryptionError):
    """Published keys are malformed, not signed as they must be, or not of whom they are said to be."""


class CannotEncrypt(EncryptionError):
    """The room is not encrypted, or not in a way that we know."""


class KeysNotShared(CannotEncrypt):
    """Requests are to be made first: not everybody who is to read the message has the key."""


class Reason(enum.Enum):
    """Why an event cannot be decrypted, in words."""

    NOT_ENCRYPTED = "it is not an encrypted event, or its content is malformed"
    UNKNOWN_ALGORITHM = "it is encrypted in a way that we do not know"
    NO_KEY = "its key has not reached us"
    WITHHELD = "its sender did not give us the key"
    KEY_TOO_LATE = "its key reached us for later messages only"
    BAD_CIPHERTEXT = "it does not fit the key it names"
    BAD_PLAINTEXT = "what was encrypted is not an event"
    WRONG_ROOM = "it was encrypted for another room"
    WRONG_SENDER = "its key belongs to somebody else than its sender"
    REPLAYED = "its ciphertext was in another event before"
    NO_SESSION = "there is no Olm session that fits it"
    NOT_FOR_US = "it is encrypted for another device"
    BAD_KEYS = "the keys in it are not those of its sender or ours"
    UNTRUSTED_DEVICE = "the device that encrypted it is not one that its user has vouched for"


class CannotDecrypt(EncryptionError):
    """An event cannot be decrypted.

    `session_id` names its Megolm session, and `code` is the sender's own word if the key was withheld:
    https://spec.matrix.org/v1.19/client-server-api/#reporting-that-decryption-keys-are-withheld
    """

    def __init__(
        self, reason: Reason, detail: str = "", *, session_id: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.session_id = session_id
        self.code = code


class WrongSecret(EncryptionError):
    """A passphrase or a key does not open what it was given for."""


class Forged(EncryptionError):
    """A hash, a MAC or a signature does not fit: somebody changed it on the way, or it is not from whom it says."""


class Malformed(EncryptionError):
    """Something foreign is not in the format that the specification says."""
