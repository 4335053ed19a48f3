"""Pages for browsers that this server answers itself: nothing in them runs or is loaded but what they hold."""

from __future__ import annotations

from tricord.homeserver.serving.call import Answer


def page(html: str, *, nonce: str, allowing: str, status: int = 200) -> Answer:
    """Answer a page whose scripts and styles have a nonce; `allowing` is what else its policy allows."""
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; {allowing}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    return Answer(
        html.encode(),
        status=status,
        headers=(
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-store"),
        ),
    )
