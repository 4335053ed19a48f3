"""Media: what people upload, and what is fetched from other servers for them."""

from __future__ import annotations

import structlog
import trio

from tricord.federation.addresses import AllowedAddresses
from tricord.federation.dns import SystemDns
from tricord.federation.way_out import WayOut
from tricord.homeserver.assembly.foundation import Foundation, LetGo, Run
from tricord.homeserver.assembly.network import Network
from tricord.homeserver.client_api.media import MediaApi
from tricord.homeserver.clock import SystemClock
from tricord.homeserver.federation_api.media import FederationMediaApi
from tricord.homeserver.media.administration import MediaAdministration
from tricord.homeserver.media.arrivals import Arrivals
from tricord.homeserver.media.blobs import BlobStore, StoreUnavailable
from tricord.homeserver.media.directory import DirectoryStore
from tricord.homeserver.media.elsewhere import MediaElsewhere
from tricord.homeserver.media.image_maker import ImageMaker
from tricord.homeserver.media.library import Library
from tricord.homeserver.media.object_store import ObjectStore, bucket_of
from tricord.homeserver.media.past_cache import PastCache
from tricord.homeserver.media.repository import Repository
from tricord.homeserver.media.single_hand import SingleHand
from tricord.homeserver.media.spool import Spool
from tricord.homeserver.media.strays import Strays
from tricord.homeserver.media.sweep import Sweep
from tricord.homeserver.media.thumbnails import Thumbnails
from tricord.homeserver.media.thumbnails_ahead import ThumbnailsAhead
from tricord.homeserver.media.url_previews import UrlPreviews
from tricord.homeserver.media.uses import Uses
from tricord.homeserver.serving.call import Route
from tricord.homeserver.settings import Settings
from tricord.homeserver.settings_sources import SettingsError
from tricord.homeserver.storage.database import Database
from tricord.protocol.identifiers import ServerName

_log = structlog.get_logger(__name__)


def store_of(settings: Settings, past_cache: PastCache | None = None) -> BlobStore:
    """Return where the settings say that bytes are kept. Raises SettingsError."""
    seconds = settings.media_store.redirect_seconds
    if settings.media_store.kind == "directory":
        if seconds:
            raise SettingsError("media_store: nothing can be redirected to a directory (redirect_seconds)")
        return DirectoryStore(settings.media_store.folder or settings.data_dir / "media" / "blobs", past_cache)
    try:
        return ObjectStore(bucket_of(settings.media_store), redirect_seconds=seconds)
    except Exception as error:  # obstore has errors of many kinds for settings that are wrong
        raise SettingsError(f"media_store: {str(error).strip().partition(chr(10))[0][:300]}") from error


def spool_of(settings: Settings, past_cache: PastCache | None = None) -> Spool:
    """Return where bytes come in: next to the folder of the blobs, so that they need not be copied."""
    folder = (settings.media_store.folder or settings.data_dir / "media" / "blobs").with_name("incoming")
    # What goes on to a bucket at once need not wait for the disk.
    return Spool(folder, past_cache if settings.media_store.kind == "directory" else None)


def media_administration_of(settings: Settings, database: Database) -> MediaAdministration:
    """Return what an operator can do about media, without a server of this process."""
    return MediaAdministration(ServerName(settings.server_name), database, store_of(settings), SystemClock())


class Media:
    """Files that people share."""

    def __init__(self, base: Foundation, network: Network) -> None:
        settings, database, clock = base.settings, base.database, base.clock
        self._past_cache = PastCache()
        self._store = store = store_of(settings, self._past_cache)
        spool = spool_of(settings, self._past_cache)
        self._uses = Uses(database, clock)
        self._repository = Repository(
            base.server_name, database, store, spool, Arrivals(database), self._uses, clock, settings.media
        )
        self._maker = ImageMaker(settings.thumbnails)
        self._single_hand = SingleHand(database)
        self._thumbnails = Thumbnails(
            base.server_name,
            database,
            self._repository,
            spool,
            self._maker,
            clock,
            settings.thumbnails,
            self._single_hand,
        )
        self._ahead = ThumbnailsAhead(self._repository, self._thumbnails, enabled=settings.thumbnails.made_at_upload)
        self._elsewhere = MediaElsewhere(
            network.files, self._repository, self._thumbnails, spool, settings.remote_media, self._single_hand
        )
        self._library = Library(base.server_name, self._repository, self._elsewhere, self._thumbnails)
        self._server_name = base.server_name
        self._way_out = WayOut(SystemDns(), AllowedAddresses(settings.url_previews.allowed_addresses))
        self._previews = UrlPreviews(database, self._way_out, self._repository, spool, clock, settings.url_previews)
        self._sweep = Sweep(base.server_name, database, store, spool, clock, settings.media, settings.remote_media)
        self._strays = Strays(database, store, clock, settings.media_store)

    @property
    def let_go(self) -> list[LetGo]:
        """Return how they forget."""
        return [self._past_cache.let_go]

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [
            self._prepare_store,
            self._elsewhere.run,
            self._uses.run,
            self._sweep.run,
            self._strays.run,
            self._ahead.run,
            self._close_in_the_end,
        ]

    async def _prepare_store(self) -> None:
        try:
            await self._store.prepare()
        except StoreUnavailable as error:
            _log.warning("nobody can upload media now", reason=str(error))

    async def _close_in_the_end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            await self._maker.aclose()
            await self._single_hand.aclose()
            await self._way_out.aclose()

    def routes(self) -> list[Route]:
        """Return what clients are answered about media."""
        return MediaApi(self._repository, self._library, self._ahead, self._previews).routes()

    def federation_routes(self) -> list[Route]:
        """Return what other servers are answered about our media."""
        return FederationMediaApi(self._server_name, self._repository, self._thumbnails).routes()
