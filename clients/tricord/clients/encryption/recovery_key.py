"""A private key as people write it down: base58 in groups of four, with a byte that shows slips of the pen.

https://spec.matrix.org/v1.19/appendices/#cryptographic-key-representation
"""

from __future__ import annotations

from functools import reduce
from operator import xor

from tricord.clients.encryption.errors import Malformed

KEY_BYTES = 32

_PREFIX = b"\x8b\x01"
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS = {character: value for value, character in enumerate(_ALPHABET)}
_GROUP = 4
# Longer ones are no key, and reading them would take time that grows with the square of their length.
_LONGEST = 100


def encode_recovery_key(key: bytes) -> str:
    """Write a key of 32 bytes, in groups of four characters."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a recovery key is of {KEY_BYTES} bytes")
    framed = _PREFIX + key
    # The prefix is never zero, so there are no leading zeros, which base58 treats on their own.
    number = int.from_bytes(framed + bytes([reduce(xor, framed)]), "big")
    digits = []
    while number:
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    text = "".join(reversed(digits))
    return " ".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def decode_recovery_key(text: str) -> bytes:
    """Read a key, white space anywhere; raise Malformed, in words for whoever typed it."""
    compact = "".join(text.split())
    if len(compact) > _LONGEST:
        raise Malformed("this is too long for a recovery key")
    number = 0
    for character in compact:
        digit = _DIGITS.get(character)
        if digit is None:
            raise Malformed(f"{character!a} does not occur in recovery keys")
        number = number * len(_ALPHABET) + digit
    framed = number.to_bytes((number.bit_length() + 7) // 8, "big")
    if len(framed) != len(_PREFIX) + KEY_BYTES + 1:
        raise Malformed("a recovery key has another length: something is missing, or is there twice")
    if not framed.startswith(_PREFIX):
        raise Malformed("this is not a recovery key of Matrix")
    if reduce(xor, framed):
        raise Malformed("there is a mistake in this recovery key")
    return framed[len(_PREFIX) : -1]
