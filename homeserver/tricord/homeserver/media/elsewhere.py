"""The media of other servers: fetched once, whoever asks for it, and kept for a while.

A file comes into the spool, and is given on from there while it comes: it is never in memory, one transfer serves all
who want the file, and a broken one is never taken for a file.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TypeVar

import trio

from tricord.federation.errors import PeerError, PeerRefused
from tricord.federation.media import RemoteFile, RemoteFiles
from tricord.homeserver.media.disposition import clean_content_type, file_name_in
from tricord.homeserver.media.incoming import Incoming
from tricord.homeserver.media.repository import Description, Repository, receiving
from tricord.homeserver.media.settings import RemoteMediaSettings
from tricord.homeserver.media.single_hand import SingleHand
from tricord.homeserver.media.spool import Spool, TooManyBytes
from tricord.homeserver.media.thumbnails import Thumbnail, Thumbnails, Wanted
from tricord.homeserver.storage.media import StoredMedia
from tricord.homeserver.turns import Turns
from tricord.protocol.errors import (
    MatrixError,
    NotFound,
    NotYetUploaded,
    RemoteMediaTooLarge,
    Unavailable,
    Unreachable,
)
from tricord.protocol.media import Mxc

_AT_ONCE = 50
# Most files have come by then. A large one is fetched by each process that is asked for it, to be given while it comes.
_HEAD_START_SECONDS = 2.0
_LARGEST_THUMBNAIL = 8 << 20
# The other server's answer may come so long after it has waited for the file.
_ANSWER_SECONDS = 20.0
_WORTH_ASKING_AGAIN_SECONDS = 1.0
# A refusal is repeated for so long, so that many who look at one message do not all ask again.
_REMEMBERED_SECONDS = 30.0
_MOST_REMEMBERED = 10_000

V = TypeVar("V")


class MediaElsewhere:
    """Fetches what is asked for."""

    def __init__(
        self,
        files: RemoteFiles,
        repository: Repository,
        thumbnails: Thumbnails,
        spool: Spool,
        settings: RemoteMediaSettings,
        single_hand: SingleHand,
    ) -> None:
        self._single_hand = single_hand
        self._files = files
        self._repository = repository
        self._thumbnails = thumbnails
        self._spool = spool
        self._settings = settings
        self._incoming: dict[Mxc, Incoming] = {}
        self._begin, self._begun = trio.open_memory_channel[Incoming](math.inf)
        self._limiter = trio.CapacityLimiter(_AT_ONCE)
        self._refusals: OrderedDict[Mxc, tuple[float, MatrixError]] = OrderedDict()
        # Of which media its server makes no small images, and until when that is believed.
        self._without_thumbnails: OrderedDict[Mxc, float] = OrderedDict()
        self._turns: Turns[tuple[Mxc, Wanted]] = Turns()

    async def run(self) -> None:
        """Fetch what is asked for, for ever; a transfer outlives who asked for it first."""
        async with trio.open_nursery() as nursery:
            async for incoming in self._begun:
                nursery.start_soon(self._take_in, incoming)

    async def fetch(self, mxc: Mxc, patience_seconds: float) -> StoredMedia:
        """Return media of another server after its bytes have come.

        Raises NotFound, NotYetUploaded, RemoteMediaTooLarge, Unreachable and Unavailable.
        """
        until = trio.current_time() + patience_seconds
        while True:
            incoming = await self._begun_before(mxc, until)
            await incoming.ended()
            if (media := _outcome(incoming, until)) is not None:
                return media

    async def follow(self, mxc: Mxc, patience_seconds: float) -> StoredMedia | Incoming:
        """Return media of another server, or, where that takes its time, the transfer of it; raise as `fetch` does."""
        until = trio.current_time() + patience_seconds
        while True:
            incoming = await self._begun_before(mxc, until)
            if not incoming.has_ended:
                return incoming
            if (media := _outcome(incoming, until)) is not None:
                return media

    async def fetch_thumbnail(self, mxc: Mxc, wanted: Wanted, patience_seconds: float) -> Thumbnail | None:
        """Return the small image that another server makes of its media; None if it makes none that we know."""
        wanted = wanted.rounded()
        if (thumbnail := await self._thumbnails.named(str(mxc), wanted)) is not None:
            return thumbnail
        async with self._turns.of((mxc, wanted)):
            # It may have come since it was looked for.
            thumbnail = await self._thumbnails.named(str(mxc), wanted)
            if thumbnail is not None or self._without_thumbnails.get(mxc, 0.0) > trio.current_time():
                return thumbnail
            self._check_not_refused(mxc)
            data = await self._thumbnail_from_its_server(mxc, wanted, patience_seconds)
            thumbnail = None if data is None else await self._thumbnails.keep_named(str(mxc), wanted, data)
            if thumbnail is None:
                _remember(self._without_thumbnails, mxc, trio.current_time() + _REMEMBERED_SECONDS)
            return thumbnail

    async def _thumbnail_from_its_server(self, mxc: Mxc, size: Wanted, patience_seconds: float) -> bytes | None:
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
        return bytes(data)

    async def _begun_before(self, mxc: Mxc, until: float) -> Incoming:
        """Return the transfer of a file, once it has begun or ended. Raises NotYetUploaded if that takes too long."""
        with trio.CancelScope(deadline=until + _ANSWER_SECONDS):
            incoming = self._coming(mxc, until)
            await incoming.begun()
            return incoming
        # Somebody with more patience waits for it.
        raise NotYetUploaded(f"{mxc} has not come yet")

    def _coming(self, mxc: Mxc, until: float) -> Incoming:
        """Return the transfer of a file, begun now if there was none."""
        self._check_not_refused(mxc)
        incoming = self._incoming.get(mxc)
        if incoming is None:
            incoming = self._incoming[mxc] = Incoming(mxc, until, self._repository)
            self._begin.send_nowait(incoming)
        return incoming

    async def _take_in(self, incoming: Incoming) -> None:
        mxc = incoming.mxc
        try:
            with incoming.scope:
                async with self._limiter:
                    incoming.media = await self._fetched_once(incoming)
        except MatrixError as refusal:
            incoming.failure = refusal
            if not isinstance(refusal, NotYetUploaded | Unavailable):
                _remember(self._refusals, mxc, (trio.current_time() + _REMEMBERED_SECONDS, refusal))
        except Exception as error:  # noqa: BLE001  # raised where it is waited for
            incoming.failure = error
        finally:
            del self._incoming[mxc]
            incoming.end()

    async def _fetched_once(self, incoming: Incoming) -> StoredMedia:
        """Return a file that another process or this one fetches."""
        mxc = incoming.mxc
        async with self._single_hand.at(
            f"fetch/{mxc}", lambda: self._repository.known(mxc), _HEAD_START_SECONDS
        ) as media:
            return media or await self._fetched(incoming)

    async def _fetched(self, incoming: Incoming) -> StoredMedia:
        mxc, most = incoming.mxc, self._settings.max_file_bytes
        try:
            async with self._files.download(mxc, patience_seconds=incoming.patience_seconds()) as file:
                length = _length(file)
                if length is not None and length > most:
                    raise TooManyBytes
                description = described(file)
                incoming.describe(description, length)
                with receiving():
                    async with self._spool.receive(file.parts, most, incoming.grow) as spooled:
                        if length is not None and spooled.size != length:
                            raise Unreachable(f"{mxc} was to have {length} bytes, and has {spooled.size}")
                        return await self._repository.keep_foreign(mxc, spooled, description)
        except TooManyBytes:
            raise RemoteMediaTooLarge(f"{mxc} has more than {most} bytes") from None
        except PeerError as error:
            raise refusal_of(mxc, error) from error

    def _check_not_refused(self, mxc: Mxc) -> None:
        until, refusal = self._refusals.get(mxc, (0.0, None))
        if refusal is not None and until > trio.current_time():
            raise refusal


def _remember(remembered: OrderedDict[Mxc, V], mxc: Mxc, value: V) -> None:
    remembered[mxc] = value
    remembered.move_to_end(mxc)
    if len(remembered) > _MOST_REMEMBERED:
        remembered.popitem(last=False)


def _outcome(incoming: Incoming, until: float) -> StoredMedia | None:
    """Return what has come; None if it is to be begun again, for who waits until some time. Raises what failed.

    That is so if nobody wanted it any more, or if it was waited for with less patience.
    """
    if isinstance(incoming.failure, NotYetUploaded) and until > incoming.until + _WORTH_ASKING_AGAIN_SECONDS:
        return None
    if incoming.failure is not None:
        raise incoming.failure
    return incoming.media


def _length(file: RemoteFile) -> int | None:
    text = file.headers.get("content-length", "")
    return int(text) if text.isdigit() and len(text) < 19 and "content-encoding" not in file.headers else None


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
