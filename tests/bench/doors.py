#!/usr/bin/env python3
"""What has no command line of its own: `%dcp` in a kernel, a server, many containers, plain tcp, a newer engine.

Every function measures both sides in turn and returns a table; `report.py` calls them.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
IMAGE = os.environ.get("VOLCOPY_BENCH_IMAGE", "volcopy-test-image")
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


def run(*argv: str, env: dict[str, str] | None = None) -> str:
    """Run a command that must succeed; what it printed."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **(env or {})})
    return done.stdout.strip()


@contextmanager
def containers(count: int, *flags: str) -> Iterator[list[str]]:
    """Running containers of the test image."""
    names = [f"perf-doors-{os.getpid()}-{n}" for n in range(count)]
    try:
        for name in names:
            run("docker", "run", "-d", "--network", "none", "--name", name, *flags, IMAGE, "sleep", "100000")
        yield names
    finally:
        subprocess.run(["docker", "rm", "-fv", *names], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def in_turn(rounds: int, sides: dict[str, Callable[[int], float]]) -> dict[str, list[float]]:
    """Seconds of every side, called in turn with the number of the round; the first round warms up."""
    times: dict[str, list[float]] = {who: [] for who in sides}
    for turn in range(rounds + 1):
        for who in list(sides) if turn % 2 else list(sides)[::-1]:
            took = sides[who](turn)
            if turn:
                times[who].append(took)
    return times


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def cell(ref: list[float], ours: list[float], *, ms: bool = False) -> str:
    """Median of the ratios, of the minima, perhaps the best in milliseconds."""
    pair = statistics.median(b / a for a, b in zip(ref, ours))
    more = f"; {min(ours) * 1000:.1f} ms" if ms else ""
    return f"{pair:.2f} ({min(ours) / min(ref):.2f}{more})"


class Kernel:
    """A kernel that runs, with the magics loaded."""

    def __init__(self) -> None:
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(kernel_name="python3", startup_timeout=120)
        self.run("%load_ext jupyter_volcopy\nimport time, io, contextlib")

    def run(self, code: str) -> str:
        """What the code printed; it must succeed."""
        said: list[str] = []

        def hook(message: dict) -> None:
            if message["msg_type"] == "stream":
                said.append(message["content"]["text"])

        reply = self.client.execute_interactive(code, output_hook=hook, timeout=120)
        if reply["content"]["status"] != "ok":
            raise RuntimeError(f"in the kernel: {reply['content']}")
        return "".join(said)

    def copy(self, line: str) -> float:
        """Seconds of one `%dcp`, as the kernel sees it."""
        code = f"began = time.perf_counter()\nget_ipython().run_line_magic('dcp', {('-q ' + line)!r})\nprint('took', time.perf_counter() - began)"
        return float(self.run(code).rsplit("took ", 1)[1])

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


class Server:
    """A Jupyter server with our extension, over one kept connection."""

    def __init__(self, work: str, access: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = open(os.path.join(work, f"server-{access}.log"), "wb")
        argv = [sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", "--ip=127.0.0.1", f"--port={self.port}"]
        argv += ["--IdentityProvider.token=bench", f"--ServerApp.root_dir={work}", "--ServerApp.jpserver_extensions={'jupyter_volcopy': True}"]
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=self.log, env={**os.environ, "VOLCOPY_ACCESS": access})
        end = time.monotonic() + 90
        while True:
            try:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                self.ask("GET", "/api/status")
                return
            except (OSError, http.client.HTTPException):
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        headers = {"Authorization": "token bench", "Content-Type": "application/octet-stream"}
        self.connection.request(method, path, data, headers)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {body[:300]!r}")
        return body

    def close(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.wait()
        self.log.close()


def process(rounds: int) -> str:
    """A notebook of 50 KB without the start of a process, against the command `docker cp`."""
    sys.path.insert(0, str(ROOT))
    from jupyter_volcopy import Copier
    from jupyter_volcopy.core.discovery import open_engine

    lines = [
        "| 50 KB, no process started; ratio to `docker cp` (of minima; ms at best) | pull | push |",
        "| --- | --- | --- |",
    ]
    with containers(1) as (name,), tempfile.TemporaryDirectory(dir=MEMORY) as work:
        notebook = os.path.join(work, "report.ipynb")
        data = os.urandom(50_000)
        Path(notebook).write_bytes(data)
        run("docker", "cp", "-q", notebook, f"{name}:/tmp/")
        engine = open_engine()
        copier, kernel = Copier(engine), Kernel()
        servers = {access: Server(work, access) for access in ("api", "auto")}
        base = f"/volcopy/api/containers/{name}/file?path="
        try:
            ways = {
                "pull": (f"{name}:/tmp/report.ipynb", work + "/got"),
                "push": (notebook, f"{name}:/tmp/put"),
            }
            found: dict[str, dict[str, list[float]]] = {}
            for way, sides in ways.items():
                line = " ".join(sides)
                argv = ["docker", "cp", "-q", *sides]
                asked = ("GET", base + quote("/tmp/report.ipynb"), None) if way == "pull" else ("PUT", base + quote("/tmp/put"), data)
                found[way] = in_turn(
                    rounds,
                    {
                        "docker cp": lambda turn, argv=argv: timed(lambda: run(*argv)),
                        "Python, API": lambda turn, sides=sides: timed(lambda: copier.copy(*sides, access="api")),
                        "Python, direct": lambda turn, sides=sides: timed(lambda: copier.copy(*sides, access="auto")),
                        "`%dcp` in a kernel, API": lambda turn, line=line: kernel.copy("--access api " + line),
                        "`%dcp` in a kernel, direct": lambda turn, line=line: kernel.copy(line),
                        "a server, kept connection, API": lambda turn, asked=asked: timed(lambda: servers["api"].ask(*asked)),
                        "a server, kept connection, direct": lambda turn, asked=asked: timed(lambda: servers["auto"].ask(*asked)),
                    },
                )
        finally:
            for server in servers.values():
                server.close()
            kernel.close()
            engine.close()
    for who in list(found["pull"])[1:]:
        cells = [cell(found[way]["docker cp"], found[way][who], ms=True) for way in ways]
        lines.append(f"| {who} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


class Ready:
    """A tar that is there already, as the body of an upload."""

    seal = None

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY)
        self.length = os.fstat(self.fd).st_size

    def __iter__(self) -> Iterator[object]:
        from jupyter_volcopy.core.engine import FilePart

        yield FilePart(self.fd, 0, self.length)


def floors(rounds: int, scale: float) -> str:
    """What no way of copying can undercut: the engine's own part, a program, `cp -a`, Python's start; nothing is checked or staged."""
    sys.path.insert(0, str(ROOT))
    import gen
    from jupyter_volcopy.core.discovery import open_engine
    from jupyter_volcopy.core.execute import collect

    heads = ["", "archive read, not written", "a program beside it", "a ready archive sent", "`cp -a` out", "`cp -a` in"]
    lines = ["| floor; ratio to `docker cp` (of minima) | " + " | ".join(heads[1:]) + " |", "| --- " * len(heads) + "|"]
    buffer = memoryview(bytearray(1 << 20))
    started: list[tuple[list[float], list[float]]] = []
    engine = open_engine()
    try:
        for kind in ("big", "small", "tree", "folder", "listing", "notebook"):
            with containers(1) as (name,), tempfile.TemporaryDirectory(dir=MEMORY) as work:
                known = engine.container(name)
                source = os.path.join(work, kind)
                gen.KINDS[kind](source, scale)
                if kind in ("big", "notebook"):
                    source = os.path.join(source, os.listdir(source)[0])
                leaf, root = os.path.basename(source), f"/proc/{known.pid}/root"
                tar = os.path.join(work, "ready.tar")
                run("tar", "-cf", tar, "-C", os.path.dirname(source), leaf)
                run("docker", "exec", name, "mkdir", "/data")
                run("docker", "cp", "-q", source, f"{name}:/data/")
                made = 0

                def fresh(inside: bool) -> str:
                    nonlocal made
                    made += 1
                    path = f"/to{made}" if inside else os.path.join(work, f"to{made}")
                    os.mkdir(root + path if inside else path)
                    return path

                def read(beside: bool) -> None:
                    program = engine.start_program(known.id, ["true"]) if beside else None
                    archive = engine.open_archive(known.id, f"/data/{leaf}")
                    while archive.readinto(buffer):
                        pass
                    archive.close()
                    if program is not None:
                        collect(program, "true")

                def copied(*argv: str) -> Callable[[int], float]:
                    """Seconds of a command; `@` is a fresh directory here, `#` one in the container."""

                    def side(turn: int) -> float:
                        words = [word.replace("@", fresh(False)) if "@" in word else word for word in argv]
                        words = [word.replace("#", fresh(True)) if "#" in word else word for word in words]
                        return timed(lambda: run(*words))

                    return side

                def sent(turn: int) -> float:
                    place = fresh(True)
                    return timed(lambda: engine.extract(known.id, place, Ready(tar)))

                times = in_turn(
                    rounds if kind in ("big", "small", "tree") else 4 * rounds,
                    {
                        "pull": copied("docker", "cp", "-q", f"{name}:/data/{leaf}", "@/"),
                        "read": lambda turn: timed(lambda: read(False)),
                        "program": lambda turn: timed(lambda: read(True)),
                        "out": copied("cp", "-a", f"{root}/data/{leaf}", "@/"),
                        "push": copied("docker", "cp", "-q", source, f"{name}:#/"),
                        "sent": sent,
                        "in": copied("cp", "-a", source, f"{root}#/"),
                        **({"python": copied(sys.executable, "-c", "pass")} if kind == "notebook" else {}),
                    },
                )
            if kind == "notebook":
                started.append((times["pull"], times["python"]))
            cells = [cell(times[ref], times[ours]) for ref, ours in (("pull", "read"), ("pull", "program"), ("push", "sent"), ("pull", "out"), ("push", "in"))]
            lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    finally:
        engine.close()
    lines += ["", f"Python's own start and end, before anything of ours: {cell(*started[0])} of a notebook by `docker cp`."]
    return "\n".join(lines)


def many(rounds: int, count: int) -> str:
    """5 MB handed out to many containers, and collected, against a shell loop of `docker cp`."""
    # as Jupyter's images are: the work in them is done as their user
    with containers(count, "-e", "NB_UID=1000", "-e", "NB_GID=100") as names, tempfile.TemporaryDirectory(dir=MEMORY) as work:
        for name in names:
            run("docker", "exec", "-u", "0", name, "mkdir", "-m", "777", "/work")
        who = " ".join(names)
        to = [word for name in names for word in ("--to", name)]
        of = [word for name in names for word in ("--from", name)]

        def source(turn: int, side: str) -> str:
            path = os.path.join(work, f"lab-{side}-{turn}")
            os.mkdir(path)
            for at in range(10):
                Path(path, f"file{at}").write_bytes(os.urandom(500_000))
            return path

        def loop_out(turn: int) -> float:
            path = source(turn, "a")
            return timed(lambda: run("sh", "-c", f"for c in {who}; do docker cp -q {path} $c:/work/; done"))

        def hand_out(turn: int, access: str) -> float:
            path = source(turn, access)
            env = {"VOLCOPY_ACCESS": access}
            return timed(lambda: run(str(BIN / "volcopy"), "handout", path, *to, "--into", "/work", env=env))

        def loop_in(turn: int) -> float:
            place = os.path.join(work, f"in-a-{turn}")
            os.mkdir(place)
            return timed(lambda: run("sh", "-c", f"for c in {who}; do docker cp -q $c:/work/lab-a-0 {place}/$c; done"))

        def collect(turn: int, access: str) -> float:
            place = os.path.join(work, f"in-{access}-{turn}")
            env = {"VOLCOPY_ACCESS": access}
            return timed(lambda: run(str(BIN / "volcopy"), "collect", "/work/lab-a-0", *of, "--into", place, env=env))

        def both(loop: Callable[[int], float], ours: Callable[[int, str], float]) -> dict[str, list[float]]:
            return in_turn(rounds, {"loop": loop, "api": lambda turn: ours(turn, "api"), "auto": lambda turn: ours(turn, "auto")})

        out, back = both(loop_out, hand_out), both(loop_in, collect)
    return "\n".join(
        [
            f"| 5 MB and {count} containers, ratio to a shell loop of `docker cp` (of minima) | by programs in them | direct |",
            "| --- | --- | --- |",
            f"| `volcopy handout`: what is there is looked at, what arrived is verified | {cell(out['loop'], out['api'])} | {cell(out['loop'], out['auto'])} |",
            f"| `volcopy collect`: checksums of all | {cell(back['loop'], back['api'])} | {cell(back['loop'], back['auto'])} |",
        ]
    )


@contextmanager
def relay(path: str) -> Iterator[int]:
    """A port of this machine that leads to a unix socket."""
    server = socket.create_server(("127.0.0.1", 0))

    def carry(source: socket.socket, target: socket.socket) -> None:
        buffer = memoryview(bytearray(1 << 20))
        try:
            while count := source.recv_into(buffer):
                target.sendall(buffer[:count])
        except OSError:
            pass
        try:
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve() -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(path)
            for pair in ((near, far), (far, near)):
                threading.Thread(target=carry, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


def tcp(candidate: str, rounds: int, megabytes: int) -> str:
    """A large pull over plain tcp, where the docker client asks for gzip."""
    import shlex

    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    with containers(1) as (name,), relay(address) as port, tempfile.TemporaryDirectory(dir=MEMORY) as work:
        file = os.path.join(work, "big")
        with open(file, "wb") as out:
            for _ in range(megabytes):
                out.write(os.urandom(1 << 20))
        run("docker", "cp", "-q", file, f"{name}:/tmp/big")
        os.unlink(file)
        host = {"DOCKER_HOST": f"tcp://127.0.0.1:{port}", "DOCKER_CONTEXT": ""}

        def pulled(argv: list[str], env: dict[str, str]) -> float:
            took = timed(lambda: run(*argv, f"{name}:/tmp/big", file, env=env))
            os.unlink(file)
            return took

        times = in_turn(
            rounds,
            {
                "ref": lambda turn: pulled(["docker", "cp", "-q"], host),
                "ours": lambda turn: pulled([*shlex.split(candidate), "-q"], host),
                "unix": lambda turn: pulled(["docker", "cp", "-q"], {}),
            },
        )
    return "\n".join(
        [
            f"| {megabytes} MB over plain tcp, ratio to `docker cp` over tcp (of minima) | pull |",
            "| --- | --- |",
            f"| `dcp` over tcp | {cell(times['ref'], times['ours'])} |",
            f"| `docker cp` over the socket | {cell(times['ref'], times['unix'])} |",
        ]
    )


@contextmanager
def newer_engine() -> Iterator[str]:
    """The newest engine of Debian beside this machine's, while the context lasts; "" if it is not to be had."""
    place = tempfile.mkdtemp(prefix="vb-")
    script = str(ROOT / "scripts/newer-engine")
    before = os.environ.get("DOCKER_HOST")
    started = subprocess.run(["bash", script, "start", "sid", place], check=False, stdout=subprocess.PIPE, text=True, timeout=600)
    try:
        if started.returncode:
            print("the newer engine is not to be had here", file=sys.stderr)
            yield ""
            return
        os.environ["DOCKER_HOST"] = f"unix://{place}/s"
        found = json.loads(run("docker", "version", "-f", "{{json .Server}}"))
        yield str(found["Version"])
    finally:
        if before is None:
            os.environ.pop("DOCKER_HOST", None)
        else:
            os.environ["DOCKER_HOST"] = before
        subprocess.run(["bash", script, "stop", place], check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(place, ignore_errors=True)
