"""What an operator can set about media."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from tricord.homeserver.section import Networks, Section

_MIB = 1 << 20


class MediaSettings(Section):
    """Files that people share: how large, how many, for how long."""

    max_upload_bytes: int = Field(100 * _MIB, ge=1, description="the largest file that users may upload")
    quota_bytes: int = Field(0, ge=0, description="how much the uploads of one user may take in total; 0: no limit")
    announced_uploads: int = Field(
        5, ge=0, description="how many uploads a user may announce before making them; 0: none"
    )
    announced_upload_hours: int = Field(24, ge=1, le=8760, description="how long an announced upload may take to come")
    keep_days: int = Field(
        0, ge=0, description="after how many days files of our users are deleted if nobody asks for them; 0: never"
    )
    downloads_without_token: bool = Field(
        False,
        description="whether files uploaded or fetched from now on can be downloaded without an access token, "
        "through the endpoints that clients and servers used before Matrix 1.11",
    )


class MediaStoreSettings(Section):
    """Where the bytes of media are kept. To move to another store, copy all objects under the same names."""

    kind: Literal["directory", "s3", "gcs", "azure"] = Field(
        "directory", description="a directory, or the object storage of a cloud, which needs `tricord[media-stores]`"
    )
    folder: Path | None = Field(None, description="the directory; none: media/blobs in data_dir")
    bucket: str = Field("", description="the bucket (s3, gcs) or container (azure)")
    prefix: str = Field("", description="what the names of all objects begin with")
    endpoint: str = Field("", description="URL of the service, if it is not the cloud's own")
    region: str = Field("", description="the region (s3)")
    access_key: str = Field("", description="id of the access key (s3), or name of the account (azure)")
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="secret access key (s3), service account key as JSON (gcs) or account key (azure); none: "
        "taken from the environment",
    )
    redirect_seconds: int = Field(
        0,
        ge=0,
        le=604_800,
        description="redirect downloads to the store, with URLs that are valid for so long; the store must then "
        "allow browsers (CORS). 0: the server sends the bytes itself",
    )
    unknown_keep_days: int = Field(
        7,
        ge=0,
        le=3650,
        description="after how many days files that the database does not know are deleted; 0: never, as it must "
        "be if another server keeps files under the same names",
    )


class RemoteMediaSettings(Section):
    """Files of other servers, fetched when somebody here asks for them and kept for a while."""

    max_file_bytes: int = Field(100 * _MIB, ge=1, description="larger files are not fetched")
    cache_bytes: int = Field(
        20_480 * _MIB,
        ge=0,
        description="how much they may take in total; beyond that, the least used are deleted",
    )
    keep_days: int = Field(
        90,
        ge=0,
        description="after how many days they are deleted if nobody asks for them; they can be fetched again. 0: never",
    )
    ask_old_endpoints: bool = Field(
        True, description="whether to use the old endpoints to fetch files from servers older than Matrix 1.11"
    )


class UrlPreviewSettings(Section):
    """Previews of web pages, which clients show below a link."""

    allowed_hosts: tuple[str, ...] = Field(
        (),
        description='hosts that pages and images may be fetched from, such as "*.example.org", or "*" for all; '
        "none: no previews",
    )
    allowed_addresses: Networks = Field(
        (), description="private networks that requests may nevertheless go to, such as 192.0.2.0/24"
    )
    languages: str = Field("en", max_length=100, description="preferred languages, as in Accept-Language")
    keep_hours: int = Field(
        24, ge=1, le=8760, description="how long a preview is used before the page is fetched again"
    )
    max_page_bytes: int = Field(2 * _MIB, ge=1024, description="how much of a page is read")
    max_image_bytes: int = Field(10 * _MIB, ge=1024, description="larger images are left out")


class ThumbnailSettings(Section):
    """Small versions of images; those of one image are made together, in a separate process."""

    concurrent: int = Field(
        2, ge=1, le=64, description="how many images are decoded at a time, each in up to 1 GiB of memory"
    )
    cpu_seconds: int = Field(5, ge=1, le=300, description="how much processor time one image may take")
    patience_seconds: int = Field(
        25, ge=1, le=300, description="how long one image may wait for the processor in addition"
    )
    max_pixels: int = Field(64_000_000, ge=1, description="images with more pixels get no thumbnails")
    max_source_bytes: int = Field(50 * _MIB, ge=1, description="larger files get no thumbnails")
    made_at_upload: bool = Field(
        False,
        description="make the usual sizes when an image is uploaded, instead of when somebody first asks for them",
    )
