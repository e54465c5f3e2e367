"""The live page: one document that loads no other resource, so its security policy can forbid all others.

`page.html`, `page.css` and `page.js` are combined here, at the first request. The policy has the hashes of
the one style and the one script: no other script runs, whatever the name of a watched program contains.
"""

import base64
import hashlib
from functools import cache
from http import HTTPStatus
from pathlib import Path

from excguard import __version__
from excguard.knowledge.severity import Severity
from excguard.web.http_message import Response

_DIRECTORY = Path(__file__).parent


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


@cache
def response() -> Response:
    """The page."""
    html, style, script = (
        (_DIRECTORY / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")
    )
    script = script.replace("{{severities}}", " ".join(reversed(Severity)))
    document = (
        html.replace("{{version}}", __version__)
        .replace("/*{{style}}*/", style)
        .replace("/*{{script}}*/", script)
    )
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hash(style)}",
            f"script-src {_hash(script)}",
            "img-src data:",  # the icon
            "connect-src 'self'",  # the feed
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    return Response(
        HTTPStatus.OK,
        "text/html; charset=utf-8",
        document.encode(),
        {
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        },
    )
