"""Routes of media: uploading, announcing, downloading."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.media import (
    CreateMedia,
    DownloadMedia,
    DownloadMediaUnauthenticated,
    DownloadNamedMedia,
    DownloadNamedMediaUnauthenticated,
    GetMediaConfig,
    GetThumbnail,
    GetThumbnailUnauthenticated,
    PreviewUrl,
    UploadCreatedMedia,
    UploadMedia,
)
from tricord.homeserver.client_api.media_files import file_answer, incoming_answer, needs_whole
from tricord.homeserver.media.disposition import clean_content_type, clean_file_name
from tricord.homeserver.media.incoming import Incoming
from tricord.homeserver.media.library import Library
from tricord.homeserver.media.repository import Description, Repository
from tricord.homeserver.media.thumbnails import Wanted
from tricord.homeserver.media.thumbnails_ahead import ThumbnailsAhead
from tricord.homeserver.media.url_previews import UrlPreviews
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.protocol.errors import NotFound
from tricord.protocol.media import Mxc, mxc_of
from tricord.protocol.strict_json import JsonObject

_LONGEST_WAIT_SECONDS = 60


class MediaApi:
    """What clients do with files."""

    def __init__(self, repository: Repository, library: Library, ahead: ThumbnailsAhead, previews: UrlPreviews) -> None:
        self._ahead = ahead
        self._previews = previews
        self._repository = repository
        self._library = library

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(UploadMedia, self.upload),
            Route(CreateMedia, self.create),
            Route(UploadCreatedMedia, self.upload_created),
            Route(GetMediaConfig, self.config),
            Route(DownloadMedia, self.download),
            Route(DownloadNamedMedia, self.download),
            Route(DownloadMediaUnauthenticated, self.download_without_token),
            Route(DownloadNamedMediaUnauthenticated, self.download_without_token),
            Route(GetThumbnail, self.thumbnail),
            Route(PreviewUrl, self.preview),
            Route(GetThumbnailUnauthenticated, self.thumbnail_without_token),
        ]

    async def upload(self, call: Call[Any, UploadMedia.Query]) -> JsonObject:
        """Keep a file."""
        mxc = await self._repository.upload(
            call.requester.user_id, _description(call), call.received(), call.content_length
        )
        self._ahead.consider(mxc)
        return {"content_uri": str(mxc)}

    async def create(self, call: Call[Any, Any]) -> JsonObject:
        """Name a file that comes later."""
        mxc, expires_ts = await self._repository.announce(call.requester.user_id)
        return {"content_uri": str(mxc), "unused_expires_at": expires_ts}

    async def upload_created(self, call: Call[Any, UploadMedia.Query]) -> JsonObject:
        """Keep a file that has been named before."""
        mxc = _mxc(call)
        await self._repository.upload_announced(
            mxc, call.requester.user_id, _description(call), call.received(), call.content_length
        )
        self._ahead.consider(mxc)
        return {}

    async def config(self, call: Call[Any, Any]) -> JsonObject:  # noqa: ARG002
        """Answer how large files may be."""
        return {"m.upload.size": self._repository.max_upload_bytes}

    async def download(self, call: Call[Any, DownloadMedia.Query]) -> Answer:
        """Answer a file."""
        mxc, patience, name = _mxc(call), patience_seconds(call.query), _wanted_name(call)
        if needs_whole(call.headers):
            return await file_answer(call.headers, await self._library.find(mxc, patience), self._repository, name)
        media = await self._library.find_or_follow(mxc, patience)
        if isinstance(media, Incoming):
            return incoming_answer(media, name)
        return await file_answer(call.headers, media, self._repository, name)

    async def download_without_token(self, call: Call[Any, DownloadMediaUnauthenticated.Query]) -> Answer:
        """Answer a file that is older than the freeze of this endpoint.

        https://spec.matrix.org/v1.19/client-server-api/#content-repo-client-behaviour
        """
        mxc = _mxc(call)
        media = await self._library.find_without_token(
            mxc, patience_seconds(call.query), allow_remote=call.query.allow_remote
        )
        may_redirect = call.query.allow_redirect
        return await file_answer(call.headers, media, self._repository, _wanted_name(call), may_redirect=may_redirect)

    async def thumbnail(self, call: Call[Any, GetThumbnail.Query]) -> Answer:
        """Answer a small image of a file."""
        thumbnail = await self._library.thumbnail(_mxc(call), _wanted(call.query), patience_seconds(call.query))
        return await file_answer(call.headers, thumbnail, self._repository)

    async def preview(self, call: Call[Any, PreviewUrl.Query]) -> JsonObject:
        """Answer what a page says of itself: now, since no others are remembered."""
        return await self._previews.preview(call.query.url)

    async def thumbnail_without_token(self, call: Call[Any, GetThumbnailUnauthenticated.Query]) -> Answer:
        """Answer a small image of a file that is older than the freeze of this endpoint."""
        query = call.query
        thumbnail = await self._library.thumbnail_without_token(
            _mxc(call), _wanted(query), patience_seconds(query), allow_remote=query.allow_remote
        )
        return await file_answer(call.headers, thumbnail, self._repository, may_redirect=query.allow_redirect)


def patience_seconds(query: DownloadMedia.Query) -> float:
    """Return how long to wait for a file that has not been uploaded yet."""
    return min(query.timeout_ms / 1000, _LONGEST_WAIT_SECONDS)


def _description(call: Call[Any, UploadMedia.Query]) -> Description:
    return Description(
        clean_content_type(call.headers.get("content-type")),
        clean_file_name(call.query.filename),
    )


def _wanted(query: GetThumbnail.Query) -> Wanted:
    return Wanted(query.width, query.height, query.method, query.animated)


def _mxc(call: Call[Any, Any]) -> Mxc:
    return mxc_of(call.path["server_name"], call.path["media_id"])


def _wanted_name(call: Call[Any, Any]) -> str | None:
    """Return the file name in the path, if there is one."""
    if "file_name" not in call.path:
        return None
    name = clean_file_name(call.path["file_name"])
    if name is None:
        raise NotFound("nothing is left of the file name in the path")
    return name
