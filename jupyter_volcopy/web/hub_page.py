"""The page of the Hub service: plain HTML with its own style and script, for whoever is logged in.

Only these are sent to a log-in when nobody is; the page itself then asks the REST interface for
everything, with the XSRF token it was given. The policy of the page allows nothing but itself.
"""

from __future__ import annotations

import os
import re
from html import escape

from tornado import web

__all__ = ["FILES", "filled_page", "page_headers", "read"]

_HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "static")

FILES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "tar.js": "text/javascript; charset=utf-8",
}
"""What the page loads, and as what."""


def page_headers(handler: web.RequestHandler) -> None:
    """Headers of the page and its files."""
    handler.set_header("X-Content-Type-Options", "nosniff")
    handler.set_header("Cache-Control", "no-store")
    handler.set_header("Referrer-Policy", "same-origin")
    handler.set_header(
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    )


def filled_page(*, base: str, hub: str, xsrf: str, user: str) -> str:
    """The page's HTML.

    Args:
        base: path of the service, with a `/` at its end.
        hub: path or address of the Hub's own pages, with a `/` at its end.
        xsrf: token for the requests the page makes.
        user: name of who is logged in.
    """
    values = {"base": base, "hub": hub, "xsrf": xsrf, "user": user}
    return re.sub(
        r"\{\{ (\w+) \}\}", lambda found: escape(values[found[1]], quote=True), read("page.html")
    )


def read(name: str) -> str:
    """One of the files beside this module."""
    with open(os.path.join(_HERE, name), encoding="utf-8") as file:
        return file.read()
