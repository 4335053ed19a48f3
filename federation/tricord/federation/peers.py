"""Other servers, by what they can be asked."""

from __future__ import annotations

from tricord.federation.calls.encryption import EncryptionCalls
from tricord.federation.calls.history import HistoryCalls
from tricord.federation.calls.keys import KeyCalls
from tricord.federation.calls.membership import MembershipCalls
from tricord.federation.calls.queries import QueryCalls
from tricord.federation.calls.sending import SendingCalls


class Peers(MembershipCalls, HistoryCalls, QueryCalls, EncryptionCalls, SendingCalls, KeyCalls):
    """Every endpoint of other servers as a typed method, but for files (`media.py`)."""
