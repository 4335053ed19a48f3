"""The media of other servers: fetched once, whoever asks for it, and kept for a while.

A file comes whole into the spool before any of it is given on: it is never in memory, a broken transfer is never taken
for a file, and its size is known.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import structlog
import trio

from tricord.federation.errors import PeerError, PeerRefused
from tricord.federation.media import RemoteFile, RemoteFiles
from tricord.homeserver.media.blobs import StoreUnavailable
from tricord.homeserver.media.disposition import clean_content_type, file_name_in
from tricord.homeserver.media.repository import Description, Repository
from tricord.homeserver.media.settings import RemoteMediaSettings
from tricord.homeserver.media.spool import Spool, TooManyBytes
from tricord.homeserver.media.thumbnails import Thumbnail, Thumbnails, Wanted
from tricord.homeserver.storage.media import StoredMedia
from tricord.protocol.errors import (
    MatrixError,
    NotFound,
    NotYetUploaded,
    RemoteMediaTooLarge,
    Unavailable,
    Unreachable,
)
from tricord.protocol.media import Mxc

_log = structlog.get_logger(__name__)

_AT_ONCE = 50
_LARGEST_THUMBNAIL = 8 << 20
# A refusal is repeated for so long, so that many who look at one message do not all ask again.
_REMEMBERED_SECONDS = 30.0
_MOST_REMEMBERED = 10_000


@dataclass(slots=True)
class _Flight:
    """A file that is on its way; who else wants it waits for how that ends."""

    landed: trio.Event = field(default_factory=trio.Event)
    media: StoredMedia | None = None
    refusal: MatrixError | None = None


class MediaElsewhere:
    """Fetches what is asked for."""

    def __init__(
        self,
        files: RemoteFiles,
        repository: Repository,
        thumbnails: Thumbnails,
        spool: Spool,
        settings: RemoteMediaSettings,
    ) -> None:
        self._files = files
        self._repository = repository
        self._thumbnails = thumbnails
        self._spool = spool
        self._settings = settings
        self._flights: dict[Mxc, _Flight] = {}
        self._limiter = trio.CapacityLimiter(_AT_ONCE)
        self._refusals: OrderedDict[Mxc, tuple[float, MatrixError]] = OrderedDict()

    async def fetch(self, mxc: Mxc, patience_seconds: float) -> StoredMedia:
        """Return media of another server after its bytes have come.

        Raises NotFound, NotYetUploaded, RemoteMediaTooLarge, Unreachable and Unavailable.
        """
        while True:
            self._check_not_refused(mxc)
            flight = self._flights.get(mxc)
            if flight is None:
                return await self._fly(mxc, patience_seconds)
            await flight.landed.wait()
            if flight.refusal is not None:
                raise flight.refusal
            if flight.media is not None:
                return flight.media
            # Who fetched it was cancelled: somebody else does it now.

    async def fetch_thumbnail(self, mxc: Mxc, wanted: Wanted, patience_seconds: float) -> Thumbnail | None:
        """Return the small image that another server makes of its media; None if it makes none that we know."""
        thumbnail = await self._thumbnails.named(str(mxc), wanted)
        if thumbnail is not None:
            return thumbnail
        self._check_not_refused(mxc)
        size = wanted.rounded()
        data = bytearray()
        try:
            async with (
                self._limiter,
                self._files.thumbnail(
                    mxc,
                    width=size.width,
                    height=size.height,
                    method=size.method,
                    animated=size.animated,
                    patience_seconds=patience_seconds,
                ) as file,
            ):
                async for part in file.parts:
                    data += part
                    if len(data) > _LARGEST_THUMBNAIL:
                        return None
        except PeerError:
            # It may make no thumbnails of such files, and yet give the file itself.
            return None
        return await self._thumbnails.keep_named(str(mxc), wanted, bytes(data))

    async def _fly(self, mxc: Mxc, patience_seconds: float) -> StoredMedia:
        flight = self._flights[mxc] = _Flight()
        try:
            async with self._limiter:
                # It may have come while this waited its turn, by way of another process.
                flight.media = await self._repository.known(mxc) or await self._fetched(mxc, patience_seconds)
        except MatrixError as refusal:
            flight.refusal = refusal
            if not isinstance(refusal, NotYetUploaded | Unavailable):
                self._remember(mxc, refusal)
            raise
        finally:
            del self._flights[mxc]
            flight.landed.set()
        return flight.media

    async def _fetched(self, mxc: Mxc, patience_seconds: float) -> StoredMedia:
        most = self._settings.max_file_bytes
        try:
            async with self._files.download(mxc, patience_seconds=patience_seconds) as file:
                length = file.headers.get("content-length", "")
                if length.isdigit() and int(length) > most:
                    raise TooManyBytes
                async with self._spool.receive(file.parts, most) as spooled:
                    return await self._repository.keep_foreign(mxc, spooled, described(file))
        except TooManyBytes:
            raise RemoteMediaTooLarge(f"{mxc} has more than {most} bytes") from None
        except StoreUnavailable as error:
            _log.error("media cannot be received", reason=str(error))
            raise Unavailable("the server cannot take in files now, try again later") from error
        except PeerError as error:
            raise refusal_of(mxc, error) from error

    def _check_not_refused(self, mxc: Mxc) -> None:
        until, refusal = self._refusals.get(mxc, (0.0, None))
        if refusal is not None and until > trio.current_time():
            raise refusal

    def _remember(self, mxc: Mxc, refusal: MatrixError) -> None:
        self._refusals[mxc] = (trio.current_time() + _REMEMBERED_SECONDS, refusal)
        self._refusals.move_to_end(mxc)
        if len(self._refusals) > _MOST_REMEMBERED:
            self._refusals.popitem(last=False)


def described(file: RemoteFile) -> Description:
    """Return what another server says of a file."""
    return Description(
        clean_content_type(file.headers.get("content-type")), file_name_in(file.headers.get("content-disposition"))
    )


def refusal_of(mxc: Mxc, error: PeerError) -> MatrixError:
    """Return what a client is told of what another server answers, or does not."""
    if isinstance(error, PeerRefused):
        if error.errcode == "M_NOT_YET_UPLOADED":
            return NotYetUploaded(f"{mxc} has not been uploaded yet")
        if error.errcode == "M_TOO_LARGE":
            return RemoteMediaTooLarge(f"{mxc} is too large for its own server to give")
        return NotFound(f"{mxc.server_name} has no {mxc} for us")
    return Unreachable(f"{mxc} cannot be fetched: {error}")
