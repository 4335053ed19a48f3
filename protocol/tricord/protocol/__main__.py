"""Look at an event or a signing key in a file, and say what is wrong with it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from tricord.protocol.authorization import authorize
from tricord.protocol.errors import BadJson, EventRejected, InvalidParam, MatrixError, SignatureInvalid
from tricord.protocol.events import Event, parse_event, redacted_copy
from tricord.protocol.hashes import content_hash_matches
from tricord.protocol.identifiers import KeyId, ServerName
from tricord.protocol.numbered_rules import StateKey
from tricord.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from tricord.protocol.signing import SigningKey
from tricord.protocol.strict_json import parse_json
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64
from tricord.protocol.verify import KeyName, ServerKey, keys_needed, required_signers, verify

_FOREVER = 2**63

_EXAMPLES = """\
examples:
  python -m tricord.protocol event pdu.json --room-version 11
  python -m tricord.protocol event pdu.json --key example.org ed25519:a_XyzAbc BASE64 --state state.json
  python -m tricord.protocol key signing.key

It ends with 0 if all is in order, with 1 if not, and with 2 if it was called in another way than this.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 if what was looked at is in order, 1 if not."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except EventRejected as rejected:
        print(_shown(f"refused: {rejected}"))
    except (MatrixError, SignatureInvalid, OSError) as error:
        print(_shown(f"error: {error}"), file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tricord.protocol",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    event = commands.add_parser(
        "event",
        help="check the format, id, hash and signatures of an event, and whether the rules allow it",
        description="Check an event in federation format: its format, hash and signatures, and whether it is allowed.",
    )
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
    event.add_argument(
        "--state",
        metavar="FILE",
        help="a file with the state before the event, or with its auth events and the create event: events in"
        " federation format, in an array or one a line; then the authorization rules are asked too",
    )
    event.add_argument("--redacted", action="store_true", help="show what a redaction leaves of the event")
    event.set_defaults(run=_check_event)

    key = commands.add_parser(
        "key",
        help="check a signing key and show its public half",
        description="Check the signing keys in a file, and show the public half of each.",
    )
    key.add_argument("file", help="a file with lines `ed25519 VERSION SEED`; - for standard input")
    key.set_defaults(run=_check_key)
    return parser


def _check_event(options: argparse.Namespace) -> int:
    version = ROOM_VERSIONS[options.room_version]
    keys = dict(_named_key(*words) for words in options.key)
    event = parse_event(_read(options.file), version)
    matches = content_hash_matches(event.pdu, event.version)
    print(_shown(f"{event.type} {event.event_id} in {event.room_id} by {event.sender}, {len(event.json)} bytes"))
    print("the content hash matches" if matches else "the content hash does not match: servers take the redacted form")
    print(_shown(f"must be signed by {', '.join(sorted(required_signers(event))) or 'nobody'}"))
    for server_name, key_id in sorted(keys_needed(event)):
        print(_shown(f"claims to be signed by {server_name} with {key_id}"))
    if options.redacted:
        print(redacted_copy(event).json.decode())
    if keys:
        event = verify(event, keys)
        print("the signatures are valid")
    if options.state is not None:
        authorize(event, _state(_read(options.state), version))
        print("the rules allow it in this state")
    return 0 if matches else 1


def _named_key(server_name: str, key_id: str, public_key: str) -> tuple[KeyName, ServerKey]:
    return (ServerName(server_name), KeyId(key_id)), ServerKey(decode_base64(public_key), _FOREVER)


def _state(data: bytes, version: RoomVersion) -> dict[StateKey, Event]:
    events = list(_events(data, version))
    return {(event.type, event.state_key): event for event in events if event.state_key is not None}


def _events(data: bytes, version: RoomVersion) -> Iterable[Event]:
    if not data.lstrip().startswith(b"["):
        return (parse_event(line, version) for line in data.splitlines() if line.strip())
    value = parse_json(data)
    if not all(isinstance(pdu, dict) for pdu in value):
        raise BadJson("the state is not an array of events")
    return (parse_event(pdu, version) for pdu in value)


def _check_key(options: argparse.Namespace) -> int:
    lines = _read(options.file).decode("ascii", "replace").splitlines()
    keys = [SigningKey.parse(line) for line in lines if line.strip()]
    if not keys:
        raise InvalidParam("the file is empty")
    for key in keys:
        print(f"{key.key_id} {encode_base64(key.public_key)}")
    return 0


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def _shown(text: str) -> str:
    """Keep what foreign names hold from moving the cursor of the terminal."""
    return text if text.isprintable() and text.isascii() else ascii(text)[1:-1]


if __name__ == "__main__":
    sys.exit(main())
