"""Files that people share.

https://spec.matrix.org/v1.19/client-server-api/#content-repository
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model

_OLD = "/_matrix/media/"
_WAIT = 20_000


class UploadMedia(Endpoint):
    """Upload a file; the body is its bytes.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav3upload
    """

    method = "POST"
    path = "/_matrix/media/v3/upload"
    also = ("/_matrix/media/r0/upload", "/_matrix/media/v1/upload")
    hot = True
    body_kind = "stream"

    class Query(Model):
        """What the file is called."""

        filename: str | None = None

    class Response(Model):
        """Where it can be found."""

        content_uri: str


class CreateMedia(Endpoint):
    """Name a file that is uploaded later.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav1create
    """

    method = "POST"
    path = "/_matrix/media/v1/create"
    hot = True

    class Response(Model):
        """Where it will be found, and until when it must be uploaded."""

        content_uri: str
        unused_expires_at: int | None = None


class UploadCreatedMedia(Endpoint):
    """Upload a file that was named before; the body is its bytes.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixmediav3uploadservernamemediaid
    """

    method = "PUT"
    path = "/_matrix/media/v3/upload/{server_name}/{media_id}"
    hot = True
    body_kind = "stream"
    Query = UploadMedia.Query


class GetMediaConfig(Endpoint):
    """Read how large files may be.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediaconfig
    """

    method = "GET"
    path = "/_matrix/client/v1/media/config"
    also = ("/_matrix/media/v3/config", "/_matrix/media/r0/config")
    hot = True
    body_kind = "none"

    class Response(Model):
        """The bounds."""

        upload_size: int | None = Field(None, alias="m.upload.size")


class PreviewUrl(Endpoint):
    """Ask what a page on the web says of itself, in the words of OpenGraph.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediapreview_url
    """

    method = "GET"
    path = "/_matrix/client/v1/media/preview_url"
    also = ("/_matrix/media/v3/preview_url", "/_matrix/media/r0/preview_url")
    hot = True
    body_kind = "none"

    class Query(Model):
        """Which page, and as it was when."""

        url: str
        ts: int | None = None


class DownloadMedia(Endpoint):
    """Download a file.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
    """

    method = "GET"
    path = "/_matrix/client/v1/media/download/{server_name}/{media_id}"
    authentication = Authentication.GUEST
    hot = True
    body_kind = "none"

    class Query(Model):
        """How long to wait for a file that has not been uploaded yet."""

        timeout_ms: int = Field(_WAIT, ge=0)


class DownloadNamedMedia(Endpoint):
    """Download a file under another name.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediadownloadservernamemediaidfilename
    """

    method = "GET"
    path = DownloadMedia.path + "/{file_name}"
    authentication = Authentication.GUEST
    hot = True
    body_kind = "none"
    Query = DownloadMedia.Query


class DownloadMediaUnauthenticated(Endpoint):
    """Download a file without saying who one is.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixmediav3downloadservernamemediaid
    """

    method = "GET"
    path = _OLD + "v3/download/{server_name}/{media_id}"
    also = (_OLD + "r0/download/{server_name}/{media_id}", _OLD + "v1/download/{server_name}/{media_id}")
    authentication = Authentication.NONE
    hot = True
    body_kind = "none"

    class Query(DownloadMedia.Query):
        """Whether the server may ask the one that the file is from, and may say where else it is to be had."""

        allow_remote: bool = True
        allow_redirect: bool = False


class DownloadNamedMediaUnauthenticated(Endpoint):
    """Download a file under another name without saying who one is.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixmediav3downloadservernamemediaidfilename
    """

    method = "GET"
    path = DownloadMediaUnauthenticated.path + "/{file_name}"
    also = tuple(path + "/{file_name}" for path in DownloadMediaUnauthenticated.also)
    authentication = Authentication.NONE
    hot = True
    body_kind = "none"
    Query = DownloadMediaUnauthenticated.Query


class GetThumbnail(Endpoint):
    """Download a small image of an image.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid
    """

    method = "GET"
    path = "/_matrix/client/v1/media/thumbnail/{server_name}/{media_id}"
    authentication = Authentication.GUEST
    hot = True
    body_kind = "none"

    class Query(DownloadMedia.Query):
        """What it shall be like."""

        width: int = Field(ge=1, le=100_000)
        height: int = Field(ge=1, le=100_000)
        method: Literal["crop", "scale"] = "scale"
        animated: bool = False


class GetThumbnailUnauthenticated(Endpoint):
    """Download a small image of an image without saying who one is.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixmediav3thumbnailservernamemediaid
    """

    method = "GET"
    path = _OLD + "v3/thumbnail/{server_name}/{media_id}"
    also = (_OLD + "r0/thumbnail/{server_name}/{media_id}", _OLD + "v1/thumbnail/{server_name}/{media_id}")
    authentication = Authentication.NONE
    hot = True
    body_kind = "none"

    class Query(GetThumbnail.Query):
        """Whether the server may ask the one that the image is from, and may say where else it is to be had."""

        allow_remote: bool = True
        allow_redirect: bool = False
