"""`python -m tricord.protocol`: look at an event or a signing key in a file, and say what is wrong with it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tricord.protocol.errors import MatrixError, SignatureInvalid
from tricord.protocol.events import parse_event
from tricord.protocol.hashes import content_hash_matches
from tricord.protocol.identifiers import KeyId, ServerName
from tricord.protocol.room_versions import ROOM_VERSIONS
from tricord.protocol.signing import SigningKey
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64
from tricord.protocol.verify import KeyName, ServerKey, keys_needed, required_signers, verify

_FOREVER = 2**63


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 if what was looked at is in order, 1 if not."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (MatrixError, SignatureInvalid, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tricord.protocol", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    event = commands.add_parser("event", help="check format, hash and signatures of an event in federation format")
    event.add_argument("file", help="a file with the event as JSON; - for standard input")
    event.add_argument("--room-version", choices=ROOM_VERSIONS, default="12", help="the version of its room (12)")
    event.add_argument(
        "--key",
        nargs=3,
        action="append",
        default=[],
        metavar=("SERVER", "KEY_ID", "BASE64"),
        help="a public key to check signatures with; may be given more than once",
    )
    event.set_defaults(run=_check_event)

    key = commands.add_parser("key", help="check a signing key and show its public half")
    key.add_argument("file", help="a file with a line `ed25519 VERSION SEED`; - for standard input")
    key.set_defaults(run=_check_key)
    return parser


def _check_event(options: argparse.Namespace) -> int:
    event = parse_event(_read(options.file), ROOM_VERSIONS[options.room_version])
    matches = content_hash_matches(event.pdu, event.version)
    print(f"{event.type} {event.event_id} in {event.room_id} by {event.sender}, {len(event.json)} bytes")
    print("the content hash matches" if matches else "the content hash does not match: servers take the redacted form")
    print(f"must be signed by {', '.join(sorted(required_signers(event))) or 'nobody'}")
    for server_name, key_id in sorted(keys_needed(event)):
        print(f"claims to be signed by {server_name} with {key_id}")
    if options.key:
        verify(event, dict(_named_key(*words) for words in options.key))
        print("the signatures are valid")
    return 0 if matches else 1


def _named_key(server_name: str, key_id: str, public_key: str) -> tuple[KeyName, ServerKey]:
    return (ServerName(server_name), KeyId(key_id)), ServerKey(decode_base64(public_key), _FOREVER)


def _check_key(options: argparse.Namespace) -> int:
    key = SigningKey.parse(_read(options.file).decode("ascii", "replace"))
    print(f"{key.key_id} {encode_base64(key.public_key)}")
    return 0


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


if __name__ == "__main__":
    sys.exit(main())
