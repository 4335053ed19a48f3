"""Files in rooms: encrypted where the room is, and read wherever they are."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import trio

from tricord.clients.calls.media import MediaCalls
from tricord.clients.calls.messages import MessageCalls
from tricord.clients.encryption.attachments import Decryption, Encryption, url_of
from tricord.clients.encryption.errors import Malformed
from tricord.protocol.identifiers import EventId, RoomId

_CHUNK_BYTES = 256 * 1024
_UNKNOWN_TYPE = "application/octet-stream"


class FileCalls(MediaCalls, MessageCalls):
    """Sending files into rooms, and getting those that others sent.

    https://spec.matrix.org/v1.19/client-server-api/#sending-encrypted-attachments
    """

    async def send_file(
        self,
        room_id: RoomId,
        content: bytes | Path,
        *,
        content_type: str | None = None,
        file_name: str | None = None,
        caption: str | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> EventId:
        """Send a file: as an image, audio or video if that is what it is. In an encrypted room it is encrypted.

        `info` is what else is to be known of it, such as `w` and `h` of an image.
        """
        name = file_name or (content.name if isinstance(content, Path) else "file")
        kind = content_type or mimetypes.guess_type(name)[0] or _UNKNOWN_TYPE
        size = (await trio.Path(content).stat()).st_size if isinstance(content, Path) else len(content)
        message: dict[str, Any] = {
            "msgtype": _message_type(kind),
            "body": caption or name,
            "filename": name,
            "info": {"mimetype": kind, "size": size, **(info or {})},
        }
        if await self._encrypts_in(room_id):
            message["file"] = await self.upload_encrypted(content)
        else:
            message["url"] = await self.upload(content, content_type=kind, file_name=name)
        return await self.send(room_id, "m.room.message", message)

    async def read_file(self, content: Mapping[str, Any], *, thumbnail: bool = False) -> bytes:
        """Return the file that the content of a message is about, or its small image, encrypted or not.

        Raises Malformed if there is none, or it does not say how to read it, and Forged if it is another one than was
        sent. Large ones are for `save_file`.
        """
        holder, file, url = _place(content, thumbnail=thumbnail)
        if isinstance(holder.get(file), dict):
            return await self.download_encrypted(holder[file])
        if not isinstance(holder.get(url), str):
            raise Malformed("the message has no file")
        async with self.download(holder[url]) as download:
            return await download.read()

    async def save_file(self, content: Mapping[str, Any], path: Path) -> None:
        """Write the file that the content of a message is about to a place, however large it is.

        It appears there whole, and checked, or not at all. Raises as `read_file` does.
        """
        part = path.with_name(path.name + ".part")
        decryption = Decryption(content["file"]) if isinstance(content.get("file"), dict) else None
        url = url_of(content["file"]) if decryption is not None else content.get("url")
        if not isinstance(url, str):
            raise Malformed("the message has no file")
        try:
            async with self.download(url) as download, await trio.open_file(part, "wb") as target:
                async for piece in download.parts:
                    await target.write(piece if decryption is None else decryption.update(piece))
            if decryption is not None:
                decryption.finish()
            await trio.Path(part).replace(path)
        finally:
            await trio.Path(part).unlink(missing_ok=True)

    async def upload_encrypted(self, content: bytes | Path) -> dict[str, Any]:
        """Upload a file encrypted with a key of its own; return the `EncryptedFile` that says how to read it."""
        if isinstance(content, bytes):
            encryption = Encryption()
            return encryption.finish(await self.upload(encryption.update(content)))
        newest: list[Encryption] = []

        async def parts() -> AsyncIterator[bytes]:
            # Another key for another try: the file may have changed in between.
            encryption = Encryption()
            newest[:] = [encryption]
            async with await trio.open_file(content, "rb") as file:
                while piece := await file.read(_CHUNK_BYTES):
                    yield encryption.update(piece)

        mxc = await self.upload(parts)
        return newest[0].finish(mxc)

    async def download_encrypted(self, file: Mapping[str, Any]) -> bytes:
        """Download and decrypt what an `EncryptedFile` describes. Raises Malformed and Forged."""
        decryption = Decryption(file)
        async with self.download(url_of(file)) as download:
            plaintext = b"".join([decryption.update(part) async for part in download.parts])
        decryption.finish()
        return plaintext

    async def _encrypts_in(self, room_id: RoomId) -> bool:  # noqa: ARG002  # clients with keys look at it
        return False


def _message_type(content_type: str) -> str:
    kind = content_type.partition("/")[0]
    return f"m.{kind}" if kind in {"image", "audio", "video"} else "m.file"


def _place(content: Mapping[str, Any], *, thumbnail: bool) -> tuple[Mapping[str, Any], str, str]:
    """Return where a file stands in a content: what holds it, its name if it is encrypted, and if not."""
    if not thumbnail:
        return content, "file", "url"
    info = content.get("info")
    return (info if isinstance(info, dict) else {}), "thumbnail_file", "thumbnail_url"
