"""The extension of the Jupyter server: `<base>/volcopy/api/`.

It binds the handlers to Jupyter: every request is authenticated and then authorised with the
server's `Authorizer` (resource `volcopy`; `read` for looking, `write` for changing, `execute` for
running a program) before a byte of its body is taken. XSRF is Jupyter's own. Who gets that far is
trusted with the engine, since the server's user holds its socket; local paths are those below the
server's root directory, hidden files by its own rule.
"""

from __future__ import annotations

import asyncio
import getpass
import threading
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth.identity import IdentityProvider, PasswordIdentityProvider
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.extension.application import ExtensionApp
from tornado import web
from tornado.ioloop import PeriodicCallback

import jupyter_volcopy.web.metrics as metrics
from jupyter_volcopy.config import Volcopy
from jupyter_volcopy.core.policy import User
from jupyter_volcopy.errors import AccessDenied, VolcopyError
from jupyter_volcopy.web.handlers import routes
from jupyter_volcopy.web.handlers_base import SERVICE, VERBS, Base
from jupyter_volcopy.web.local import LocalRoot
from jupyter_volcopy.web.service import Service

__all__ = ["RESOURCE", "VolcopyExtension", "bind"]

RESOURCE = "volcopy"
"""What the server's `Authorizer` is asked about."""

_TICK_SECONDS = 15.0


class _Bound(APIHandler):
    """Jupyter's half of a handler."""

    auth_resource = RESOURCE

    async def prepare(self) -> None:  # type: ignore[override]
        """Authenticate, authorise, admit: before any of the body is taken."""
        try:
            await super().prepare()
        except web.HTTPError:
            self.tell_refusal("")  # no credentials, or no XSRF token
            raise
        if self._finished:  # sent to the log-in
            self.tell_refusal("")
            return
        assert isinstance(self, Base)
        if self.current_user is None:
            self.tell_refusal("")
            raise web.HTTPError(403, "not logged in")
        allowed = await ensure_async(
            self.authorizer.is_authorized(self, self.current_user, self.action(), RESOURCE)
        )
        if not allowed:
            self.tell_refusal(self.volcopy_user().name)
            self.fail(AccessDenied(f"you may not {self.action()} here ({RESOURCE})"))
            return
        await self.answering(self.admit)

    def tell_refusal(self, user: str) -> None:
        """A line of the audit: somebody does not get as far as the policy."""
        assert isinstance(self, Base)
        self.service.audit.line(
            "refused",
            user=user,
            remote=self.request.remote_ip,
            method=self.request.method,
            path=self.request.path,
            action=self.action(),
        )

    def volcopy_user(self) -> User:
        """Whom Jupyter says it is; without accounts, the one user of the server."""
        kind = type(self.identity_provider)
        if kind in (IdentityProvider, PasswordIdentityProvider):
            return User(_own_name(), admin=True)  # those users are anonymous, made up for a browser
        return User(str(self.current_user.username), admin=True)

    def finish(self, *args: Any, **kwargs: Any) -> Any:
        """End the answer with the content type it has (`APIHandler` makes all of it JSON)."""
        self.update_api_activity()
        return super(APIHandler, self).finish(*args, **kwargs)


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "jupyter"


def bind(mixin: type[Base]) -> type[JupyterHandler]:
    """A Jupyter handler of a mixin: each verb authenticated, its errors answered."""
    verbs: dict[str, Any] = {}
    for verb in VERBS:
        method = getattr(mixin, verb)
        if method is not getattr(web.RequestHandler, verb):
            verbs[verb] = _answered(method)
    made = type(mixin.__name__, (mixin, _Bound), {**verbs, "__doc__": mixin.__doc__})
    made.volcopy_user = _Bound.volcopy_user  # type: ignore[attr-defined]
    return made


def _answered(method: Any) -> Any:
    @web.authenticated
    async def verb(self: Any, *args: str) -> None:
        await self.answering(method.__get__(self), *args)

    return verb


class VolcopyExtension(ExtensionApp):
    """Files between notebooks, the host, containers and volumes."""

    name = "jupyter_volcopy"
    classes = [Volcopy]  # noqa: RUF012 - as ExtensionApp has it
    _ticker: PeriodicCallback | None = None

    def initialize_settings(self) -> None:
        """Make the service."""
        assert self.serverapp is not None
        contents = self.serverapp.contents_manager

        def hidden() -> bool:
            return bool(getattr(contents, "allow_hidden", False))

        self.service = Service(
            Volcopy(parent=self),
            trusted=True,
            root=LocalRoot(self.serverapp.root_dir, hidden),
            log=self.log,
        )
        self.settings[SERVICE] = self.service
        threading.Thread(target=self._sweep, name="volcopy-sweep", daemon=True).start()

    def _sweep(self) -> None:
        try:
            self.service.sweep()
        except VolcopyError as error:
            self.log.warning("volcopy: nothing could be cleaned up: %s", error)

    def initialize_handlers(self) -> None:
        """Bind the routes."""
        self.handlers.extend((path, bind(mixin)) for path, mixin in routes("/volcopy/api/"))

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """The server runs: look after things now and then."""
        self._ticker = PeriodicCallback(self._tick, _TICK_SECONDS * 1000)
        self._ticker.start()

    async def _tick(self) -> None:
        active = self.service.transfers.active
        metrics.active(active)
        if active:  # a transfer is use of the server: no culler may end it (design 10)
            from jupyter_server._tz import utcnow

            assert self.serverapp is not None
            self.serverapp.web_app.settings["last_activity_times"]["volcopy"] = utcnow()
        await self.service.bridge.in_thread(self.service.tick)

    def current_activity(self) -> int:
        """Transfers that wait or run."""
        return self.service.transfers.active

    async def stop_extension(self) -> None:
        """Cut what runs, give everything back."""
        if self._ticker is not None:
            self._ticker.stop()
        service = getattr(self, "service", None)
        if service is not None:
            await asyncio.get_running_loop().run_in_executor(None, service.close)
