"""Who signed a request: what the dispatcher asks for endpoints that are for servers."""

from __future__ import annotations

from tricord.federation.request_auth import RequestAuthenticator as RequestSignatures

__all__ = ["RequestSignatures"]
