"""Stores of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.homeserver.media.cloud import AZURE_ACCOUNT, AZURE_KEY, azure, google_cloud_storage, s3
from tricord.homeserver.assembly.media import store_of
from tricord.homeserver.media.blobs import BlobStore
from tricord.homeserver.media.settings import MediaStoreSettings
from tricord.homeserver.settings import Settings


@pytest.fixture(scope="module", params=["directory", "s3", "gcs", "azure"])
def store_settings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The settings of a store of each kind."""
    match request.param:
        case "s3":
            with s3("blobs") as url:
                yield {
                    "kind": "s3",
                    "bucket": "blobs",
                    "prefix": "media",
                    "endpoint": url,
                    "region": "eu-1",
                    "access_key": "key",
                    "secret_key": "secret",
                }
        case "gcs":
            with google_cloud_storage() as cloud:
                key = cloud.service_account_key
                yield {"kind": "gcs", "bucket": "blobs", "endpoint": cloud.url, "secret_key": key}
        case "azure":
            with azure("blobs", tmp_path_factory.mktemp("azure")) as url:
                yield {
                    "kind": "azure",
                    "bucket": "blobs",
                    "prefix": "media",
                    "endpoint": url,
                    "access_key": AZURE_ACCOUNT,
                    "secret_key": AZURE_KEY,
                }
        case _:
            yield {"kind": "directory", "folder": str(tmp_path_factory.mktemp("store") / "blobs")}


@pytest.fixture
def store(store_settings: dict[str, str], tmp_path: Path) -> BlobStore:
    settings = MediaStoreSettings.model_validate(store_settings)
    return store_of(Settings(data_dir=tmp_path, media_store=settings))
