"""What a file is called and what it is, in the headers of HTTP: as others say it, and as we do.

https://www.rfc-editor.org/rfc/rfc6266 and https://www.rfc-editor.org/rfc/rfc8187
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

OCTETS = "application/octet-stream"
# https://spec.matrix.org/v1.19/client-server-api/#serving-inline-content
INLINE_TYPES = frozenset(
    {
        *("text/css", "text/plain", "text/csv", "application/json", "application/ld+json"),
        *("image/jpeg", "image/gif", "image/png", "image/apng", "image/webp", "image/avif"),
        *("video/mp4", "video/webm", "video/ogg", "video/quicktime"),
        *("audio/mp4", "audio/webm", "audio/aac", "audio/mpeg", "audio/ogg", "audio/wave", "audio/wav"),
        *("audio/x-wav", "audio/x-pn-wav", "audio/flac", "audio/x-flac"),
    }
)
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # RFC 9110 calls it so
_PARAMETER = rf"\s*;\s*{_TOKEN}=(?:{_TOKEN}|\"[\x20\x21\x23-\x5b\x5d-\x7e]*\")"
_CONTENT_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:{_PARAMETER})*", re.ASCII)
_LONGEST_TYPE = 255
_LONGEST_NAME_BYTES = 255
# What RFC 8187 lets stand for itself.
_PLAIN = "!#$&+-.^_`|~"


def clean_content_type(text: str | None) -> str:
    """Return a content type as it may be repeated in a header; what is none is just bytes."""
    text = (text or "").strip()
    return text if len(text) <= _LONGEST_TYPE and _CONTENT_TYPE.fullmatch(text) else OCTETS


def media_type(content_type: str) -> str:
    """Return a content type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def clean_file_name(text: str | None) -> str | None:
    """Return a file name that names a file and no folder, and shows what it is; None if nothing is left of it."""
    if text is None:
        return None
    if len(text) > 2 * _LONGEST_NAME_BYTES:
        text = text[:_LONGEST_NAME_BYTES] + text[-_LONGEST_NAME_BYTES:]
    # Line breaks could begin another header; marks that turn the direction of writing make `exe.gpj` of `jpg.exe`.
    kept = (each for each in text if unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    name = "".join(kept).replace("/", "_").replace("\\", "_").strip(" .")
    return _shortened(name) or None


def content_disposition(content_type: str, file_name: str | None) -> bytes:
    """Return the header for a file: shown in place only if its type cannot be a page with scripts."""
    kind = "inline" if media_type(content_type) in INLINE_TYPES else "attachment"
    if file_name is None:
        return kind.encode()
    plain = file_name.encode("ascii", "replace").decode().replace('"', "'")
    if plain == file_name and "%" not in plain:
        return f'{kind}; filename="{plain}"'.encode()
    # The first is for those who do not know the second.
    return f"{kind}; filename=\"{plain.replace('%', '_')}\"; filename*=UTF-8''{quote(file_name, safe=_PLAIN)}".encode()


def file_name_in(header: str | None) -> str | None:
    """Return the file name that a Content-Disposition of another server gives."""
    if not header or len(header) > 8192:
        return None
    from email.message import Message
    from email.utils import collapse_rfc2231_value

    message = Message()
    message["content-disposition"] = header
    # What can name any character comes after what is for those who cannot read that.
    names = [value for name, value in message.get_params([], "content-disposition") if name == "filename"]
    return clean_file_name(collapse_rfc2231_value(names[-1])) if names else None


def _shortened(name: str) -> str:
    """Return a name of so many bytes as file systems take, its ending kept."""
    if len(name.encode()) <= _LONGEST_NAME_BYTES:
        return name
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending.encode()) > 20:
        stem, ending = name, ""
    room = _LONGEST_NAME_BYTES - len((dot + ending).encode())
    return stem.encode()[:room].decode(errors="ignore") + (dot + ending if ending else "")
