"""The SDK for bots and apps, and the descriptions of the client endpoints.

`Client` is one session of one user; `Bot` is a user that answers by itself. Everything that goes
wrong is a `ClientError`.
"""

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
