"""What only an administrator may do."""

from __future__ import annotations

import pytest

from tests.security.house import House
from tests.security.test_outsiders_learn_nothing import all_endpoints
from tricord.clients.api.administration import WhoIs
from tricord.clients.endpoint import Authentication, Endpoint


def administrative() -> list[type[Endpoint]]:
    return [endpoint for endpoint in all_endpoints() if endpoint.authentication is Authentication.ADMIN]


async def test_administration_is_for_administrators(house: House) -> None:
    for endpoint in administrative():
        path = endpoint.url(**dict.fromkeys(endpoint.parameters(), "x"))
        assert await house.alice.refused(endpoint.method, path) == (403, "M_FORBIDDEN"), path
        answer = await house.http.request(endpoint.method, path)
        assert answer.status_code == 401, path
        assert answer.json()["errcode"] == "M_MISSING_TOKEN"


async def test_everything_under_the_administrators_paths_is_for_administrators(house: House) -> None:
    for endpoint in all_endpoints():
        # From where their own devices are used everybody may know: of others, see the test below.
        if "/admin/" in endpoint.path and "register" not in endpoint.path and endpoint is not WhoIs:
            assert endpoint.authentication is Authentication.ADMIN, endpoint.path


@pytest.mark.parametrize(
    "path",
    ["/_synapse/admin/v1/server_version", "/_synapse/admin/v2/users", "/_matrix/client/v3/admin/whois/@alice:hs.test"],
)
async def test_a_normal_user_learns_nothing_there(house: House, path: str) -> None:
    status, errcode = await house.outsider.refused("GET", path)
    assert (status, errcode) in {(403, "M_FORBIDDEN"), (404, "M_UNRECOGNIZED")}
    answer = await house.http.get(path)
    assert answer.status_code in (401, 404)


async def test_everybody_may_know_where_their_own_devices_are_used(house: House) -> None:
    own = f"/_matrix/client/v3/admin/whois/{house.outsider.user_id}"
    answer = await house.outsider.granted("GET", own)
    assert answer["user_id"] == house.outsider.user_id
    assert answer["devices"]
    assert await house.alice.refused("GET", own) == (403, "M_FORBIDDEN")


async def test_who_does_not_know_the_shared_secret_makes_no_account(house: House) -> None:
    nonce = (await house.http.get("/_synapse/admin/v1/register")).json()["nonce"]
    body = {"nonce": nonce, "username": "evil", "password": "x" * 20, "admin": True, "mac": "0" * 40}
    answer = await house.http.post("/_synapse/admin/v1/register", json=body)
    assert (answer.status_code, answer.json()["errcode"]) == (403, "M_FORBIDDEN")
    answer = await house.http.post("/_synapse/admin/v1/register", json=body)
    assert answer.status_code in (400, 403)
