"""Whatever bytes come, in whatever pieces: requests or one refusal, and never an exception."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.homeserver.serving.house import request
from tests.homeserver.serving.test_framing import DOUBTFUL, TE
from tricord.homeserver.serving.http1.framing import Message, Reader
from tricord.homeserver.serving.limits import Limits

SOUND = [
    request("POST", "/echo", b'{"n":"a"}'),
    TE + b"2\r\n{}\r\n0\r\nX: y\r\n\r\n",
    request("POST", "/chat", b"abc", "Connection: Upgrade", "Upgrade: x"),
]
PIECES = st.lists(st.one_of(st.sampled_from([*SOUND, *DOUBTFUL.values()]), st.binary(max_size=20)), max_size=6)


def read(pieces: list[bytes]) -> list[Message]:
    reader = Reader(Limits())
    messages = []
    for piece in pieces:
        reader.feed(piece)
        while reader.ready:
            message = reader.ready.pop(0)
            if message.upgrade:
                reader.ignore_upgrade(message)
            else:
                messages.append(message)
    return messages


@given(PIECES)
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_requests_or_refused(pieces: list[bytes]) -> None:
    for message in read(pieces):
        assert message.target.startswith((b"/", b"*"))


@given(st.lists(st.sampled_from(SOUND), max_size=4), st.data())
@settings(max_examples=100, deadline=None)
def test_how_the_bytes_are_cut_changes_nothing(requests: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert [(m.method, m.target, m.headers, b"".join(m.body), m.complete) for m in read(pieces)] == [
        (m.method, m.target, m.headers, b"".join(m.body), m.complete) for m in read([whole])
    ]
    assert len(read(pieces)) == len(requests)
