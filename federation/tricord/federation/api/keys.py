"""The public keys of servers."""

from __future__ import annotations

from typing import Any

from tricord.clients.endpoint import Authentication, Endpoint, Model


class GetServerKeys(Endpoint):
    """The keys of the server that is asked.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2server
    """

    method = "GET"
    path = "/_matrix/key/v2/server"
    authentication = Authentication.NONE
    also = ("/_matrix/key/v2/server/{key_id}",)


class GetNotaryKeys(Endpoint):
    """The keys of another server, as the one that is asked knows them.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2queryservername
    """

    method = "GET"
    path = "/_matrix/key/v2/query/{server_name}"
    authentication = Authentication.NONE

    class Query(Model):
        """Until when the keys must be valid."""

        minimum_valid_until_ts: int | None = None


class QueryNotaryKeys(Endpoint):
    """The keys of several servers, as the one that is asked knows them.

    https://spec.matrix.org/v1.19/server-server-api/#post_matrixkeyv2query
    """

    method = "POST"
    path = "/_matrix/key/v2/query"
    authentication = Authentication.NONE

    class Body(Model):
        """Which keys of which servers; no key named means all."""

        server_keys: dict[str, dict[str, dict[str, Any]]]
