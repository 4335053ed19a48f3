"""Whatever stands where a path has a name, the answer is a refusal that clients understand."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.security.house import House
from tests.security.test_outsiders_learn_nothing import all_endpoints
from tricord.clients.endpoint import Endpoint

ODD = {
    "dots and a slash": "%2e%2e%2f",
    "dots": "%2e%2e",
    "NUL": "%00",
    "NUL within": quote("!a\0b:hs.test"),
    "no UTF-8": "%ff",
    "half a surrogate": "%ed%a0%80",
    "only a sigil": "!",
    "a sigil and a colon": quote("!:"),
    "nothing": "",
    "10 kB": "!" + "x" * 10_000 + ":hs.test",
    "a line break": "%0d%0aX-Evil:%201",
    "a bracket that stays open": quote("!a:[::1"),
    "a number": "-9223372036854775809",
}
ROOMS = {"room_id", "room_id_or_alias"}


def endpoints_with_names() -> list[type[Endpoint]]:
    return [endpoint for endpoint in all_endpoints() if endpoint.parameters()]


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
async def test_odd_names_in_paths_are_refused(house: House, odd: str) -> None:
    for endpoint in endpoints_with_names():
        good = {
            "room_id": house.room,
            "room_id_or_alias": house.room,
            "user_id": house.alice.user_id,
            "event_id": "$x",
            "server_name": "hs.test",
        }
        for name in endpoint.parameters():
            path = endpoint.path
            for other in endpoint.parameters():
                value = odd if other == name else quote(good.get(other, "x"), safe="")
                path = path.replace(f"{{{other}}}", value)
            answer = await house.alice.request(endpoint.method, path, None if endpoint.method == "GET" else {})
            # By the grammar, some of it could be the name of a server, which is not to be reached.
            is_away = name == "server_name" and answer.status_code == 502
            assert answer.status_code < 500 or is_away, f"{endpoint.method} {path[:200]}: {answer.text[:300]}"
            if name in ROOMS:
                assert answer.status_code in {400, 403, 404, 405}, (
                    f"{endpoint.method} {path[:200]}: {answer.text[:300]}"
                )
            # Whoever is asked for the password first is not told yet.
            if answer.status_code >= 400 and "flows" not in answer.json():
                assert answer.json().get("errcode", "").startswith("M_"), f"{endpoint.__name__}: {answer.text[:300]}"
            assert "x-evil" not in answer.headers
