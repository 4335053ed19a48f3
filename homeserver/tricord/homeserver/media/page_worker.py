"""A program of its own: reads a page of the web from standard input, and writes what it says of itself as JSON.

The page is read as a stream of tags: no tree is built, and nothing is nested. This process may use little memory and
time, and imports nothing of the package.

    page_worker.py ENCODING MEMORY_BYTES CPU_SECONDS
"""

from __future__ import annotations

import codecs
import json
import os
import re
import resource
import sys
from html.parser import HTMLParser

LONGEST_VALUE = 2000
MOST_VALUES = 100
ENOUGH_WORDS = 300
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset=[\"' ]?([A-Za-z0-9_-]{1,40})", re.IGNORECASE)
_SILENT = frozenset({"script", "style", "noscript", "template", "svg", "nav", "header", "footer", "aside", "form"})
_PARAGRAPHS = frozenset({"p", "h1", "h2", "article", "main"})


class Page(HTMLParser):
    """Notes what is of interest, tag by tag."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.properties: dict[str, str] = {}
        self.title = ""
        self.words = ""
        self.oembed: str | None = None
        self.icon: str | None = None
        self._silent = 0
        self._in_title = False
        self._in_paragraph = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in a tag."""
        given = {name: value or "" for name, value in attrs}
        if tag == "meta":
            name = (given.get("property") or given.get("name") or "").lower()
            if name and len(self.properties) < MOST_VALUES:
                self.properties.setdefault(name[:100], given.get("content", "")[:LONGEST_VALUE])
        elif tag == "link" and given.get("type", "").lower() == "application/json+oembed":
            self.oembed = self.oembed or given.get("href", "")[:LONGEST_VALUE]
        elif tag == "title":
            self._in_title = not self.title
        elif tag in _SILENT:
            self._silent += 1
        elif tag in _PARAGRAPHS:
            self._in_paragraph = True

    def handle_endtag(self, tag: str) -> None:
        """Take in the end of an element."""
        if tag == "title":
            self._in_title = False
        elif tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "p":
            self._in_paragraph = False

    def handle_data(self, data: str) -> None:
        """Take in some text."""
        if self._in_title:
            self.title = (self.title + data)[:LONGEST_VALUE]
        elif self._in_paragraph and not self._silent and len(self.words) < ENOUGH_WORDS:
            self.words = (self.words + " " + data)[:LONGEST_VALUE]


def decoded(data: bytes, encoding: str) -> str:
    """Return the text of a page, by the encoding that its server or the page itself names, or else UTF-8."""
    named = _META_CHARSET.search(data[:4096])
    for name in (encoding, named[1].decode() if named else "", "utf-8"):
        try:
            if name:
                codecs.lookup(name)
                return data.decode(name, errors="replace")
        except (LookupError, UnicodeError):
            continue
    return ""


def main(encoding: str, memory_bytes: str, cpu_seconds: str) -> None:
    """Read one page."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds), int(cpu_seconds) + 1))
    resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
    page = Page()
    page.feed(decoded(sys.stdin.buffer.read(), encoding))
    page.close()
    found = {
        "properties": page.properties,
        "title": " ".join(page.title.split()),
        "words": " ".join(page.words.split()),
        "oembed": page.oembed,
    }
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
    # Without the interpreter's long goodbye.
    os._exit(0)
