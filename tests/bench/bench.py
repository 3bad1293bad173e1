#!/usr/bin/env python3
"""Compare a copy command with `docker cp` (standard library only; needs a running engine).

    CANDIDATE="dcp" bench.py [--workloads big,small,tree,folder,listing,notebook,again]
                             [--rounds N] [--scale F] [--where rootfs|volume] [--work DIR]
                             [--also COMMAND] [--cold]

$CANDIDATE takes the arguments that `docker cp` takes.  Every round runs both commands, in
alternating order (A B, B A, ...; with --also a third one), on fresh destinations, pull (container to host) and push
(host to container), and compares the two results entry by entry: type, mode, owner, size,
bytes, link target, mtime.  `again` repeats the copy of the `small` tree over itself, nothing
changed.  A difference or a failing command makes the exit status 1.

Ratios are candidate / docker cp, so below 1 is faster: `pair` is the median of the rounds'
ratios, `median` and `min` compare the medians and the minima.  RSS is the peak of the
command's process tree (VmHWM, sampled).  Only containers and images named perf-bench-PID-*
are made, and they are removed.  Trees of many files are removed only after their workload:
ext4 makes new inodes slowly for some seconds after many were freed, which would blur ratios.

The last line is for machines:  ratio big-pull=0.61 big-push=0.55 ...   (the `pair` column)
"""
from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shlex
import shutil
import signal
import statistics
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gen  # noqa: E402

WORKLOADS = ("big", "small", "tree", "folder", "listing", "notebook", "again")
MANY = {"small", "tree", "listing", "again"}  # removed only after the workload
SHORT = {"notebook", "folder", "listing"}  # a tenth of a second: four times the rounds
REF = ["docker", "cp"]


def tree_rss_kib(root: int) -> int:
    """The sum of VmHWM over process `root` and its living descendants, in KiB."""
    total, todo = 0, [root]
    while todo:
        pid = todo.pop()
        try:
            with open(f"/proc/{pid}/status") as f:
                for line in f:
                    if line.startswith("VmHWM:"):
                        total += int(line.split()[1])
            for tid in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{tid}/children") as f:
                    todo += map(int, f.read().split())
        except OSError:
            pass
    return total


def timed(argv: list[str]) -> tuple[float, float, float]:
    """Run `argv`: (wall seconds, CPU seconds, peak RSS in MB); RuntimeError if it fails."""
    peak, done = 0, threading.Event()
    with tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err)

        def watch() -> None:
            # wait4's ru_maxrss is no use: it starts at the parent's size, so VmHWM is sampled.
            nonlocal peak
            exe = os.path.realpath("/proc/self/exe")
            pause = 0.004
            while not done.wait(pause):
                try:
                    if os.path.realpath(f"/proc/{proc.pid}/exe") == exe and pause == 0.004:
                        pause = 0.005
                        continue  # may still be the fork before exec
                except OSError:
                    pass
                peak = max(peak, tree_rss_kib(proc.pid))
                pause = min(0.05, pause * 1.3)

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(proc.pid, 0)
        wall = time.perf_counter() - start
        proc.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        watcher.join()
        if proc.returncode:
            err.seek(0)
            raise RuntimeError(f"{shlex.join(argv)}: exit {proc.returncode}: {err.read()[-500:].decode(errors='replace')}")
    return wall, usage.ru_utime + usage.ru_stime, peak / 1024


def docker(*args: str, **kw: object) -> str:
    """Run the docker client and return what it printed."""
    return subprocess.run(["docker", *args], check=True, stdout=subprocess.PIPE, text=True, **kw).stdout.strip()  # type: ignore[call-overload]


Entry = tuple[object, ...]


def digest(stream: io.BufferedIOBase | None) -> str:
    h = hashlib.blake2b(digest_size=16)
    while stream is not None and (block := stream.read(1 << 20)):
        h.update(block)
    return h.hexdigest()


def host_tree(top: str) -> dict[str, Entry]:
    """What lies at and under `top` on the host, by relative name."""
    out: dict[str, Entry] = {}
    stack = [top]
    while stack:
        path = stack.pop()
        st = os.lstat(path)
        what, link, body = stat.S_IFMT(st.st_mode), "", ""
        if stat.S_ISLNK(st.st_mode):
            link = os.readlink(path)
        elif stat.S_ISREG(st.st_mode):
            with open(path, "rb", buffering=0) as f:
                body = digest(f)  # type: ignore[arg-type]
        elif stat.S_ISDIR(st.st_mode):
            stack += [os.path.join(path, n) for n in os.listdir(path)]
        mode = 0 if link else stat.S_IMODE(st.st_mode)
        size = st.st_size if body else 0
        out[os.path.relpath(path, top)] = (what, mode, st.st_uid, st.st_gid, size, body, link, int(st.st_mtime))
    return out


def container_tree(name: str, top: str) -> dict[str, Entry]:
    """What lies at and under `top` in a container, through `docker cp NAME:TOP -`."""
    out: dict[str, Entry] = {}
    proc = subprocess.Popen(["docker", "cp", f"{name}:{top}", "-"], stdout=subprocess.PIPE)
    base = os.path.basename(top)
    with tarfile.open(fileobj=proc.stdout, mode="r|") as tar:
        for m in tar:
            what = stat.S_IFLNK if m.issym() else stat.S_IFDIR if m.isdir() else stat.S_IFREG
            body = digest(tar.extractfile(m)) if m.isreg() else ""  # type: ignore[arg-type]
            key = os.path.relpath(m.name, base)
            out[key] = (what, 0 if m.issym() else m.mode & 0o7777, m.uid, m.gid, m.size, body, m.linkname if m.issym() else "", int(m.mtime))
    proc.stdout.read()  # type: ignore[union-attr]
    if proc.wait():
        raise RuntimeError(f"docker cp {name}:{top} - failed")
    return out


def differences(ref: dict[str, Entry], got: dict[str, Entry], origin: dict[str, Entry]) -> list[str]:
    """What differs; an mtime counts only where docker cp itself kept the original's."""
    out = []
    for key in sorted(ref.keys() | got.keys()):
        a, b = ref.get(key), got.get(key)
        if a is None or b is None:
            out.append(f"{key}: {'missing' if b is None else 'only'} in the candidate's copy")
        elif a[:-1] != b[:-1] or (a[-1] != b[-1] and key in origin and origin[key][-1] == a[-1]):
            out.append(f"{key}: docker cp {a}, candidate {b}")
    return out


class Bench:
    def __init__(self, opts: argparse.Namespace, candidate: list[str]) -> None:
        self.o, self.candidate = opts, candidate
        self.commands = {"ref": REF, "cand": candidate}
        if opts.also:
            self.commands["also"] = shlex.split(opts.also)
        self.tag = f"perf-bench-{os.getpid()}"
        self.work = tempfile.mkdtemp(prefix=self.tag + "-", dir=opts.work)
        self.containers: list[str] = []
        self.images: list[str] = []
        self.bad: list[str] = []
        self.busybox = next((p for p in (os.environ.get("BUSYBOX", ""), "/bin/busybox", "/usr/bin/busybox") if os.path.exists(p)), "")
        if self.busybox:  # it must run with no library beside it
            with open(self.busybox, "rb") as f:
                head = f.read(4096)
            if b"/ld-linux" in head or b"/ld-musl" in head:
                self.busybox = ""
        if not self.busybox:
            print("note: no static busybox here: the containers are created, not running", file=sys.stderr)

    def image(self, source: str | None) -> str:
        """An image with a static busybox, empty /data and /vol, and `source` as /data/NAME."""
        name = f"{self.tag}-{len(self.images)}"
        proc = subprocess.Popen(["docker", "import", "-", name], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        with tarfile.open(fileobj=proc.stdin, mode="w|") as tar:
            for d in ("bin", "data", "vol", "tmp", "proc", "dev", "etc"):
                info = tarfile.TarInfo(d)
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            if self.busybox:
                tar.add(self.busybox, "bin/busybox")
                for applet in ("cat", "df", "find", "mv", "sh", "stat", "tar", "true", "xargs"):  # as nearly every image
                    info = tarfile.TarInfo("bin/" + applet)
                    info.type, info.linkname = tarfile.SYMTYPE, "busybox"
                    tar.addfile(info)
            else:
                tar.addfile(tarfile.TarInfo("bin/busybox"))
            if source:
                tar.add(source, "data/" + os.path.basename(source))
        proc.stdin.close()  # type: ignore[union-attr]
        if proc.wait():
            raise RuntimeError("docker import failed")
        self.images.append(name)
        return name

    def container(self, image: str, volume: str | None = None) -> str:
        name = f"{self.tag}-c{len(self.containers)}"
        self.containers.append(name)
        mount = ["-v", f"{volume}:/vol"] if volume else []
        if self.busybox:
            docker("run", "-d", "--network", "none", "--name", name, *mount, image, "/bin/busybox", "sleep", "100000000")
        else:
            docker("create", "--network", "none", "--name", name, *mount, image, "/bin/busybox")
        return name

    def remove_containers(self) -> None:
        for name in self.containers:
            subprocess.run(["docker", "rm", "-f", "-v", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.containers.clear()

    def clear(self) -> None:
        """Remove what a workload made."""
        self.remove_containers()
        for name in os.listdir(self.work):
            shutil.rmtree(os.path.join(self.work, name), ignore_errors=True)

    def close(self) -> None:
        self.remove_containers()
        for name in self.images:
            subprocess.run(["docker", "rmi", "-f", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.work, ignore_errors=True)

    def workload(self, kind: str) -> list[tuple[str, dict[str, list[tuple]]]]:
        """Rows (label, runs of each command) for pull and push."""
        base = "small" if kind == "again" else kind
        folder = os.path.join(self.work, "src-" + kind)
        os.makedirs(folder)
        source = os.path.join(folder, base)
        gen.KINDS[base](source, self.o.scale)
        if kind in ("big", "notebook"):  # a single file is what people copy
            source = os.path.join(source, os.listdir(source)[0])
        leaf = os.path.basename(source)
        in_volume = self.o.where == "volume"
        if in_volume:
            vol = os.path.join(self.work, "vol-" + kind)
            os.makedirs(vol)
            subprocess.run(["cp", "-a", source, vol + "/"], check=True)
            from_image, origin_path = self.empty, f"/vol/{leaf}"
            puller = self.container(from_image, vol)
        else:
            puller = self.container(self.image(source), None)
            origin_path = f"/data/{leaf}"
        origin = host_tree(source)
        commands = self.commands
        rows = []
        for direction in ("pull", "push"):
            label = f"{kind}-{direction}"
            runs: dict[str, list[tuple]] = {who: [] for who in commands}
            wanted: dict[str, Entry] | None = None
            rounds = self.o.rounds * (4 if kind in SHORT else 1)
            for r in range(0 if self.o.cold else -1, rounds):  # round -1 warms up and is dropped
                results = {}
                order = [*commands] if r % 2 == 0 else [*commands][::-1]
                for who in order[r % len(order) :] + order[: r % len(order)] if len(order) > 2 else order:
                    if direction == "pull":
                        dest = os.path.join(self.work, f"{label}-{r}-{who}")
                        os.mkdir(dest)
                        argv = [*commands[who], f"{puller}:{origin_path}", dest + "/"]
                    else:
                        vol = os.path.join(self.work, f"{label}-{r}-{who}") if in_volume else None
                        if vol:
                            os.mkdir(vol)
                        dest = self.container(self.empty, vol)
                        argv = [*commands[who], source, f"{dest}:{'/vol' if vol else '/data'}/"]
                    if kind == "again" and who != "ref" and self.o.again:
                        argv[len(commands[who]) : len(commands[who])] = self.o.again.split()
                    if kind == "again":
                        timed([*REF, *argv[-2:]])
                    os.sync()
                    result = timed(argv)
                    if r >= 0:
                        runs[who].append(result)
                    results[who] = dest
                if wanted is None or self.o.verify == "every":
                    trees = {}
                    for who, dest in results.items():
                        if direction == "pull":
                            trees[who] = host_tree(os.path.join(dest, leaf))
                        else:
                            trees[who] = container_tree(dest, f"{'/vol' if in_volume else '/data'}/{leaf}")
                    wanted = trees["ref"]
                    for who in [*commands][1:]:
                        diff = differences(trees["ref"], trees[who], origin)
                        self.bad += [f"{label} round {r}, {who}: {d}" for d in diff[:5]]
                        if len(diff) > 5:
                            self.bad.append(f"{label} round {r}, {who}: and {len(diff) - 5} more")
                for dest in results.values():
                    if kind not in MANY:
                        if direction == "pull":
                            shutil.rmtree(dest)
                        else:
                            docker("rm", "-f", "-v", dest)
                            self.containers.remove(dest)
                            if in_volume:
                                for who in commands:
                                    shutil.rmtree(os.path.join(self.work, f"{label}-{r}-{who}"), ignore_errors=True)
            rows.append((label, runs))
        self.clear()
        if kind in MANY:
            time.sleep(self.o.rest)
        return rows

    def main(self, kinds: list[str]) -> int:
        self.empty = self.image(None)
        line, rss, table = [], [], []
        head = f"{'workload':16} {'docker cp s':>15} {'candidate s':>15} {'pair':>6} {'median':>6} {'min':>6} {'CPU s':>11} {'RSS MB':>11}"
        print(f"candidate: {shlex.join(self.candidate)}   rounds {self.o.rounds}, scale {self.o.scale}, {self.o.where}   (s: median/min; CPU, RSS: docker cp/candidate)")
        print(head, flush=True)
        for kind in kinds:
            try:
                rows = self.workload(kind)
            except RuntimeError as e:  # the others still say something
                print(f"{kind:16} FAILED {e}", flush=True)
                line.append(f"{kind}=fail")
                self.bad.append(f"{kind}: failed")
                self.clear()
                continue
            for label, runs in rows:
                table.append({"workload": label, "docker_cp": runs["ref"], "candidate": runs["cand"], "also": runs.get("also")})
            for label, who, runs in ((label, who, runs) for label, runs in rows for who in runs if who != "ref"):
                ref, cand = runs["ref"], runs[who]
                label += " also" if who == "also" else ""
                a, b = [x[0] for x in ref], [x[0] for x in cand]
                med = statistics.median
                pair = med(y / x for x, y in zip(a, b))
                mem = max(x[2] for x in ref), max(x[2] for x in cand)
                cpu = med(x[1] for x in ref), med(x[1] for x in cand)
                print(f"{label:16} {f'{med(a):.3f}/{min(a):.3f}':>15} {f'{med(b):.3f}/{min(b):.3f}':>15} {pair:6.2f} {med(b) / med(a):6.2f} "
                      f"{min(b) / min(a):6.2f} {f'{cpu[0]:.2f}/{cpu[1]:.2f}':>11} {f'{mem[0]:.0f}/{mem[1]:.0f}':>11}", flush=True)
                line.append(f"{label.replace(' ', '-')}={pair:.2f}")
                rss.append(f"{label.replace(' ', '-')}={mem[1]:.0f}")
        if self.o.json:
            with open(self.o.json, "w") as f:
                json.dump(table, f)
        for b in self.bad:
            print("DIFFERENT", b)
        print("identical yes" if not self.bad else f"identical no ({len(self.bad)})")
        print("rss_mb", *rss)
        print("ratio", *line)
        return 1 if self.bad else 0


def run() -> int:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--workloads", default=",".join(WORKLOADS), help="comma-separated, of: " + ", ".join(WORKLOADS))
    ap.add_argument("--rounds", type=int, default=7, help="four times as many for the short workloads (default 7)")
    ap.add_argument("--scale", type=float, default=0.25, help="1.0: 1 GiB, 20,000 files (default 0.25)")
    ap.add_argument("--where", choices=("rootfs", "volume"), default="rootfs", help="the container's side: its own layers, or a bind mount in --work")
    ap.add_argument("--work", help="the host's side is made here (default: /dev/shm where it has room, else the temporary directory)")
    ap.add_argument("--verify", choices=("first", "every"), default="first", help="rounds whose results are compared")
    ap.add_argument("--rest", type=float, default=6.0, help="seconds to wait after removing many files")
    ap.add_argument("--json", metavar="FILE", help="write every run's (wall s, CPU s, RSS MB) here")
    ap.add_argument("--also", default="", help="one more candidate, in the same rounds")
    ap.add_argument("--again", default="", metavar="OPTIONS", help="of the candidates, where nothing changed: --update")
    ap.add_argument("--cold", action="store_true", help="no round to warm up")
    ap.add_argument("--candidate", default=os.environ.get("CANDIDATE"), help="default: $CANDIDATE")
    o = ap.parse_args()
    kinds = [k for k in o.workloads.split(",") if k]
    if not o.candidate or not kinds or set(kinds) - set(WORKLOADS) or o.rounds < 1 or o.scale <= 0:
        ap.error("need a candidate, known workloads, rounds >= 1 and scale > 0")
    if not o.work:
        room = int(16e9 * o.scale) + int(1e9)
        o.work = "/dev/shm" if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > room else tempfile.gettempdir()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(o, shlex.split(o.candidate))
    try:
        return bench.main(kinds)
    except (RuntimeError, subprocess.CalledProcessError) as e:
        print("FAILED", e)
        return 1
    finally:
        bench.close()


if __name__ == "__main__":
    sys.exit(run())
