"""The rules of Matrix: pure functions and values; no I/O, no clock.

    identifiers, matrix_uri, media  names of users, rooms, events, aliases, servers and files; links to them
    strict_json, canonical_json     reading JSON from outside; the one encoding that is hashed and signed
    signing, hashes                 Ed25519 keys and signatures; content hashes, reference hashes, event ids
    room_versions                   what rooms of versions 1 to 12 can, each as its difference from the one before
    events, verify, redaction       from foreign bytes to an event, and to one whose signatures have been checked
    authorization, power_levels     whether an event may be in a room, by the numbered rules of the text
    state_resolution                the one state of a room whose history has forked
    history_visibility              who may see an event
    push_rules, event_filters       whom an event wakes up; which events a client wants
    server_acl, globs               which servers may take part; patterns in linear time
    policy_server                   what a room's policy server has to sign, and whether it has
    errors                          everything that is raised on purpose

What comes from outside is checked step by step, and each step raises the error that its docstring names:

    >>> from tricord.protocol.authorization import authorize
    >>> from tricord.protocol.events import build_event, parse_event
    >>> from tricord.protocol.room_versions import room_version
    >>> from tricord.protocol.signing import SigningKey
    >>> from tricord.protocol.verify import ServerKey, verify
    >>> version, key = room_version("12"), SigningKey.parse("ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
    >>> made = build_event(
    ...     version=version, room_id=None, sender="@alice:a.test", type="m.room.create", state_key="",
    ...     content={"room_version": "12"}, origin_server_ts=1, depth=1, prev_events=[], auth_events=[],
    ...     server_name="a.test", key=key,
    ... )
    >>> received = parse_event(made.json, version)
    >>> received.event_id == made.event_id, received.room_id[1:] == made.event_id[1:]
    (True, True)
    >>> verified = verify(received, {("a.test", key.key_id): ServerKey(key.public_key, valid_until_ts=2)})
    >>> authorize(verified, {})

`python -m tricord.protocol` does this for an event in a file.
"""
