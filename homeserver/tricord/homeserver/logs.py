"""How the server logs: one line an event, for people or as JSON, and never a secret.

Logs never hold tokens, passwords or message bodies. Callers do not pass them; `_without_secrets` is the second line.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from tricord.homeserver.settings import LogSettings

_SECRET_KEYS = frozenset(
    {
        "access_token",
        "authorization",
        "body",
        "content",
        "key",
        "mac",
        "password",
        "refresh_token",
        "secret",
        "token",
    }
)
_SECRET_TEXT = re.compile(r"(?i)(access_token=|bearer\s+|trc_|trr_)[^\s&\"']+")


def configure_logs(settings: LogSettings, *, process: int | None = None) -> None:
    """Send structlog's and the standard library's records to standard error, in the wanted form.

    `process` is the number of this one, where there are several: each of their lines has it.
    """
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    to_console = settings.format == "console"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if to_console else "iso", utc=not to_console),
        _without_secrets,
    ]
    if process is not None:
        shared.insert(0, _of_process(process))
    renderer: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if to_console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard library; only what is wrong with them is of interest.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


def _of_process(number: int) -> structlog.typing.Processor:
    def name(_logger: Any, _method: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        record["process"] = number
        return record

    return name


def _without_secrets(_logger: Any, _method: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in record.items():
        if name in _SECRET_KEYS:
            record[name] = "(left out)"
        elif isinstance(value, str) and _SECRET_TEXT.search(value):
            record[name] = _SECRET_TEXT.sub(r"\1(left out)", value)
    return record
