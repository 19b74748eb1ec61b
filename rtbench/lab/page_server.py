"""The server of the page: its files, the headers that guard it, and who may ask.

Every answer has a Content-Security-Policy that allows the page itself and its lanes, and nothing else (CSP Level 3),
and on this machine the two headers that isolate the page from others (HTML, section 7.1.3), which make its clock fine;
a browser takes them over https or from loopback only. `Host` must be a name of this server (no page can choose it, so
DNS rebinding fails), and what changes something must come from the page itself (`Origin`). From another machine, only a
class is let in, with the cookie that its token is exchanged for.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from rtbench.errors import Error, UsageError
from rtbench.lab.lab import Lab
from rtbench.lab.lanes import LOOPBACK
from rtbench.lab.live import Live
from rtbench.lab.room import Room, is_lecturer

PAGE = Path(__file__).parent / "page"
LIBRARIES = ("mqtt.esm.js", "uPlot.esm.js", "uPlot.min.css")
MOST_SESSION_BYTES = 64 * 2**20
COOKIE = "rtbench-class"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
_ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
_LOOPBACK_NAMES = (LOOPBACK, "localhost")
_GUARD = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
Save = Callable[[Mapping[str, Any]], str]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def missing_libraries() -> list[str]:
    """Return which libraries of the page are not here: those of a checkout come from npm."""
    return [name for name in LIBRARIES if not (PAGE / "vendor" / name).is_file()]


@dataclass
class PageServer:
    """What the page server knows. Without a `lab` it only shows the `session`; without a `room` it is no class."""

    port: int
    host: str
    lab: Lab | None
    live: Live
    room: Room | None
    session: Mapping[str, Any] | None
    save: Save

    @property
    def names(self) -> set[str]:
        """What may stand in `Host`."""
        return {f"{name}:{self.port}" for name in (*_LOOPBACK_NAMES, self.host)}

    def policy(self, name: str) -> str:
        """Return the Content-Security-Policy for a page that was asked for under a name."""
        lanes = self.lab.lanes.values() if self.lab is not None else ()
        ports = [port for lane in lanes for port in lane.ports]
        own = name.rpartition(":")[0]
        connect = " ".join(["'self'", f"ws://{name}", *(f"{s}://{own}:{p}" for p in ports for s in ("http", "ws"))])
        return (
            f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; worker-src 'self'; "
            f"connect-src {connect}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def application(self) -> web.Application:
        """Return the application of aiohttp."""
        app = web.Application(client_max_size=MOST_SESSION_BYTES, middlewares=[self._guard])
        app.on_response_prepare.append(self._add_headers)
        app.router.add_get("/", self._file)
        app.router.add_get("/live", self._live)
        app.router.add_get("/session.json", self._session)
        app.router.add_post("/sessions", self._save)
        app.router.add_get("/class/{token}", self._enter)
        app.router.add_get("/{name:[a-z0-9-]+[.](?:js|css|html|svg)}", self._file)
        app.router.add_get("/{name:(?:lanes|vendor)/[A-Za-z0-9.-]+[.](?:js|css)}", self._file)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = self.refusal(request)
        if refusal is not None:
            return web.Response(status=refusal[0], text=refusal[1] + "\n")
        try:
            return await handler(request)
        except Error as error:
            return web.json_response({"error": str(error)}, status=HTTPStatus.UNPROCESSABLE_ENTITY)

    def refusal(self, request: web.Request) -> tuple[HTTPStatus, str] | None:
        """Return why a request is not answered."""
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if host not in self.names:
            return HTTPStatus.MISDIRECTED_REQUEST, f"this server is not {host!r}"
        changes = request.method != "GET" or request.path == "/live"
        if origin != f"http://{host}" and (changes or origin is not None):
            return HTTPStatus.FORBIDDEN, f"pages of {origin} may not use the lab"
        if is_lecturer(request.remote) or request.path.startswith("/class/"):
            return None
        if self.room is None or not self.room.knows(request.cookies.get(COOKIE, "")):
            return HTTPStatus.UNAUTHORIZED, "open the address of the class, with its token"
        return None

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_GUARD)
        host = request.headers.get("Host", "")
        if host.rpartition(":")[0] in _LOOPBACK_NAMES:
            response.headers.update(_ISOLATION)
        response.headers["Content-Security-Policy"] = self.policy(host if host in self.names else "127.0.0.1:1")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = PAGE / request.match_info.get("name", "index.html")
        if not path.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"Content-Type": f"{_TYPES[path.suffix]}; charset=utf-8"})

    async def _live(self, request: web.Request) -> web.StreamResponse:
        return await self.live.serve(request)

    async def _session(self, _: web.Request) -> web.Response:
        if self.session is None:
            raise web.HTTPNotFound
        return web.json_response(self.session)

    async def _save(self, request: web.Request) -> web.Response:
        if not is_lecturer(request.remote):
            raise web.HTTPForbidden(text="only the machine of the lab saves sessions\n")
        try:
            content = await request.json()
        except ValueError:
            raise UsageError("a session is JSON") from None
        return web.json_response({"saved": await asyncio.to_thread(self.save, content)})

    async def _enter(self, request: web.Request) -> web.Response:
        """Exchange the token for a cookie, and let the machine use the lanes."""
        if self.room is None or not self.room.knows(request.match_info["token"]):
            return web.Response(status=HTTPStatus.FORBIDDEN, text="this is not the address of a class that runs\n")
        if self.lab is not None and request.remote is not None:
            self.room.addresses.add(request.remote)
            await asyncio.gather(*(lane.link.admit(self.room.addresses) for lane in self.lab.lanes.values()))
        answer = web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": "/"})
        answer.set_cookie(COOKIE, self.room.token, httponly=True, samesite="Strict")
        return answer


@asynccontextmanager
async def serving(page: PageServer, sock: socket.socket) -> AsyncIterator[None]:
    """Serve the page until left."""
    runner = web.AppRunner(page.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.SockSite(runner, sock).start()
        yield
    finally:
        await page.live.close()
        await runner.cleanup()
