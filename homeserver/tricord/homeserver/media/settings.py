"""What an operator can set about media."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from tricord.homeserver.section import Networks, Section

_MIB = 1 << 20


class MediaSettings(Section):
    """Files that people share: how large, how many, for how long."""

    max_upload_bytes: int = Field(100 * _MIB, ge=1, description="the largest file that people may upload")
    quota_bytes: int = Field(0, ge=0, description="what the uploads of one user may take together; 0: no limit")
    announced_uploads: int = Field(
        5, ge=0, description="uploads that one user may announce without having made them; 0: none"
    )
    announced_upload_hours: int = Field(24, ge=1, le=8760, description="how long an announced upload is waited for")
    keep_days: int = Field(
        0, ge=0, description="files of our users that nobody has asked for so long are deleted; 0: they are kept"
    )
    downloads_without_token: bool = Field(
        False,
        description="whether what is uploaded or fetched from now on may be downloaded by the old endpoints, without an"
        " access token, by clients and servers of before Matrix 1.11",
    )


class MediaStoreSettings(Section):
    """Where the bytes of media are kept. Moving from one to another is a copy of all objects under the same names."""

    kind: Literal["directory", "s3", "gcs", "azure"] = Field(
        "directory", description="a folder, or a cloud's object storage, which needs `tricord[media-stores]`"
    )
    folder: Path | None = Field(None, description="the folder; without one: media/blobs in data_dir")
    bucket: str = Field("", description="the bucket (s3, gcs) or container (azure)")
    prefix: str = Field("", description="what the names of objects begin with")
    endpoint: str = Field("", description="URL of the service, where it is not the cloud's own")
    region: str = Field("", description="the region (s3)")
    access_key: str = Field("", description="id of the access key (s3), or name of the account (azure)")
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="secret access key (s3), JSON of the service account key (gcs) or account key (azure); without one:"
        " what the environment gives",
    )
    redirect_seconds: int = Field(
        0,
        ge=0,
        le=604_800,
        description="downloads are redirected to the store, by URLs that hold so long; 0: the server gives the bytes"
        " itself. Browsers must be allowed there (CORS)",
    )
    unknown_keep_days: int = Field(
        7,
        ge=0,
        le=3650,
        description="files there that the database does not know are deleted so long after they were found; 0: they"
        " stay, as they must where another server keeps its files under the same names",
    )


class RemoteMediaSettings(Section):
    """Files of other servers, which are fetched when somebody here asks for them, and kept for a while."""

    max_file_bytes: int = Field(100 * _MIB, ge=1, description="larger files are not fetched")
    cache_bytes: int = Field(
        20_480 * _MIB,
        ge=0,
        description="what they may take together; beyond, what is least asked for is deleted",
    )
    keep_days: int = Field(
        90, ge=0, description="those that nobody has asked for so long are deleted; they can be fetched again; 0: kept"
    )
    ask_old_endpoints: bool = Field(
        True, description="whether servers of before Matrix 1.11 are asked by the endpoints that they know"
    )


class UrlPreviewSettings(Section):
    """What pages on the web say of themselves, shown by clients below a link."""

    allowed_hosts: tuple[str, ...] = Field(
        (),
        description='hosts that are asked for pages and images, such as "*.example.org", or "*" for all; none: no'
        " previews are made",
    )
    allowed_addresses: Networks = Field(
        (), description="networks that are not public and may still be asked, such as 192.0.2.0/24"
    )
    languages: str = Field("en", max_length=100, description="languages that are asked for, as in Accept-Language")
    keep_hours: int = Field(24, ge=1, le=8760, description="how long a preview is given before the page is asked again")
    max_page_bytes: int = Field(2 * _MIB, ge=1024, description="how much of a page is read")
    max_image_bytes: int = Field(10 * _MIB, ge=1024, description="larger images are left out")


class ThumbnailSettings(Section):
    """Small images of large ones; those of one image are made together, by a process of its own."""

    concurrent: int = Field(
        2, ge=1, le=64, description="how many images are decoded at a time, each in up to a GiB of memory"
    )
    cpu_seconds: int = Field(5, ge=1, le=300, description="processor time that one may take")
    patience_seconds: int = Field(25, ge=1, le=300, description="time that one may wait for the processor beside that")
    max_pixels: int = Field(64_000_000, ge=1, description="images with more pixels are not made smaller")
    max_source_bytes: int = Field(50 * _MIB, ge=1, description="larger files are not made smaller")
    made_at_upload: bool = Field(
        False, description="make the usual sizes when an image is uploaded, not when somebody first looks at it"
    )
