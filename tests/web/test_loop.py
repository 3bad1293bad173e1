"""The event loop goes on, whatever the engine and the clients do: never still for 100 ms."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from jupyter_volcopy.core.model import Kind, ListedEntry, Listing
from jupyter_volcopy.core.report import Note, Report
from tests.conftest import wait_for
from tests.web.conftest import said
from tests.web.test_streams import big_file

MOST = 0.1
TRIES = 5
NUMBER = 50_000


def kept_waiting(thread: int) -> float:
    """Seconds for which a thread was ready to run and the kernel ran somebody else."""
    try:
        return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # it is over
        return 0.0


class Watch:
    """A clock that ticks on the loop, and how late it was at most.

    What other processes of the machine took away from us does not count: neither from this thread,
    nor from the one that kept the interpreter's lock meanwhile.
    """

    def __init__(self) -> None:
        self.late = 0.0
        self.ticks = 0
        self._over = asyncio.Event()

    async def __aenter__(self) -> Watch:
        self._task = asyncio.ensure_future(self._tick())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._over.set()
        await self._task

    async def _tick(self) -> None:
        def waits() -> dict[int, float]:
            return {int(one): kept_waiting(int(one)) for one in os.listdir("/proc/self/task")}

        while not self._over.is_set():
            before, begun = waits(), time.monotonic()
            await asyncio.sleep(0.01)
            late = time.monotonic() - begun - 0.01
            if late > MOST:  # else it does not matter whose fault it was
                late -= sum(waited - before.get(thread, 0.0) for thread, waited in waits().items())
            self.late = max(self.late, late)
            self.ticks += 1


async def never_still(work: Callable[[], Awaitable[None]]) -> None:
    """The loop went on while this was done.

    It is done again where the loop stood still: what we do wrong comes back each time, what a busy machine
    did (a page that came late, time that another virtual machine took) does not.
    """
    late = []
    for _ in range(TRIES):
        async with Watch() as watch:
            await work()
        assert watch.ticks > 5
        late.append(watch.late)
        if watch.late < MOST:
            return
    pytest.fail(f"each time the loop stood still, for {min(late):.3f} s at least")


class SlowEngine:
    """Takes connections and answers in its own time, until it is told to end.

    Args:
        path: of its socket.
        answer: sent a byte at a time, for ever again from `body` on.
    """

    def __init__(self, path: str, answer: bytes = b"", body: bytes = b"") -> None:
        self.taken: list[socket.socket] = []
        self._answer, self._body = answer, body
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen(64)
        self._over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                taken = self._server.accept()[0]
            except OSError:
                return
            self.taken.append(taken)
            threading.Thread(target=self._talk, args=(taken,), daemon=True).start()

    def _talk(self, taken: socket.socket) -> None:
        left = self._answer
        while left or self._body:
            left = left or self._body
            if self._over.wait(0.02):
                return
            try:
                taken.sendall(left[:1])
            except OSError:
                return
            left = left[1:]

    def close(self) -> None:
        self._over.set()
        try:
            self._server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed before
        self._server.close()
        for sock in self.taken:
            sock.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
SLOW = {
    "silent": (b"", b""),
    "slow head": (b"HTTP/1.1 200 OK\r\n" + b"X-Slow: " + b"x" * 10_000, b""),
    "slow body": (HEAD, b"1\r\n \r\n"),
}


@pytest.fixture(params=sorted(SLOW))
def slow(request, tmp_path):
    made = SlowEngine(str(tmp_path / "slow.sock"), *SLOW[request.param])
    yield made
    made.close()


@pytest.fixture
def volcopy_config(request, tmp_path):
    if "slow" in request.fixturenames:
        return {
            "engine_url": f"unix://{tmp_path / 'slow.sock'}",
            "requests_per_second": 0,
            "max_calls": 2,
        }
    return {"requests_per_second": 0}


async def test_while_the_engine_is_slow(slow, api, service):
    """It keeps threads waiting, never the loop; what needs no engine is answered meanwhile."""
    wanted = {"source": "x:/y", "destination": "."}
    waiting: list[asyncio.Future] = []

    async def ask() -> None:
        waiting.extend(
            asyncio.ensure_future(made)
            for made in (
                api("GET", "containers"),
                api("GET", "containers", "x", "entries", path="/"),
                api("GET", "containers", "x", "file", path="/y"),
                api("PUT", "containers", "x", "file", path="/y", body=b"data"),
                api("POST", "transfers", body=wanted),
                api("POST", "containers", "x", "rescue", body={"destination": "new"}),
            )
        )
        end = time.monotonic() + 60
        while len(slow.taken) < 2 and time.monotonic() < end:  # noqa: ASYNC110 - another thread
            await asyncio.sleep(0.02)
        assert len(slow.taken) >= 2
        for _ in range(20):
            assert (await api("GET", "transfers")).code == 200

    await never_still(ask)
    slow.close()
    for response in await asyncio.gather(*waiting):
        assert response.code in (404, 429, 502, 503, 504), response.body


async def test_while_an_answer_is_long(api, service, container, monkeypatch):
    """Lists of tens of thousands are encoded beside the loop, a piece at a time."""
    name = container("created")
    notes = [Note(f"/directory/file-{n}", "equal here already", "equal") for n in range(NUMBER)]
    entries = tuple(
        ListedEntry(f"file-{n:06}", Kind.FILE, 0o644, 1000, 100, n, 0, "", "nb", "users")
        for n in range(NUMBER)
    )
    monkeypatch.setattr(service.engine(), "list_dir", lambda *args, **more: Listing("/x", entries))
    done = service.transfers.start(
        lambda meter, cancel: Report("pull", skipped=notes),
        owner=service_user(said(await api("GET", "status"))),
        sources=["x"],
        destination="y",
    )
    assert service.transfers.wait(done, 60)
    answers = []

    async def ask() -> None:
        answers[:] = [
            await api("GET", "containers", name, "entries", path="/x", limit=NUMBER),
            await api("GET", "transfers"),
            await api("GET", "transfers", done.id),
        ]

    await never_still(ask)
    page, listed, one = (said(answer) for answer in answers)
    assert len(page["entries"]) == NUMBER
    assert len(one["report"]["skipped"]) == NUMBER
    assert len(listed["transfers"][0]["report"]["skipped"]) == NUMBER


def service_user(status: dict) -> str:
    """Whose the server says we are."""
    return str(status["user"]["name"])


async def test_while_files_are_large(api, container, docker, service):
    """Their bytes pass through files beside the loop, and so does giving their room back."""
    name = container()
    big_file(docker, name, 90 << 20)
    got = 0

    def take(piece: bytes) -> None:
        nonlocal got
        got += len(piece)

    body = os.urandom(1 << 20) * 64

    async def both() -> None:
        nonlocal got
        got = 0
        await api("GET", "containers", name, "file", path="/big", streaming_callback=take)
        assert got == 90 << 20
        put = await api("PUT", "containers", name, "file", path="/tmp/up", body=body)
        assert put.code in (200, 201)

    await never_still(both)
    wait_for(lambda: not service.working, "the end")
