"""The media of this server: uploading it, announcing it, and finding it again.

Bytes come first into a buffer, or into a file of the spool if they are more than it holds. Then their blob is claimed
in the database, put into the store, and named by a row of its own: a crash in between leaves a blob that nothing names,
which `sweep.py` deletes. The claim is on the disk no later than the name; only if PostgreSQL itself fails in between, a
file may be left that no row knows, and `strays.py` finds it.

Most uploads fit into a buffer and go to a folder. There one statement is enough, which claims and names what has been
put already: who was deleting the same bytes until then may have taken these along, so whether they are there is looked
up afterwards, when nobody deletes them any more. If they are not, the name is taken back, and all begins anew. A crash
in between leaves a file for `strays.py`.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.media.arrivals import Arrivals
from tricord.homeserver.media.blobs import BlobStore, Held, Label, StoreUnavailable
from tricord.homeserver.media.disposition import content_disposition
from tricord.homeserver.media.settings import MediaSettings
from tricord.homeserver.media.spool import Spool, Spooled, TooManyBytes
from tricord.homeserver.media.uses import Uses
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.media import (
    BlobGone,
    StoredMedia,
    announced_by,
    bytes_of_uploader,
    claim_and_insert_media,
    claim_blob,
    complete_media,
    delete_media,
    give_back,
    insert_media,
    media_named,
    reserve,
)
from tricord.protocol.errors import (
    CannotOverwriteMedia,
    Forbidden,
    LimitExceeded,
    NotFound,
    NotYetUploaded,
    TooLarge,
    Unavailable,
)
from tricord.protocol.identifiers import ServerName, UserId
from tricord.protocol.media import Mxc

_log = structlog.get_logger(__name__)

_HOUR_MS = 3_600_000
CLAIM_MS = _HOUR_MS
"""Who has claimed bytes names them before so long, or finds that they are gone."""

# What the store takes longer for might be deleted before it is named.
_LONGEST_PUT_MS = CLAIM_MS // 2
# Who brings bytes that are just being deleted waits for that; it is over soon, unless the store does not answer.
_DELETION_SECONDS = 10
_LOOK_AGAIN_SECONDS = 0.2
# What is not given back in time counts until it expires.
_GIVE_BACK_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Description:
    """What is said of some bytes by who brings them."""

    content_type: str
    file_name: str | None


class Repository:
    """Media with its bytes."""

    def __init__(
        self,
        server_name: ServerName,
        database: Database,
        store: BlobStore,
        spool: Spool,
        arrivals: Arrivals,
        uses: Uses,
        clock: Clock,
        settings: MediaSettings,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._store = store
        self._spool = spool
        self._arrivals = arrivals
        self._uses = uses
        self._clock = clock
        self._settings = settings

    @property
    def max_upload_bytes(self) -> int:
        """How large an upload may be."""
        return self._settings.max_upload_bytes

    @property
    def is_frozen(self) -> bool:
        """Whether what comes from now on is given to nobody without an access token."""
        return not self._settings.downloads_without_token

    async def announce(self, user_id: UserId) -> tuple[Mxc, int]:
        """Name media that is uploaded later; return until when it is waited for, too. Raises LimitExceeded."""
        now = self._clock.now_ms()
        announced = await self._database.read(announced_by, user_id, now)
        if not self._settings.announced_uploads:
            raise Forbidden("uploads cannot be announced here")
        if len(announced) >= self._settings.announced_uploads:
            raise LimitExceeded(
                f"there are {len(announced)} announced uploads already", retry_after_ms=max(announced[0] - now, 1)
            )
        mxc = self._new_name()
        expires = now + self._settings.announced_upload_hours * _HOUR_MS
        media = self._described(mxc, None, Description("application/octet-stream", None), user_id, expires_ts=expires)
        await self._database.run_one(insert_media, media)
        return mxc, expires

    async def upload(
        self, user_id: UserId, description: Description, parts: AsyncIterator[bytes], length: int | None
    ) -> Mxc:
        """Keep what somebody uploads, and return its name. Raises TooLarge, Forbidden and Unavailable."""
        async with self._received(user_id, parts, length) as spooled:
            media = self._described(self._new_name(), spooled, description, user_id)
            async with self._within_quota(media):
                if not (isinstance(spooled, Held) and await self._put_and_named(spooled, media)):
                    await self.keep(spooled, description)
                    with naming():
                        await self._database.run_one(insert_media, media)
        return media.mxc

    async def _put_and_named(self, held: Held, media: StoredMedia) -> bool:
        """Put bytes into the store and name them then; False if they have to be claimed before. Raises Unavailable."""
        with _keeping():
            if not (await self._store.put_held(held) and await self._database.run_one(claim_and_insert_media, media)):
                return False
            if await self._store.has(held.digest):
                return True
            # They may come to nothing when they are put again, and no name may be left without them.
            await self._database.run_one(delete_media, [media.mxc])
            return False

    async def upload_announced(
        self, mxc: Mxc, user_id: UserId, description: Description, parts: AsyncIterator[bytes], length: int | None
    ) -> None:
        """Keep the bytes of media that was announced. Raises NotFound, CannotOverwriteMedia, and as `upload` does."""
        media = await self._database.read(media_named, mxc)
        if media is None or mxc.server_name != self._server_name:
            raise NotFound(f"{mxc} has not been announced")
        if media.uploader != user_id:
            raise Forbidden(f"{mxc} was announced by somebody else")
        self._check_waited_for(media)
        async with self._received(user_id, parts, length) as spooled:
            media = self._described(mxc, spooled, description, user_id)
            async with self._within_quota(media, announced=True):
                await self.keep(spooled, description)
                await self._complete(media)
        await self._arrivals.announce(mxc)

    async def _complete(self, media: StoredMedia) -> None:
        """Give announced media its bytes. Raises NotFound, CannotOverwriteMedia and Unavailable."""
        with naming():
            completed = await self._database.run(complete_media, media, self._clock.now_ms())
        if not completed:
            # It was waited for a moment ago: meanwhile it has come another way, or its time has run out.
            self._check_waited_for(await self._database.read(media_named, media.mxc))
            raise NotFound(f"{media.mxc} is no longer waited for")

    async def find(self, mxc: Mxc, patience_seconds: float) -> StoredMedia:
        """Return media of this server that has its bytes. Raises NotFound, and NotYetUploaded after some waiting."""
        media = await self.known(mxc)
        if media is None:
            raise NotFound(f"there is no {mxc}")
        if media.digest is None:
            media = await self._arrivals.wait(mxc, patience_seconds, lambda: self._arrived(mxc))
            if media is None:
                raise NotYetUploaded(f"{mxc} has not been uploaded yet")
        self.note_use(mxc)
        return media

    async def known(self, mxc: Mxc) -> StoredMedia | None:
        """Return media that may be shown, or None. Raises NotFound if it may not be."""
        media = await self._database.read(media_named, mxc)
        if media is None:
            return None
        if media.quarantined_by is not None:
            # As if there were none: who is kept from seeing it need not learn that it was.
            raise NotFound(f"there is no {mxc}")
        if media.digest is None and (media.expires_ts is None or media.expires_ts <= self._clock.now_ms()):
            return None
        return media

    async def keep(self, spooled: Spooled | Held, description: Description) -> Label | None:
        """Put bytes into the store, so that they may be named within the next hours; return the label they have there.

        Raises Unavailable.
        """
        begun = self._clock.now_ms()
        label = await self._claim(spooled, description)
        with _keeping():
            await self._put(spooled, label)
        if self._clock.now_ms() - begun > _LONGEST_PUT_MS:
            raise Unavailable("keeping the file took too long, try again")
        return label

    async def _put(self, spooled: Spooled | Held, label: Label | None) -> None:
        if isinstance(spooled, Spooled):
            await self._store.put(spooled.digest, spooled.file, label)
        elif not await self._store.put_held(spooled):
            async with self._spool.written(spooled) as file:
                await self._store.put(spooled.digest, file, label)

    async def _claim(self, spooled: Spooled | Held, description: Description) -> Label | None:
        """Return the label that the bytes have in the store."""
        label = label_for(description.content_type, description.file_name) if self._store.keeps_labels else None
        with trio.move_on_after(_DELETION_SECONDS):
            while True:
                claimed, kept = await self._database.run_one(
                    claim_blob, spooled.digest, spooled.size, self._clock.now_ms(), label
                )
                if claimed:
                    return kept
                await trio.sleep(_LOOK_AGAIN_SECONDS)
        raise Unavailable("the same file is just being deleted, try again later")

    async def keep_foreign(self, mxc: Mxc, spooled: Spooled, description: Description) -> StoredMedia:
        """Keep media of another server, and return it. Raises Unavailable."""
        await self.keep(spooled, description)
        media = self._described(mxc, spooled, description, None)
        with naming():
            await self._database.run_one(insert_media, media)
        # Its bytes may be those of something that nobody may see.
        kept = await self.known(mxc)
        if kept is None:
            raise NotFound(f"there is no {mxc}")
        return kept

    async def keep_own(self, spooled: Spooled, description: Description) -> Mxc:
        """Keep media that the server itself has found, and return its name. Raises Unavailable."""
        mxc = self._new_name()
        await self.keep(spooled, description)
        with naming():
            await self._database.run_one(insert_media, self._described(mxc, spooled, description, None))
        return mxc

    def read(self, digest: bytes, start: int, end: int) -> AsyncIterator[bytes]:
        """Return some bytes of what is kept."""
        return self._store.read(digest, start, end)

    async def url_of(self, digest: bytes) -> str | None:
        """Return a URL by which the store gives some bytes to anybody for a while, if it is to. Raises Unavailable."""
        try:
            return await self._store.url_of(digest)
        except StoreUnavailable as error:
            _log.error("media cannot be given by its store", reason=str(error))
            raise Unavailable("the server cannot give files now, try again later") from error

    def note_use(self, mxc: Mxc) -> None:
        """Note that some media was asked for: what is not asked for may be forgotten."""
        self._uses.note(mxc)

    @contextlib.asynccontextmanager
    async def _received(
        self, user_id: UserId, parts: AsyncIterator[bytes], length: int | None
    ) -> AsyncIterator[Spooled | Held]:
        """Take in an upload, as far as its user may make it."""
        most = self._settings.max_upload_bytes
        if length is not None and length > most:
            raise TooLarge(f"the file has {length} bytes, and files here have at most {most}")
        quota = self._settings.quota_bytes
        # Others of the user's uploads may be under way: what counts is asked when all of it is here.
        if quota and (length or 1) > quota - await self._database.read(bytes_of_uploader, user_id):
            raise self._too_much()
        try:
            with receiving():
                async with self._spool.receive_upload(parts, most) as spooled:
                    yield spooled
        except TooManyBytes:
            raise TooLarge(f"the file has more than {most} bytes") from None

    @contextlib.asynccontextmanager
    async def _within_quota(self, media: StoredMedia, *, announced: bool = False) -> AsyncIterator[None]:
        """Count media among its user's from before it is kept, unless it comes to nothing. Raises Forbidden."""
        quota = self._settings.quota_bytes
        if not quota:
            yield
            return
        until = self._clock.now_ms() + CLAIM_MS
        if not await self._database.run(reserve, replace(media, expires_ts=until), quota):
            raise self._too_much()
        try:
            yield
        except BaseException:
            with trio.CancelScope(shield=True), trio.move_on_after(_GIVE_BACK_SECONDS):
                await self._database.run_one(give_back, media.mxc, announced=announced)
            raise

    def _too_much(self) -> Forbidden:
        return Forbidden(f"your uploads would take more than {self._settings.quota_bytes} bytes together")

    async def _arrived(self, mxc: Mxc) -> StoredMedia | None:
        media = await self.known(mxc)
        return None if media is None or media.digest is None else media

    def _check_waited_for(self, media: StoredMedia | None) -> None:
        if media is not None and media.digest is not None:
            raise CannotOverwriteMedia(f"{media.mxc} has been uploaded already")
        if media is None or media.expires_ts is None or media.expires_ts <= self._clock.now_ms():
            raise NotFound("this upload is no longer waited for")

    def _new_name(self) -> Mxc:
        return Mxc(self._server_name, secrets.token_urlsafe(24))

    def _described(
        self,
        mxc: Mxc,
        spooled: Spooled | Held | None,
        description: Description,
        uploader: UserId | None,
        expires_ts: int | None = None,
    ) -> StoredMedia:
        now = self._clock.now_ms()
        return StoredMedia(
            mxc,
            None if spooled is None else spooled.digest,
            0 if spooled is None else spooled.size,
            description.content_type,
            description.file_name,
            uploader,
            now,
            now,
            expires_ts,
            not self._settings.downloads_without_token,
            None,
        )


def label_for(content_type: str, file_name: str | None) -> Label:
    """Return with which headers a file is given."""
    return Label(content_type, content_disposition(content_type, file_name).decode("ascii"))


@contextlib.contextmanager
def receiving() -> Iterator[None]:
    """Refuse what the spool cannot take in."""
    try:
        yield
    except StoreUnavailable as error:
        _log.error("media cannot be received", reason=str(error))
        raise Unavailable("the server cannot take in files now, try again later") from error


@contextlib.contextmanager
def _keeping() -> Iterator[None]:
    """Refuse what the store cannot keep."""
    try:
        yield
    except StoreUnavailable as error:
        _log.error("media cannot be kept", reason=str(error))
        raise Unavailable("the server cannot keep files now, try again later") from error


@contextlib.contextmanager
def naming() -> Iterator[None]:
    """Refuse what took so long that its bytes have been deleted again."""
    try:
        yield
    except BlobGone:
        raise Unavailable("keeping the file took too long, try again") from None
