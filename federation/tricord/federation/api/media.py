"""Files of another server.

https://spec.matrix.org/v1.19/server-server-api/#content-repository
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model


class DownloadMedia(Endpoint):
    """Download a file of the server that is asked: `multipart/mixed`, as `federation/media.py` reads it.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediadownloadmediaid
    """

    method = "GET"
    path = "/_matrix/federation/v1/media/download/{media_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    body_kind = "none"

    class Query(Model):
        """How long to wait for a file that has not been uploaded yet."""

        timeout_ms: int = Field(20_000, ge=0)


class GetThumbnail(Endpoint):
    """Download a small image of an image of the server that is asked, in the same form.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediathumbnailmediaid
    """

    method = "GET"
    path = "/_matrix/federation/v1/media/thumbnail/{media_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    body_kind = "none"

    class Query(DownloadMedia.Query):
        """What it shall be like."""

        width: int = Field(ge=1, le=100_000)
        height: int = Field(ge=1, le=100_000)
        method: Literal["crop", "scale"] = "scale"
        animated: bool = False
