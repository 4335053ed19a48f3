"""The SDK for bots and apps, and the descriptions of the client endpoints.

`Client` is one session of one user; `Bot` is a user that answers by itself. Everything that goes
wrong is a `ClientError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tricord.clients.bot import Bot
    from tricord.clients.client import Client
    from tricord.clients.commands import WrongArguments
    from tricord.clients.edits import edited_content, is_valid_edit
    from tricord.clients.encryption.encryptor import Encryption
    from tricord.clients.errors import ClientError, Refused, SignedOut, UnexpectedAnswer, Unreachable
    from tricord.clients.events import Invitation, Member, Message, Reaction, Redaction, RoomEvent
    from tricord.clients.follow import Delta
    from tricord.clients.session import Session

__all__ = [
    "Bot",
    "Client",
    "ClientError",
    "Delta",
    "Encryption",
    "Invitation",
    "Member",
    "Message",
    "Reaction",
    "Redaction",
    "Refused",
    "RoomEvent",
    "Session",
    "SignedOut",
    "UnexpectedAnswer",
    "Unreachable",
    "WrongArguments",
    "edited_content",
    "is_valid_edit",
]

# A server needs what is described below this package and no client: each name is loaded when it is asked for.
_MODULES = {
    "bot": ("Bot",),
    "client": ("Client",),
    "commands": ("WrongArguments",),
    "edits": ("edited_content", "is_valid_edit"),
    "encryption.encryptor": ("Encryption",),
    "errors": ("ClientError", "Refused", "SignedOut", "UnexpectedAnswer", "Unreachable"),
    "events": ("Invitation", "Member", "Message", "Reaction", "Redaction", "RoomEvent"),
    "follow": ("Delta",),
    "session": ("Session",),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            found = getattr(import_module(f"{__name__}.{module}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
