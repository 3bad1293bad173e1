"""The service of a JupyterHub: the REST interface for everybody there, each within their rights.

The Hub starts it (`volcopy service`) and says by its environment where it listens and with which
token it may ask. It holds the engine's socket; the users' containers do not. Every request is
authenticated with the Hub (a token, or the cookie of a log-in with XSRF), then the Hub is asked
what this user may open (`hub_users`), and all work is done behind `Guarded` for that user: deny by
default, in containers with the rights of their own user, never as root (safety S15, S25).

Rights hold while they hold: what works for long asks again (S26). A Hub that does not answer means
no. A request without credentials is answered 401, never with the way to a log-in; only the page is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlsplit

from jupyterhub.services.auth import HubOAuth, HubOAuthCallbackHandler, HubOAuthenticated
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.ioloop import PeriodicCallback

import jupyter_volcopy.web.metrics as metrics
from jupyter_volcopy.config import Volcopy
from jupyter_volcopy.core.background import FINISHED, Transfer
from jupyter_volcopy.core.endpoint import SHARE_PREFIX, ContainerPath, parse_endpoint
from jupyter_volcopy.core.guard import Guarded
from jupyter_volcopy.core.many import ManyReport
from jupyter_volcopy.core.policy import Action, Decision, Target, User, decide
from jupyter_volcopy.errors import AccessDenied, Conflict, NotFound, VolcopyError, show
from jupyter_volcopy.web.handlers import routes
from jupyter_volcopy.web.handlers_base import SERVICE, VERBS, Base
from jupyter_volcopy.web.hub_audit import HubAudit
from jupyter_volcopy.web.hub_check import check
from jupyter_volcopy.web.hub_many import ROUTES as MANY
from jupyter_volcopy.web.hub_many import Kept
from jupyter_volcopy.web.hub_page import FILES, filled_page, page_headers, read
from jupyter_volcopy.web.hub_users import HubUsers
from jupyter_volcopy.web.order import Asked
from jupyter_volcopy.web.service import Service

__all__ = ["HubService", "Person", "application", "bind", "serve"]

_AUTH = "volcopy_auth"
_PREFIX = "volcopy_prefix"
_TICK_SECONDS = 15.0
_RENEW_SECONDS = 30.0
_CACHE_SECONDS = 10
_LAYERS_SECONDS = 30.0


class Person(User):
    """A user of the Hub who asks.

    Attributes:
        remote: address of the connection, and what the proxy says is behind it.
        renew: asks the Hub again who this is; raises where it says nobody.
    """

    remote: str = ""
    renew: Callable[[], User] | None = None


class _Live(Guarded):
    """`Guarded` for somebody whose rights may end while the work goes on."""

    _asked = 0.0

    def _fresh(self) -> None:
        renew = getattr(self.user, "renew", None)
        now = time.monotonic()
        if not self._asked:
            self._asked = now
        if renew is not None and now - self._asked > _RENEW_SECONDS:
            self.user = renew()
            self._asked = now

    def _decide(self, action: Action, target: Target) -> Decision:
        self._fresh()
        return super()._decide(action, target)


class HubService(Service):
    """What stands behind the handlers on a Hub.

    Args:
        settings: of the site.
        log: of the service.
        api_url, token: of the Hub's REST interface.
    """

    def __init__(self, settings: Volcopy, *, log: logging.Logger, api_url: str, token: str) -> None:
        super().__init__(settings, trusted=False, root=None, log=log)
        self.audit: HubAudit = HubAudit(settings.audit_file, log)
        self.users = HubUsers(
            api_url,
            token,
            lambda: self.engine().containers(),
            name_template=settings.name_template,
        )
        self.kept = Kept()
        self._people: dict[str, User] = {}
        self._measuring = threading.Lock()
        self._layers: tuple[float, dict[str, int]] = (0.0, {})

    def room(self, what: str) -> str:
        """A new directory for something that waits here; whoever asks for it removes it."""
        return tempfile.mkdtemp(prefix=f"volcopy-{what}-", dir=self.settings.spool_dir or None)

    def said(self, event: str, user: User, report: ManyReport) -> None:
        """The audit's lines about work with many containers: one for each."""
        for item in report.outcomes:
            self.audit.line(
                event,
                user=user.name,
                remote=getattr(user, "remote", ""),
                target=item.label,
                container=item.container,
                outcome=item.state,
                code=item.error.code if item.error is not None else None,
                bytes=item.bytes,
                files=[
                    {"path": show(one.path), "action": one.action, "sha256": one.sha256}
                    for one in item.files[:100]
                ],
            )

    def guarded(self, user: User) -> Guarded:
        """The engine as `user` may use it, for as long as the Hub says so."""
        found = _Live(
            self.engine(),
            user,
            self.rules,
            heard=self.audit.heard(),
            acting_as=self.settings.acting_as,
        )
        with self._lock:
            for lease in self._leases.values():
                if lease.owner == user.name:
                    found.adopt(lease.container, lease.volume)
        return found

    def layers(self) -> dict[str, int]:
        """Bytes written outside every volume, by the id of each container.

        One question to the engine, which measures them all: as old as half a minute, so that
        nobody keeps it measuring. Blocks.

        Raises:
            VolcopyError: the engine does not say.
        """
        with self._measuring:
            at, found = self._layers
            if not at or time.monotonic() - at > _LAYERS_SECONDS:
                listed = self.engine().json("GET", "/containers/json", {"all": "1", "size": "1"})
                found = {str(one["Id"]): max(0, int(one.get("SizeRw") or 0)) for one in listed}
                self._layers = time.monotonic(), found
            return found

    def make_shares(self) -> None:
        """See to it that there is a volume for each declared share, that is its folder.

        Raises:
            VolcopyError: the engine refused; or another volume has the name.
        """
        engine = self.engine()
        for name, share in self.settings.shares.items():
            volume, path = SHARE_PREFIX + name, share["path"]
            try:
                found = engine.json("GET", f"/volumes/{volume}")
            except NotFound:
                options = {"type": "none", "o": "bind", "device": path}
                found = engine.json(
                    "POST",
                    "/volumes/create",
                    body={
                        "Name": volume,
                        "Driver": "local",
                        "DriverOpts": options,
                        "Labels": {"jupyter-volcopy.share": name},
                    },
                )
            if (found.get("Options") or {}).get("device") != path:
                raise Conflict(
                    f"the volume {volume} is not {path}", hint=f"docker volume rm {volume}"
                )

    def person(self, model: dict[str, Any], token: str, remote: str) -> Person:
        """Who a model of the Hub is about, with their rights now."""

        def renew() -> User:
            said = self.users.whose(token)
            if said is None:
                raise AccessDenied("the Hub does not know this token any more", hint="log in again")
            return self.person(said, token, remote)

        user = self.users.user(model)
        return Person(
            user.name,
            user.groups,
            user.admin,
            user.owned,
            user.reads,
            user.writes,
            remote=remote,
            renew=renew,
        )

    def begin(self, user: User, order: Asked) -> Transfer:
        """Start a transfer; its user's rights are looked after while it runs."""
        transfer = super().begin(user, order)
        with self._lock:
            self._people[transfer.id] = user
        self.audit.line(
            "start",
            user=user.name,
            remote=getattr(user, "remote", ""),
            transfer=transfer.id,
            sources=[show(item) for item in transfer.sources],
            destination=show(transfer.destination),
        )
        return transfer

    def tick(self) -> None:
        """Also end what somebody may not do any more."""
        super().tick()
        self.kept.sweep(self._remembered)
        if self.settings.shares:
            try:
                self.make_shares()  # a prune may have taken them
            except VolcopyError as error:
                self.log.warning("volcopy: %s", error)
        with self._lock:
            people = dict(self._people)
        if people:
            try:
                self.users.roster(fresh=True)  # rights end now, not when the last answer is old
            except VolcopyError:
                pass  # a Hub that is away means no: each is looked at below
        for ident, user in people.items():
            try:
                transfer = self.transfers.get(ident)
            except NotFound:
                transfer = None
            if transfer is None or transfer.state in FINISHED:
                with self._lock:
                    self._people.pop(ident, None)
                continue
            reason = self._lost(transfer, user)
            if reason:
                self.audit.line("rights-lost", user=user.name, transfer=ident, reason=reason)
                try:
                    self.transfers.stop(ident, now=True)
                except VolcopyError:
                    continue

    def _remembered(self, ident: str) -> bool:
        try:
            self.transfers.get(ident)
        except NotFound:
            return False
        return True

    def _lost(self, transfer: Transfer, user: User) -> str:
        """Why this transfer may not go on, or ""."""
        renew = getattr(user, "renew", None)
        if renew is None:
            return ""
        try:
            now = renew()
            guarded = self.guarded(now)
            sides = [(item, Action.READ) for item in transfer.sources]
            for text, action in [*sides, (transfer.destination, Action.WRITE)]:
                endpoint = parse_endpoint(text)
                if not isinstance(endpoint, ContainerPath):
                    continue
                known = next(
                    (c for c in guarded.containers() if endpoint.container in (c.name, c.id)), None
                )
                if known is None:
                    return f"{endpoint.container} is not to be seen any more"
                target = Target("container", known.name, known.id)
                if not decide(now, action, target, self.rules).allowed:
                    return f"may not {action.value} {known.name} any more"
        except VolcopyError as error:
            return str(error)
        return ""

    def close(self, seconds: float = 10.0) -> None:
        """Cut every transfer, give everything back. Blocks."""
        super().close(seconds)
        self.kept.sweep(lambda ident: False)
        self.audit.close()


class _Known(HubOAuthenticated):  # type: ignore[misc]
    """Finds out who asks, without blocking the loop."""

    async def _model(self) -> dict[str, Any] | None:
        """What the Hub says of whoever asks; None for nobody.

        Raises:
            HTTPError: 403 where they may not use the service, 503 where the Hub is away.
        """
        assert isinstance(self, web.RequestHandler)
        auth: HubOAuth = self.settings[_AUTH]
        try:
            model = await auth.get_user(self, sync=False)
        except web.HTTPError as error:
            if error.status_code < 500:
                raise
            raise web.HTTPError(503, "the Hub does not answer; try again") from None
        if model is None:
            return None
        if not auth.check_scopes(auth.access_scopes, model):
            raise web.HTTPError(403, "you may not use this service")
        found: dict[str, Any] = model
        return found

    def _remote(self) -> str:
        assert isinstance(self, web.RequestHandler)
        behind = self.request.headers.get("X-Forwarded-For", "")[:200]
        return f"{self.request.remote_ip}{f' for {behind}' if behind else ''}"

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        """As tornado does it, but without the query: it names files, and may hold a token."""
        if isinstance(value, web.HTTPError):
            assert isinstance(self, web.RequestHandler)
            logging.getLogger("volcopy.requests").info(
                "%d %s: %s", value.status_code, self.request.path, value.log_message
            )
        else:
            super().log_exception(kind, value, trace)

    def get_current_user(self) -> Any:
        """Found out in `prepare`, never by a blocking call."""
        return None


class _Bound(_Known):
    """The Hub's half of a handler."""

    _person: Person | None = None

    async def prepare(self) -> None:
        """Authenticate, find the rights, admit: before any of the body is taken."""
        assert isinstance(self, Base)
        service: HubService = self.settings[SERVICE]
        try:
            model = await self._model()
        except web.HTTPError as error:
            service.audit.line(
                "refused",
                remote=self._remote(),
                path=self.request.path,
                method=self.request.method,
                status=error.status_code,
            )
            raise
        if model is None:
            service.audit.line(
                "refused",
                remote=self._remote(),
                path=self.request.path,
                method=self.request.method,
                status=401,
            )
            raise web.HTTPError(401, "no token of the Hub, or not a valid one")
        auth: HubOAuth = self.settings[_AUTH]
        token = auth.get_token(self) or ""
        await self.answering(self._admitted, model, token)

    async def _admitted(self, model: dict[str, Any], token: str) -> None:
        assert isinstance(self, Base)
        service: HubService = self.settings[SERVICE]
        self._person = await self.call(service.person, model, token, self._remote())
        await self.admit()

    def volcopy_user(self) -> User:
        """Whom the Hub says it is."""
        if self._person is None:
            raise AccessDenied("nobody is logged in")
        return self._person


class _Page(_Known, web.RequestHandler):
    """The page, and what it loads; who is not logged in is sent to do so."""

    _name = ""

    async def prepare(self) -> None:
        """Find out who it is, or send them to the log-in."""
        page_headers(self)
        model = await self._model()
        if model is not None:
            self._name = str(model["name"])
            return
        if self.request.method == "GET" and not self.path_args[0]:
            self.redirect(self.get_login_url())
            return
        raise web.HTTPError(401, "not logged in")

    async def get(self, name: str) -> None:
        """Send it."""
        service: HubService = self.settings[SERVICE]
        if name:
            if name not in FILES:
                raise web.HTTPError(404)
            self.set_header("Content-Type", FILES[name])
            self.finish(await service.bridge.in_thread(read, name))
            return
        auth: HubOAuth = self.settings[_AUTH]
        page = await service.bridge.in_thread(
            lambda xsrf: filled_page(
                base=self.settings[_PREFIX],
                hub=auth.hub_host + auth.hub_prefix,
                xsrf=xsrf,
                user=self._name,
            ),
            self.xsrf_token.decode("ascii"),
        )
        self.finish(page)


def bind(mixin: type[Base]) -> type[Base]:
    """A handler of a mixin for the Hub: each verb's errors answered."""
    verbs: dict[str, Any] = {}
    for verb in VERBS:
        method = getattr(mixin, verb)
        if method is not getattr(web.RequestHandler, verb):
            verbs[verb] = _answered(method)
    return type(mixin.__name__, (_Bound, mixin), {**verbs, "__doc__": mixin.__doc__})


def _answered(method: Any) -> Any:
    async def verb(self: Any, *args: str) -> None:
        await self.answering(method.__get__(self), *args)

    return verb


class _Callback(HubOAuthCallbackHandler):  # type: ignore[misc]
    """Where the Hub sends a browser back after the log-in."""


def application(service: HubService, auth: HubOAuth, prefix: str) -> web.Application:
    """The tornado application below `prefix`, which ends in `/`."""
    handlers_page = [
        (f"{re.escape(prefix)}()", _Page),
        (f"{re.escape(prefix)}static/([a-z.]+)", _Page),
    ]
    # The last of the shared routes is for everything that there is not.
    handlers: list[Any] = [(prefix + "oauth_callback", _Callback), *handlers_page]
    handlers += [(f"{prefix}api/{path}", bind(mixin)) for path, mixin in MANY]
    handlers += [(path, bind(mixin)) for path, mixin in routes(prefix + "api/")]
    settings = {
        SERVICE: service,
        _AUTH: auth,
        _PREFIX: prefix,
        "cookie_secret": os.urandom(32),
        "log_function": _log_request,
    }
    return web.Application(handlers, **settings)


def _log_request(handler: web.RequestHandler) -> None:
    """One line in the log for each request, without its query (it may hold names of files)."""
    status = handler.get_status()
    level = logging.INFO if status < 500 else logging.WARNING
    request = handler.request
    user = getattr(getattr(handler, "_person", None), "name", "-")
    logging.getLogger("volcopy.requests").log(
        level,
        "%d %s %s (%s) %.0f ms",
        status,
        request.method,
        request.path,
        user,
        1000 * request.request_time(),
    )


def serve(settings: Volcopy) -> NoReturn:
    """Run as the Hub's service until it is told to stop; ends the process.

    Raises:
        UsageError: this is not started by a Hub.
    """
    from jupyter_volcopy.errors import UsageError

    url, prefix = (
        os.environ.get("JUPYTERHUB_SERVICE_URL"),
        os.environ.get("JUPYTERHUB_SERVICE_PREFIX"),
    )
    token = os.environ.get("JUPYTERHUB_API_TOKEN", "")
    if not url or not prefix or not token:
        raise UsageError(
            "this is for a JupyterHub to start, as one of its services",
            hint="docs/hub.md has the lines for jupyterhub_config.py",
        )
    os.umask(0o077)
    log = logging.getLogger("volcopy")
    auth = HubOAuth.instance(cache_max_age=_CACHE_SECONDS)
    service = HubService(settings, log=log, api_url=auth.api_url, token=token)
    asyncio.run(_run(service, auth, prefix.rstrip("/") + "/", url))
    # A thread that waits for a hanging engine must not keep the Hub waiting for us.
    logging.shutdown()
    os._exit(0)


async def _run(service: HubService, auth: HubOAuth, prefix: str, url: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    where = urlsplit(url)
    server = HTTPServer(application(service, auth, prefix))
    server.listen(where.port or 80, where.hostname or "127.0.0.1")
    threading.Thread(target=_begin, args=(service,), name="volcopy-check", daemon=True).start()

    async def tick() -> None:
        metrics.active(service.transfers.active)
        await service.bridge.in_thread(service.tick)

    ticker = PeriodicCallback(tick, _TICK_SECONDS * 1000)
    ticker.start()
    service.log.info("volcopy: serving %s on %s", prefix, where.netloc)
    await stop.wait()
    # The Hub waits for us: stop taking requests, cut what runs, leave.
    ticker.stop()
    server.stop()
    closing = threading.Thread(target=service.close, args=(1.5,), daemon=True)
    closing.start()
    await loop.run_in_executor(None, closing.join, 2.0)


def _begin(service: HubService) -> None:
    """Look whether everything needed is there; remove what an earlier one left."""
    for level, text in check(service):
        service.log.log(level, "volcopy: %s", text)
    try:
        service.make_shares()
    except VolcopyError as error:
        service.log.error("volcopy: a shared folder cannot be had: %s", error)
    try:
        service.sweep()
    except VolcopyError as error:
        service.log.warning("volcopy: nothing could be cleaned up: %s", error)
