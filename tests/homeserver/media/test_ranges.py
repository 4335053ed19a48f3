"""Parts of files."""

from __future__ import annotations

import pytest

from tricord.homeserver.media.ranges import RangeNotSatisfiable, asked_range


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=2-", (2, 10)),
        ("bytes=2-99", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("Bytes= 2 - 5 ", (2, 6)),
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=x-y", None),
        ("lines=0-1", None),
        ("bytes=0-" + "9" * 100, None),
    ],
)
def test_a_part_begins_and_ends(header: str | None, part: tuple[int, int] | None) -> None:
    assert asked_range(header, 10) == part


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=12-13", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_a_part_outside_is_refused(header: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable):
        asked_range(header, size)
