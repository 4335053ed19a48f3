"""Reading `multipart/mixed`, cut anyhow."""

from __future__ import annotations

import email.message  # noqa: F401  # loaded with the first answer, which would count as the time of an example
from collections.abc import Mapping

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.federation.servers import in_parts
from tricord.federation.errors import AnswerInvalid
from tricord.federation.multipart import MultipartReader, part_head

MIXED = "multipart/mixed; boundary=b"


async def read(content_type: str, body: bytes, size: int) -> tuple[Mapping[str, str], bytes]:
    """Return the second part, and its headers."""
    reader = MultipartReader(content_type, in_parts(body, size))
    await reader.next_part()
    headers = await reader.next_part()
    return headers, b"".join([part async for part in reader.body()])


def wrapped(data: bytes) -> bytes:
    first = part_head("b", {"Content-Type": "application/json"})
    return first + b"{}\r\n" + part_head("b", {"Content-Type": "image/png"}) + data + b"\r\n--b--\r\n"


@given(st.lists(st.sampled_from([b"\r\n", b"--", b"b", b"-", b"\r", b"x"])).map(b"".join), st.integers(1, 40))
def test_what_was_wrapped_comes_out_however_it_is_cut(data: bytes, size: int) -> None:
    if b"\r\n--b" in b"\r\n" + data:
        return
    headers, found = trio.run(read, MIXED, wrapped(data), size)
    assert headers == {"content-type": "image/png"}
    assert found == data


async def test_words_around_the_parts_are_passed_over() -> None:
    body = b"hello\r\n--b \r\n\r\nfirst\r\n--b\r\nX:y\r\n\r\nsecond\r\n--b--\r\nbye"
    assert await read('multipart/mixed; boundary="b"', body, 3) == ({"x": "y"}, b"second")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/mixed", wrapped(b"x")),
        ("application/json", wrapped(b"x")),
        ("multipart/form-data; boundary=b", wrapped(b"x")),
        ("multipart/mixed; boundary=" + "b" * 300, wrapped(b"x")),
        (MIXED, b""),
        (MIXED, b"--b\r\n\r\n{}\r\n--b--\r\n"),
        (MIXED, b"--b\r\n\r\n{}"),
        (MIXED, wrapped(b"x")[:-9]),
        (MIXED, b"x" * 100_000 + wrapped(b"x")),
        (MIXED, b"--b\r\n" + b"x: y\r\n" * 10_000 + wrapped(b"x")),
        (MIXED, b"--b\r\nno header\r\n\r\n{}" + wrapped(b"x")),
    ],
)
async def test_what_is_no_such_thing_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(AnswerInvalid):
        await read(content_type, body, 1000)


@given(st.binary(max_size=500), st.integers(1, 40))
def test_any_bytes_are_read_or_refused(body: bytes, size: int) -> None:
    async def attempt() -> None:
        parts = in_parts(b"--b\r\n" + body, size)
        reader = MultipartReader(MIXED, parts)
        try:
            await reader.next_part()
            async for _ in reader.body():
                pass
        except AnswerInvalid:
            pass

    trio.run(attempt)
