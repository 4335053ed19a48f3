"""Content URIs."""

from __future__ import annotations

import pytest

from tricord.protocol.errors import MatrixError
from tricord.protocol.media import Mxc, mxc_of, parse_mxc


def test_a_uri_names_a_server_and_its_media() -> None:
    mxc = parse_mxc("mxc://hs.test:8448/abc-DEF_123")
    assert mxc == Mxc(mxc.server_name, "abc-DEF_123")
    assert str(mxc) == "mxc://hs.test:8448/abc-DEF_123"


@pytest.mark.parametrize(
    "uri",
    [
        "mxc://hs.test/..",
        "mxc://hs.test/a/b",
        "mxc://hs.test/a%2fb",
        "mxc://hs.test/",
        "mxc://hs.test",
        "mxc:///a",
        "mxc://a%2fb/a",
        "mxc://hs.test/a\0",
        "mxc://hs.test/ä",
        "mxc://hs.test/" + "a" * 256,
        "https://hs.test/a",
        "",
    ],
)
def test_what_leads_elsewhere_is_refused(uri: str) -> None:
    with pytest.raises(MatrixError):
        parse_mxc(uri)


def test_parts_of_a_path_are_checked_as_well() -> None:
    with pytest.raises(MatrixError):
        mxc_of("hs.test", "../../etc/passwd")
