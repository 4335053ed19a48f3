from __future__ import annotations

from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st

from tricord.homeserver.serving.date import written


@given(st.integers(min_value=0, max_value=253_402_300_799))
def test_the_date_is_written_as_http_wants_it(seconds: int) -> None:
    assert written(seconds) == formatdate(seconds, usegmt=True)
