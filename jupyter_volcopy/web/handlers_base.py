"""What all handlers share: the service, the user, answers, errors, and what a query says.

The handlers are mixins over tornado's `RequestHandler`, free of Jupyter and of the Hub. A binding
(`server`, `hub`) makes real classes of them: it authenticates and authorises in `prepare`, says who
the user is (`volcopy_user`), and lets every verb run within `answering`, so that an error of ours
becomes its JSON body and anything else a line in the log without a word to the client.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

import jupyter_volcopy.web.metrics as metrics
from jupyter_volcopy.core.paths import clean_keeping_end, decode
from jupyter_volcopy.core.policy import User
from jupyter_volcopy.errors import (
    AccessDenied,
    LimitExceeded,
    NotFound,
    UsageError,
    VolcopyError,
)
from jupyter_volcopy.web.service import Service
from jupyter_volcopy.web.streams import break_off
from jupyter_volcopy.web.upload import Upload, too_long

__all__ = [
    "REQUEST",
    "SERVICE",
    "VERBS",
    "Base",
    "JsonBody",
    "Nowhere",
    "UploadBody",
    "encoded",
    "stat_header",
]

SERVICE = "volcopy_service"
"""Key of the `Service` in the application's settings."""

REQUEST = "X-Volcopy-Request"
"""A random text of the client's by which it can ask how a response that broke off failed."""

VERBS = ("get", "head", "put", "post", "delete")

_JSON_LIMIT = 1 << 20  # what is decoded in one go, which nothing else of the process interrupts
_SLICE = 64  # items of a list that are encoded in one go, likewise
_GATHER = 1 << 20
_T = TypeVar("_T")


class Base(RequestHandler):
    """Base of the mixins."""

    actions: ClassVar[dict[str, str]] = {}
    """What a verb needs the right for, where it is not plain: read for GET and HEAD, else write."""

    sandboxed: ClassVar[bool] = False
    """The body is somebody's file: it may never act as a page of ours."""

    @property
    def service(self) -> Service:
        """What stands behind."""
        found: Service = self.settings[SERVICE]
        return found

    def volcopy_user(self) -> User:
        """Who asks; the binding knows."""
        raise NotImplementedError

    def action(self) -> str:
        """What this request needs the right for: `read`, `write` or `execute`."""
        verb = (self.request.method or "").lower()
        return self.actions.get(verb, "read" if verb in ("get", "head") else "write")

    async def admit(self) -> None:
        """After authentication, before the body: limits."""
        self.service.admit(self.volcopy_user())

    # --- answers

    async def answering(self, method: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run a verb; whatever it raises becomes an answer."""
        try:
            await method(*args)
        except VolcopyError as error:
            self.fail(error)
        except StreamClosedError:
            break_off(self)  # the client is gone
        except HTTPError:
            raise
        except Exception:
            self.service.log.exception("volcopy: a request failed because of a mistake in it")
            self.fail(VolcopyError("internal error, see the log of the server"))

    def fail(self, error: VolcopyError, status: int = 0) -> None:
        """Answer with an error; after the first byte of a body only the connection can tell.

        Args:
            error: what happened.
            status: of HTTP, where it is not the error's own.
        """
        metrics.failed(error)
        if self._headers_written:
            self.service.late(self.volcopy_user(), self.request.headers.get(REQUEST, ""), error)
            break_off(self)
            return
        if self._finished:
            return
        self.clear()
        body = json.dumps(error.to_dict())
        if error.status == 429:
            self.set_header("Retry-After", "1")
        if self.request.method == "HEAD":  # which has no body
            self.set_header("X-Volcopy-Error", _header_json(error))
        self._finish(body, status or error.status)

    async def tell(self, value: Callable[[], Any], status: int = 200) -> None:
        """Answer with JSON of what may be long: it is asked for, and encoded, in a thread.

        Args:
            value: gives it; waits for no engine.
            status: of HTTP.
        """
        self.reply(await self.service.bridge.in_own(lambda: encoded(value())), status)

    def reply(self, value: Any, status: int = 200) -> None:
        """Answer with JSON that is short; bytes are JSON already."""
        self._finish(value if isinstance(value, (str, bytes)) else json.dumps(value), status)

    def _finish(self, body: str | bytes, status: int) -> None:
        self.set_status(status)
        self.plain_headers()
        self.set_header("Content-Type", "application/json")
        self.finish(body)

    def compute_etag(self) -> str | None:
        """None: no answer is kept anywhere."""
        return None

    def plain_headers(self) -> None:
        """Headers of every answer: nothing of it is a page, nothing is kept anywhere."""
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        policy = "sandbox; " if self.sandboxed else ""
        policy += "default-src 'none'; frame-ancestors 'none'"
        self.set_header("Content-Security-Policy", policy)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """What tornado and the binding refuse, in our words."""
        problem = (kwargs.get("exc_info") or (None, None))[1]
        said = (problem.log_message or "") if isinstance(problem, HTTPError) else ""
        kinds: dict[int, type[VolcopyError]] = {
            401: AccessDenied,
            403: AccessDenied,
            404: NotFound,
            413: LimitExceeded,
        }
        kind = kinds.get(status_code, UsageError if status_code < 500 else VolcopyError)
        hint = ""
        if status_code in (401, 403) and not said:
            said = "not logged in, or the token is not known here"
            hint = "send `Authorization: token ...`"
        error = kind(said or self._reason, hint=hint)
        metrics.failed(error)
        self._finish(json.dumps(error.to_dict()), status_code)

    # --- threads

    async def call(self, function: Callable[..., _T], *args: Any, **keywords: Any) -> _T:
        """Run a short blocking call in a thread."""
        return await self.service.bridge.in_thread(function, *args, **keywords)

    # --- what the query says

    def query(self, name: str, default: str | None = "") -> str:
        """One value of the query, its bytes kept.

        Raises:
            UsageError: it is missing and there is no default, or holds a NUL.
        """
        values = self.request.query_arguments.get(name)
        if not values:
            if default is None:
                raise UsageError(f"the query needs {name}=")
            return default
        if b"\0" in values[-1]:
            raise UsageError(f"{name} holds a NUL byte")
        return decode(values[-1])

    def flag(self, name: str) -> bool:
        """A yes or no of the query."""
        text = self.query(name, "0")
        if text not in ("0", "1"):
            raise UsageError(f"{name} must be 1 or 0")
        return text == "1"

    def number(self, name: str, default: int, *, least: int = 0, most: int = 1 << 62) -> int:
        """A whole number of the query."""
        text = self.query(name, str(default))
        if not (text.isascii() and text.isdigit()) or len(text) > 18:
            raise UsageError(f"{name} must be a number")
        value = int(text)
        if not least <= value <= most:
            raise UsageError(f"{name} must be from {least} to {most}")
        return value

    def choice(self, name: str, words: Iterable[str], default: str) -> str:
        """One of some words."""
        text = self.query(name, default)
        if text not in words:
            raise UsageError(f"{name} must be one of {', '.join(words)}")
        return text

    def path(self) -> str:
        """The path asked for: absolute and clean, a trailing `/` or `/.` kept."""
        typed = self.query("path", None)
        if not typed:
            raise UsageError("path can not be empty")
        return clean_keeping_end(typed if typed.startswith("/") else "/" + typed)

    def acting(self) -> str | None:
        """`uid[:gid]` as whom to act, if the request asks for less than it may."""
        text = self.query("user")
        if not text:
            return None
        ids = text.split(":")
        if len(ids) > 2 or not all(
            one.isascii() and one.isdigit() and len(one) <= 10 and int(one) < 1 << 31 for one in ids
        ):
            raise UsageError("user must be UID or UID:GID, each less than 2147483648")
        return text


def _header_json(error: VolcopyError) -> str:
    raw = json.dumps(error.to_dict())
    if len(raw) > 4000:
        raw = json.dumps({**error.to_dict(), "message": error.message[:500], "context": {}})
    return base64.b64encode(raw.encode("ascii")).decode("ascii")


class Nowhere(Base):
    """Every other path below the base: an error in our words, not a page of the server's."""

    async def get(self) -> None:
        """Say so."""
        raise NotFound("there is no such route", hint="see api.yaml")

    head = put = post = delete = get


class JsonBody(Base):
    """Takes a small JSON object as its body; `limit` is in bytes."""

    _stream_request_body = True
    limit: ClassVar[int] = _JSON_LIMIT

    def initialize(self) -> None:
        """Nothing was received yet."""
        self._received = bytearray()

    async def admit(self) -> None:
        """Limits, that of the body included."""
        await super().admit()
        _limit_body(self, self.limit)

    def data_received(self, chunk: bytes) -> None:
        """Take a piece."""
        self._received += chunk

    def body(self) -> dict[str, Any]:
        """The object.

        Raises:
            UsageError: it is none.
        """
        try:
            found = json.loads(self._received or b"{}")
        except (ValueError, RecursionError) as problem:
            raise UsageError("the body is not JSON") from problem
        if not isinstance(found, dict):
            raise UsageError("the body must be an object")
        return found


class UploadBody(Base):
    """Takes a body of any size into a nameless file; a client that stands still is cut."""

    _stream_request_body = True

    def initialize(self) -> None:
        """Nothing was received yet."""
        self._upload: Upload | None = None
        self._slot: Any = None
        self._gathered = bytearray()
        self._refused: VolcopyError | None = None
        self._watch: asyncio.TimerHandle | None = None

    async def admit(self) -> None:
        """Limits; then room for the body, if the verb has one."""
        await super().admit()
        if self.request.method != "PUT":
            _limit_body(self, 0)
            return
        _limit_body(self, self.service.settings.upload_limit)
        self._slot = self.service.stream(self.volcopy_user())
        self._slot.__enter__()
        self._upload = await self.call(self.service.upload)
        self._arm()

    def _arm(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        limit = self.service.settings.stall_timeout
        self._watch = asyncio.get_running_loop().call_later(limit, break_off, self)

    async def data_received(self, chunk: bytes) -> None:
        """Take a piece; the next one comes when it is written."""
        self._arm()
        if self._refused is not None:
            return
        self._gathered += chunk
        if len(self._gathered) >= _GATHER:
            await self._write()

    async def _write(self) -> None:
        data, self._gathered = self._gathered, bytearray()
        if self._upload is None or not data:
            return
        try:
            await self.service.bridge.in_stream(self._upload.write, data)
        except VolcopyError as error:
            self._refused = error  # said when the body has ended

    async def received(self) -> Upload:
        """The whole upload; closed with the request.

        Raises:
            LimitExceeded, NoSpace: it was too much.
        """
        self._working = True
        if self._watch is not None:
            self._watch.cancel()
        if self._refused is None:
            await self._write()
        if self._refused is not None:
            raise self._refused
        assert self._upload is not None
        metrics.streamed("upload", self._upload.size)
        return self._upload

    async def answering(self, method: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run a verb; afterwards the file goes."""
        try:
            await super().answering(method, *args)
        finally:
            if self._working or self._finished:
                self._release()

    def on_finish(self) -> None:
        """The request is over: its file goes."""
        super().on_finish()
        self._release()

    def on_connection_close(self) -> None:
        """The client is gone; what works on the file goes on until it notices."""
        super().on_connection_close()
        if not self._working:
            self._release()

    _working = False

    def _release(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        if self._slot is not None:
            slot, self._slot = self._slot, None
            slot.__exit__(None, None, None)
        if self._upload is not None:
            upload, self._upload = self._upload, None
            self.service.bridge.aside(upload.close)


def _limit_body(handler: Base, limit: int) -> None:
    """Let no more than `limit` bytes of body come.

    Raises:
        LimitExceeded: more are announced.
    """
    announced = handler.request.headers.get("Content-Length", "0")
    if announced.isdigit() and int(announced) > limit:
        if limit:
            raise too_long(limit)
        raise UsageError("this request has no body")
    connection: Any = handler.request.connection
    connection.set_max_body_size(max(limit, 1))


def encoded(value: Any) -> bytes:
    """JSON, made a piece at a time: in one go, it would stop the whole process meanwhile."""
    return "".join(_pieces(value)).encode("ascii")


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{"
        for number, (key, item) in enumerate(value.items()):
            yield f"{', ' if number else ''}{json.dumps(key)}: "
            yield from _pieces(item)
        yield "}"
    elif isinstance(value, (list, tuple)) and len(value) > _SLICE:
        yield "["
        for at in range(0, len(value), _SLICE):
            yield f"{', ' if at else ''}{json.dumps(value[at : at + _SLICE])[1:-1]}"
        yield "]"
    else:
        yield json.dumps(value)


def stat_header(value: Any) -> str:
    """JSON-able data as the value of a header."""
    return base64.b64encode(json.dumps(value).encode("ascii")).decode("ascii")
