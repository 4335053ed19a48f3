"""Clouds on the loopback: S3 by moto, Azure by Microsoft's Azurite, and a Google Cloud Storage of our own.

The last speaks as much of it as is asked.
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import itertools
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import orjson

from tests.npm import installed

# Azurite's own, written in its manual.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_LISTED_AT_ONCE = 3
_AZURITE = Path(__file__).parent / "azurite"


@dataclass
class GoogleCloudStorage:
    """Buckets, by the API that obstore uses: https://cloud.google.com/storage/docs/xml-api/overview."""

    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    url: str = ""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def service_account_key(self) -> str:
        """What a server is given to use it: that nobody has to be asked first."""
        key = {"disable_oauth": True, "client_email": "", "private_key": ""}
        return orjson.dumps(key | {"private_key_id": ""}).decode()

    def answer(self, method: str, target: str, body: bytes, wanted: str | None) -> tuple[int, dict[str, str], bytes]:
        """Return the status, headers and body of an answer."""
        parts = urlsplit(target)
        name, query = unquote(parts.path), parse_qs(parts.query, keep_blank_values=True)
        if method == "POST" and "uploads" in query:
            number = f"upload{next(self.numbers)}"
            self.uploads[number] = {}
            answer = f"<InitiateMultipartUploadResult><UploadId>{number}</UploadId></InitiateMultipartUploadResult>"
            return 200, {}, answer.encode()
        if "uploadId" in query:
            upload = self.uploads[query["uploadId"][0]]
            if method == "PUT":
                upload[int(query["partNumber"][0])] = body
                return 200, {"ETag": f'"{query["partNumber"][0]}"'}, b""
            self.objects[name] = b"".join(upload[number] for number in sorted(upload))
            return 200, {}, b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
        if method == "PUT":
            self.objects[name] = body
            return 200, {"ETag": '"e"'}, b""
        if method == "GET" and "list-type" in query:
            return 200, {}, self._listing(f"{name.rstrip('/')}/", query)
        if name not in self.objects:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        if method == "DELETE":
            del self.objects[name]
            return 204, {}, b""
        data = self.objects[name]
        usual = {"ETag": '"e"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        if (found := re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")) is None:
            return 200, usual, data
        start, end = int(found[1]), min(int(found[2]) + 1, len(data))
        return 206, {**usual, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}, data[start:end]

    def _listing(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        """Return a page of what is in a bucket, a small one, so that there are several."""
        after = max(query.get("start-after", [""])[0], query.get("continuation-token", [""])[0])
        names = sorted(name.removeprefix(bucket) for name in self.objects if name.startswith(bucket))
        rest = [name for name in names if name > after and name.startswith(query.get("prefix", [""])[0])]
        entries = "".join(
            f"<Contents><Key>{name}</Key><Size>{len(self.objects[bucket + name])}</Size><ETag>e</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for name in rest[:_LISTED_AT_ONCE]
        )
        if len(rest) > _LISTED_AT_ONCE:
            entries += f"<NextContinuationToken>{rest[_LISTED_AT_ONCE - 1]}</NextContinuationToken>"
        return f"<ListBucketResult>{entries}</ListBucketResult>".encode()


@contextmanager
def google_cloud_storage() -> Iterator[GoogleCloudStorage]:
    """Run one while inside the block."""
    cloud = GoogleCloudStorage()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, headers, answer = cloud.answer(self.command, self.path, body, self.headers.get("range"))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    cloud.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield cloud
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def s3(bucket: str) -> Iterator[str]:
    """Run moto's S3 with a bucket, and give its URL."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    credentials = base64.b64encode(b"key:secret").decode()
    httpx.put(f"{url}/{bucket}", headers={"Authorization": f"Basic {credentials}"}).raise_for_status()
    try:
        yield url
    finally:
        server.stop()


@contextmanager
def azure(container: str, folder: Path) -> Iterator[str]:
    """Run Azurite with a container, and give its URL."""
    place = installed(_AZURITE, folder)
    script = place / "node_modules/azurite/dist/src/blob/main.js"
    options = ["--inMemoryPersistence", "--blobPort", "0", "--skipApiVersionCheck", "--disableTelemetry"]
    process = subprocess.Popen(
        ["node", str(script), *options], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"successfully listen\w* on (http://\S+:[1-9]\d*)", line):
                break
        assert found, said
        url = f"{found[1]}/{AZURE_ACCOUNT}"
        _make_container(url, container)
        yield url
    finally:
        process.kill()
        process.wait()


def _make_container(url: str, container: str) -> None:
    """Make a container: https://learn.microsoft.com/en-us/rest/api/storageservices/authorize-with-shared-key."""
    headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
    said = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    signed = f"PUT{chr(10) * 12}{said}/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{container}\nrestype:container"
    digest = hmac.digest(base64.b64decode(AZURE_KEY), signed.encode(), hashlib.sha256)
    headers["Authorization"] = f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}"
    httpx.put(f"{url}/{container}", params={"restype": "container"}, headers=headers).raise_for_status()
