"""The live page: one document that loads nothing else, so that its policy can forbid everything else.

`page.html`, `page.css` and `page.js` are put together here, once. The policy names the hashes of the one
style and the one script: whatever a watched program manages to write into the page, it will not run.
"""

import base64
import hashlib
from http import HTTPStatus
from pathlib import Path

from excguard import __version__
from excguard.web.http_server import Response

_FOLDER = Path(__file__).parent


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _response() -> Response:
    html, style, script = (
        (_FOLDER / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")
    )
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


RESPONSE = _response()
