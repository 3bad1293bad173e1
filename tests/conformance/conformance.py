#!/usr/bin/env python3
"""Differential conformance: a candidate command against the real `docker cp`.

    CANDIDATE="dcp" python3 conformance.py [--only PATTERN] [--shard I/N] [--list] [--held-out] [--random N [--seed S]]
                                           [--show] [--jobs N]

Each case builds one fixture twice, for the reference and for the candidate: a fresh
directory in one of two twin containers (same path in both) and a fresh host directory
(the command's working directory). Both commands get the same arguments; then exit status
(zero or not) and both whole trees are compared: type, bytes, mode, uid, gid, mtime in
seconds, link target, device number, hardlink identity, extended attributes. For `SRC -`
the entries of the tar on stdout are compared too. Where both fail, the candidate may also
have left everything exactly as it was: a clean failure is never worse than a partial one.

A few cases are `BETTER`: we promise more there than `docker cp` does, so our own result is checked.

Engines after 20.10 (seen: 26.1, 28.5) look at a destination as the kernel does (there is no `a/../b` where there is no
`a`), but write to the path cleaned by its text. Earlier ones clean it always, and so do we: where the engine, which is
asked, does not, the reference is given a container's path without `..`.

Needs: Linux, root, python3.11, a docker CLI with a local engine, and a static busybox
(BUSYBOX=path; else `which busybox`). The trees in containers are read and written through
/proc/PID/root (running) or the overlay2 upper directory (stopped), never through a copy.
Environment: CANDIDATE (default `dcp`), REFERENCE (default `docker cp`), CONFORMANCE_TAG (how the
containers are named), CONFORMANCE_WITHOUT (groups left out, as in `stopped,created`, where there is no overlay2).
Exit status: 0 all equal; 1 some differ; 2 the harness could not run.
"""
from __future__ import annotations

import argparse
import fnmatch
import hashlib
import io
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

OLD = 1_000_000_000          # the mtime of everything a fixture builds, unless it says otherwise
TIMEOUT = 60                 # seconds one command may take
TAG = os.environ.get("CONFORMANCE_TAG") or f"conf-{os.getpid()}"
IMAGE = f"{TAG}-image"


# ------------------------------------------------------------------ fixtures
@dataclass(frozen=True)
class Node:
    """One file of a fixture. `{H}` and `{W}` in paths and links are the two sides' directories."""
    kind: str                # f d l(symlink) h(ardlink) p(fifo) c(har device) s(ocket)
    path: str
    data: str | bytes = b""  # f: content; l, h: target; c: "major,minor"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: float = OLD
    xattr: tuple[tuple[str, bytes], ...] = ()


def F(path, data=b"hello\n", mode=0o644, uid=0, gid=0, mtime=OLD, xattr=()):
    return Node("f", path, data, mode, uid, gid, mtime, tuple(xattr))


def D(path, mode=0o755, uid=0, gid=0, mtime=OLD, xattr=()):
    return Node("d", path, b"", mode, uid, gid, mtime, tuple(xattr))


def L(path, target, uid=0, gid=0, mtime=OLD):
    return Node("l", path, target, 0o777, uid, gid, mtime)


def H(path, target):
    return Node("h", path, target)


def P(path, mode=0o644, uid=0, gid=0):
    return Node("p", path, b"", mode, uid, gid)


def C(path, dev="1,3", mode=0o666):
    return Node("c", path, dev, mode)


def S(path):
    return Node("s", path)


@dataclass(frozen=True)
class Case:
    """`args` follow the command; `{C}` is the container. `stdin`: bytes, or nodes packed as a tar."""
    name: str
    args: tuple[str, ...]
    host: tuple[Node, ...] = ()
    ctr: tuple[Node, ...] = ()
    group: str = "run"
    at: str = "/w"           # where in the container the fresh directory is made
    stdin: object = None     # None | bytes | tuple[Node, ...]
    pack: str = "w"          # tarfile mode for stdin nodes: w, w:gz, w:bz2, w:xz
    tar_out: bool = False    # compare stdout as a tar
    umask: int = 0o022


CASES: list[Case] = []


def case(name, *args, **kw):
    for side in ("host", "ctr"):
        kw[side] = tuple(kw.get(side, ()))
    if isinstance(kw.get("stdin"), list):
        kw["stdin"] = tuple(kw["stdin"])
    if args and args[-1] == "-":
        kw["tar_out"] = True
    CASES.append(Case(name, tuple(args), **kw))


def fill(text, sub):
    for key, value in sub.items():
        text = text.replace("{%s}" % key, value)
    return text


def build(root, nodes, sub):
    """Make `nodes` under `root`; then set every mtime, deepest first."""
    stamps = []
    for n in nodes:
        path = os.path.join(root, n.path)
        parent = os.path.dirname(path)
        missing = []
        while not os.path.lexists(parent):
            missing.append(parent)
            parent = os.path.dirname(parent)
        for p in reversed(missing):
            os.mkdir(p)
            os.chmod(p, 0o755)
            stamps.append((p, OLD))
        data = n.data if isinstance(n.data, bytes) else fill(n.data, sub).encode("utf-8", "surrogateescape")
        if n.kind == "f":
            with open(path, "wb") as f:
                f.write(data)
        elif n.kind == "d":
            os.makedirs(path, exist_ok=True)
        elif n.kind == "l":
            os.symlink(data, os.fsencode(path))
        elif n.kind == "h":
            os.link(os.path.join(root, os.fsdecode(data)), path, follow_symlinks=False)
            continue
        elif n.kind == "p":
            os.mkfifo(path)
        elif n.kind == "c":
            major, minor = map(int, data.split(b","))
            os.mknod(path, stat.S_IFCHR | n.mode, os.makedev(major, minor))
        elif n.kind == "s":
            os.mknod(path, stat.S_IFSOCK | n.mode)
        os.lchown(path, n.uid, n.gid)
        if n.kind != "l":
            os.chmod(path, n.mode)
        for key, value in n.xattr:
            os.setxattr(path, key, value)
        stamps.append((path, n.mtime))
    for path, t in sorted(stamps, key=lambda s: -s[0].count("/")):
        os.utime(path, (t, t), follow_symlinks=False)
    os.utime(root, (OLD, OLD))
    os.utime(os.path.dirname(root), (OLD, OLD))


def pack(nodes, mode, sub):
    """The nodes as a tar, in order, names kept exactly as written (also `/x` and `../x`)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for n in nodes:
            info = tarfile.TarInfo(fill(n.path, sub))
            info.mode, info.uid, info.gid, info.mtime = n.mode, n.uid, n.gid, n.mtime
            data = n.data if isinstance(n.data, bytes) else fill(n.data, sub).encode()
            info.type = {"f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE,
                         "p": tarfile.FIFOTYPE, "c": tarfile.CHRTYPE}[n.kind]
            if n.kind in "lh":
                info.linkname = data.decode()
            if n.kind == "c":
                info.devmajor, info.devminor = map(int, data.split(b","))
            for key, value in n.xattr:
                info.pax_headers["SCHILY.xattr." + key] = value.decode("utf-8", "surrogateescape")
            if n.kind == "f":
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            else:
                tar.addfile(info)
    return out.getvalue()


# ------------------------------------------------------------------ what came out
def digest(data):
    return repr(data) if len(data) <= 40 else f"{len(data)} bytes sha256:{hashlib.sha256(data).hexdigest()[:12]}"


def when(seconds, started):
    """Whole seconds; "now" for what the command itself stamped."""
    return "now" if started - 2 <= seconds < started + 2 * TIMEOUT else int(seconds // 1)


def snapshot(root, started, sub):
    """path -> facts, for `root` and all under it."""
    out, inodes = {}, {}

    def visit(path, rel):
        st = os.lstat(path)
        fmt = stat.S_IFMT(st.st_mode)
        kind = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
                stat.S_IFSOCK: "socket", stat.S_IFCHR: "char", stat.S_IFBLK: "block"}[fmt]
        facts = {"type": kind, "mode": oct(st.st_mode & 0o7777), "uid": st.st_uid, "gid": st.st_gid,
                 "mtime": when(st.st_mtime, started)}
        if kind == "file":
            with open(path, "rb") as f:
                facts["bytes"] = digest(f.read())
        if kind == "link":
            target = os.readlink(path)
            for key, value in sub.items():
                target = target.replace(value, "{%s}" % key)
            facts["target"] = target
        if kind in ("char", "block"):
            facts["rdev"] = (os.major(st.st_rdev), os.minor(st.st_rdev))
        if kind != "dir" and st.st_nlink > 1:
            facts["same as"] = inodes.setdefault((st.st_dev, st.st_ino), rel)
        if kind in ("file", "dir"):
            names = [x for x in os.listxattr(path) if not x.startswith("trusted.overlay")]
            facts["xattr"] = {x: os.getxattr(path, x) for x in sorted(names)}
        out[rel] = facts
        if kind == "dir":
            for name in sorted(os.listdir(path)):
                visit(os.path.join(path, name), f"{rel}/{name}" if rel else name)

    visit(root, "")
    return out


def tar_entries(data, started):
    if not data:
        return "nothing"
    try:
        with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
            return sorted((m.name, m.type.decode("latin1").replace("\0", "0"), oct(m.mode), m.uid, m.gid,
                           when(m.mtime, started), m.size, m.linkname, m.devmajor, m.devminor,
                           tuple(sorted((k, v) for k, v in m.pax_headers.items() if k.startswith("SCHILY.xattr"))),
                           digest(tar.extractfile(m).read()) if m.isfile() else "") for m in tar)
    except tarfile.TarError as e:
        return f"not a tar: {e}"


# ------------------------------------------------------------------ the engine
def docker(*args, **kw):
    r = subprocess.run(["docker", *args], capture_output=True, **kw)
    if r.returncode:
        raise SystemExit(f"conformance: docker {' '.join(args[:3])}: {r.stderr.decode().strip()}")
    return r.stdout.decode().strip()


class Engine:
    """Twin containers per group, made when first needed."""
    GROUPS = {
        "run": ([], "start"), "stopped": ([], "stop"), "created": ([], "create"), "paused": ([], "pause"),
        "user": (["--user", "1000"], "start"),
        "mounts": (["-v", "{B}/rw:/bind", "-v", "{B}/ro:/bindro:ro", "-v", "/vol"], "start"),
        "readonly": (["--read-only", "-v", "/vol", "-v", "{B}/ro:/bindro:ro"], "start"),
    }

    def __init__(self, tmp):
        self.tmp, self.tag = tmp, TAG
        self.made, self.lock = {}, threading.Lock()
        self.image()
        self.cleans = self.cleans_before_it_looks()

    def image(self):
        box = os.environ.get("BUSYBOX") or shutil.which("busybox")
        if not box:
            raise SystemExit("conformance: no busybox; set BUSYBOX to a static one")
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name in ("bin", "etc", "tmp", "w", "home", "vol", "bind", "bindro", "proc", "sys", "dev"):
                d = tarfile.TarInfo(name)
                d.type, d.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(d)
            for name, data in (("etc/passwd", b"root:x:0:0::/:/bin/sh\njo:x:1000:1000::/home:/bin/sh\n"),
                               ("bin/busybox", open(box, "rb").read())):
                f = tarfile.TarInfo(name)
                f.size, f.mode = len(data), 0o755
                tar.addfile(f, io.BytesIO(data))
        docker("import", "-", IMAGE, input=out.getvalue())

    def cleans_before_it_looks(self):
        """Whether the engine, looking at a destination, finds `/no/such/../../etc`."""
        name = f"{self.tag}-asked"
        docker("create", "--name", name, "--network", "none", IMAGE, "/bin/busybox")
        try:
            return not subprocess.run(["docker", "cp", "-", f"{name}:/no/such/../../etc"], input=bytes(1024),
                                      capture_output=True).returncode
        finally:
            docker("rm", "-f", name)

    def get(self, group, side):
        with self.lock:
            key = (group, side)
            if key not in self.made:
                self.made[key] = self.make(group, side)
            return self.made[key]

    def make(self, group, side):
        options, state = self.GROUPS[group]
        name, base = f"{self.tag}-{group}-{side}", f"{self.tmp}/bind-{group}-{side}"
        for d in ("rw", "ro"):
            os.makedirs(f"{base}/{d}")
        docker("create", "--name", name, "--network", "none", *[o.replace("{B}", base) for o in options], IMAGE,
               "/bin/busybox", "sleep", "3600")
        if state in ("start", "pause"):
            docker("start", name)
        if state == "stop":
            docker("start", name)
            docker("kill", name)
        if state == "pause":
            docker("pause", name)
        if state in ("create", "stop"):
            root = docker("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", name)
            if not os.path.isdir(root):
                raise SystemExit("conformance: the stopped groups need the overlay2 storage driver")
        else:
            root = f"/proc/{docker('inspect', '-f', '{{.State.Pid}}', name)}/root"
        return name, root

    def close(self):
        if self.made:
            subprocess.run(["docker", "rm", "-fv", *[n for n, _ in self.made.values()]], capture_output=True)
        subprocess.run(["docker", "rmi", "-f", IMAGE], capture_output=True)


# ------------------------------------------------------------------ one case
def run_side(engine, tmp, command, c, side, number):
    """Build, run, look. Returns (exit status, tree before, tree after, tar, stderr)."""
    name, root = engine.get(c.group, side)
    work = f"{c.at}/{number}/in"
    sub = {"H": f"{tmp}/{side}/{number}/in", "W": work, "C": name}
    host, ctr = sub["H"], root + work
    if c.at == "/bindro":                      # read-only from inside: build it from outside
        ctr = f"{tmp}/bind-{c.group}-{side}/ro/{number}/in"
    elif c.group == "readonly" and c.at == "/w":
        ctr = None                             # nothing can be built there; the host side is compared
    os.makedirs(host)
    build(host, c.host, sub)
    if ctr:
        os.makedirs(ctr)
        build(ctr, c.ctr, sub)
    stdin = c.stdin if isinstance(c.stdin, bytes) else pack(c.stdin, c.pack, sub) if c.stdin is not None else b""
    started = time.time()

    def look():
        both = {"host": snapshot(os.path.dirname(host), started, sub)}
        if ctr:
            both["ctr"] = snapshot(os.path.dirname(ctr), started, sub)
        return {f"{s}:{p}": facts for s, tree in both.items() for p, facts in tree.items()}

    before = look()
    args = [fill(a, sub) for a in c.args]
    if side == "r" and not engine.cleans:
        args = [cleaned(a, name) for a in args]
    p = subprocess.Popen([*command, *args], cwd=host, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, start_new_session=True, umask=c.umask)
    try:
        out, err = p.communicate(stdin, timeout=TIMEOUT)
        status = p.returncode
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
        out, err = p.communicate()
        status = "timeout"
    text = err.decode(errors="replace").strip()
    for key in ("H", "W", "C"):
        text = text.replace(sub[key], "{%s}" % key)
    return status, before, look(), tar_entries(out, started) if c.tar_out else None, text


def cleaned(argument, name):
    """A container's path without `..`, its end kept; any other argument as it is."""
    before, path = argument[:len(name) + 1], argument[len(name) + 1:]
    if before != name + ":" or ".." not in path.split("/"):
        return argument
    last = path.rstrip("/")
    end = "/." if last.endswith("/.") else "/" if last != path else ""
    return before + os.path.normpath("/" + path.lstrip("/")) + end


def differences(a, b, prefix=""):
    """What differs between two trees, as short texts: reference value, candidate value."""
    for path in sorted(a.keys() | b.keys()):
        if path not in b:
            yield f"{path}: missing (reference has {a[path]['type']})"
        elif path not in a:
            yield f"{path}: {b[path]['type']} not made by the reference"
        else:
            for key in sorted(a[path].keys() | b[path].keys()):
                x, y = a[path].get(key), b[path].get(key)
                if x != y:
                    yield f"{path}: {key} {x} but {y}"


def compare(ref, cand):
    """A list of differences; empty when equal."""
    (rs, _, rt, rtar, _), (cs, cb, ct, ctar, _) = ref, cand
    if (rs == 0) != (cs == 0) or "timeout" in (rs, cs):
        return [f"exit {rs} but {cs}"]
    if rs != 0 and ct == cb:
        return []                              # failed and left all as it was
    out = list(differences(rt, ct))
    if rs == 0 and rtar != ctar:
        both = isinstance(rtar, list) and isinstance(ctar, list)
        gone = [e for e in rtar if e not in ctar] if both else rtar
        more = [e for e in ctar if e not in rtar] if both else ctar
        out.append(f"tar: {gone} but {more}")
    return out


# ------------------------------------------------------------------ where we promise more
def arrived(side, *paths):
    """A check of our own result: it succeeded, and besides what was there before, just `paths` are new."""
    def check(cand):
        status, before, after, _, said = cand
        if status:
            return [f"exit {status}, should be 0: {said[:200]!r}"]
        new = {p for p in after if p not in before}
        out = [f"{p}: missing" for p in sorted({f"{side}:in/{p}" for p in paths} - new)]
        extra = {p for p in new if not any(p == f"{side}:in/{w}" or p.startswith(f"{side}:in/{w}/") for w in paths)}
        out += [f"{p}: not asked for" for p in sorted(extra)]
        for p in sorted(set(before) & set(after)):
            ignored = ("mtime",) if before[p]["type"] == "dir" else ()
            if any(before[p].get(k) != after[p].get(k) for k in (before[p].keys() | after[p].keys()) - set(ignored)):
                out.append(f"{p}: changed")
        return out + [f"{p}: gone" for p in sorted(set(before) - set(after))]
    return check


def same_as(side, copy, original):
    """A check of our own result: `copy` is new and equal to `original`."""
    def check(cand):
        out = arrived(side, copy)(cand)
        after = cand[2]
        one, two = after.get(f"{side}:in/{original}"), after.get(f"{side}:in/{copy}")
        return out or ([f"{copy}: {two}, should be {one}"] if one != two else [])
    return check


# name -> (why our result may differ from docker cp's, check of our result)
BETTER = {
    "path/two-containers": ("copies from container to container work", same_as("ctr", "g", "f")),
    "path/glob-not-expanded": ("patterns are expanded in the container",
                               arrived("host", "f", "d", "lf", "ld", "lx", "lla")),
}


def quiet_is_known(reference):
    """Docker clients before 23.0 have no `docker cp -q`; ours has it whatever client is installed."""
    return b"--quiet" in subprocess.run([*reference, "--help"], capture_output=True).stdout


def show(c, ref):
    status, before, after, tar, err = ref
    print(f"## {c.name}: {' '.join(c.args)}\n   exit {status}" + (f" | {err}" if err else ""))
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            f = after.get(path)
            print("   ", path, "gone" if f is None else " ".join(f"{k}={v}" for k, v in f.items() if v != {}))
    if tar is not None:
        for e in tar if isinstance(tar, list) else [tar]:
            print("    tar", e)


# ------------------------------------------------------------------ the table
NOTEBOOK = "教程-研究功能介绍.ipynb"
LATIN1 = os.fsdecode(b"caf\xe9-\xff.txt")       # not UTF-8

# What the matrices copy ({X} is the side it is built on) and what they copy onto.
SOURCE = (
    F("f", "file\n", 0o640, 1000, 1001),
    D("d", 0o750, 1000, 1001), F("d/a", "A", 0o600, 7, 8), F("d/sub/b", "B"), D("d/empty", 0o711),
    L("d/ln", "a", 5, 6), L("d/abs", "/etc/passwd"), L("d/dang", "nowhere"), F("d/h1", "H"), H("d/h2", "d/h1"),
    L("lf", "f"), L("ld", "d"), L("lx", "nope"), L("lla", "lf"),
)
TARGET = (
    F("of", "old\n", 0o600, 33, 34), D("od", 0o700, 33, 34), F("od/keep", "K"),
    D("od2"), F("od2/f", "old f"), D("od2/d", 0o700), F("od2/d/a", "old a"), F("od2/d/keep", "K"),
    D("od3/f"), F("od3/d", "a file named d"),
    L("lof", "of"), L("lod", "od"), L("lox", "made"), L("lup", "no/such"), L("llof", "lof"),
)


def matrix(direction, options, sources, targets, prefix=""):
    """One case for each source and target; `direction` is `to` (host to container) or `from`."""
    for s in sources.split():
        for t in targets.split():
            name = f"{prefix}{direction}{''.join(options)}/{s}=>{t}"
            if direction == "to":
                case(name, *options, s, "{C}:{W}/" + t, host=SOURCE, ctr=TARGET)
            else:
                case(name, *options, "{C}:{W}/" + s, t, ctr=SOURCE, host=TARGET)


matrix("to", (), "f d d/. lf", "new new/ of od od/ od2 od3 lof lod lox")
matrix("to", (), "ld ld/ no", "new od of")
matrix("from", (), "f d d/. lf", "new new/ of od od/ od2 od3 lof lod lox")
matrix("from", (), "ld ld/ no", "new od of")
matrix("to", ("-L",), "lf ld lx lla", "new od of")
matrix("from", ("-L",), "lf ld lx lla", "new od of")
matrix("to", ("-a",), "f d", "new od")
matrix("from", ("-a",), "f d", "new od")
matrix("to", (), "f d d/.", "of/ od/. lod/ llof no/such lup new/.")
matrix("to", (), "ld/", "od2 od3 lod lox")
matrix("from", (), "ld/", "od2 od3 lod lox")
matrix("from", (), "f/ d/ ld/. lx", "new od of")
matrix("from", (), "f d d/. lf lx", "-", "tar/")

# Paths: relative to the container's root, dots, spaces, colons, no such container.
case("path/no-slash", "f", "{C}:w/../{W}/new", host=SOURCE)
case("path/dotdot", "./sub/../f", "{C}:{W}/x/../new", host=(*SOURCE, D("sub")), ctr=(D("x"),))
case("path/dotdot-of-nothing", "d", "{C}:{W}/x/../od", host=SOURCE, ctr=TARGET)
case("path/dotdot-of-nothing-from", "{C}:{W}/x/../d", "new", ctr=SOURCE)
case("path/cwd-to", ".", "{C}:{W}/od", host=SOURCE, ctr=TARGET)
case("path/cwd-from", "{C}:{W}/d", ".", ctr=SOURCE, host=TARGET)
case("path/cwd-from-file", "{C}:{W}/f", "./", ctr=SOURCE)
case("path/cwd-from-dot", "{C}:{W}/d/.", ".", ctr=SOURCE, host=TARGET)
case("path/colon-bare", "a:b", "{C}:{W}/new", host=[F("a:b")])
case("path/colon-dot", "./a:b", "{C}:{W}/new", host=[F("a:b")])
case("path/colon-abs", "{H}/a:b", "{C}:{W}/", host=[F("a:b")])
case("path/colon-in-container", "{C}:{W}/a:b", ".", ctr=[F("a:b")])
case("path/colon-dest", "{C}:{W}/a:b", "./c:d", ctr=[F("a:b")])
case("path/space", "a b", "{C}:{W}/c d", host=[F("a b")])
case("path/option-like", "--", "-f", "{C}:{W}/", host=[F("-f")])
case("path/option-last", "f", "{C}:{W}/new", "-q", host=SOURCE)
case("path/glob-not-expanded", "{C}:{W}/*", ".", ctr=SOURCE)
case("path/dot-slash-to", "d/./", "{C}:{W}/od/./", host=SOURCE, ctr=TARGET)
case("path/dot-slash-from", "{C}:{W}/d/.//", "od", ctr=SOURCE, host=TARGET)
case("path/dot-slash-new", "d", "{C}:{W}/new/./", host=SOURCE)
case("path/dot-slash-new-from", "{C}:{W}/d", "new/./", ctr=SOURCE)
case("path/windows", "{C}:{W}/f", "C\\x", ctr=SOURCE)
case("path/two-containers", "{C}:{W}/f", "{C}:{W}/g", ctr=SOURCE)
case("path/two-locals", "f", "g", host=SOURCE)
case("path/no-container", "conf-no-such:/f", ".", host=SOURCE)
case("path/no-container-to", "f", "conf-no-such:/", host=SOURCE)
case("path/one-argument", "{C}:{W}/f", ctr=SOURCE)
case("path/unknown-option", "-z", "{C}:{W}/f", ".", ctr=SOURCE)
case("path/parent-missing-to", "f", "{C}:{W}/no/such/new", host=SOURCE)
case("path/parent-missing-from", "{C}:{W}/f", "no/such/new", ctr=SOURCE)
case("path/file-as-dir-to", "f", "{C}:{W}/of/x", host=SOURCE, ctr=TARGET)
case("path/file-as-dir-from", "{C}:{W}/f/x", "new", ctr=SOURCE)

# Names.
case("name/notebook-from", "{C}:{W}/" + NOTEBOOK, ".", ctr=[F(NOTEBOOK, '{"cells": []}')])
case("name/notebook-to", NOTEBOOK, "{C}:{W}/", host=[F(NOTEBOOK, '{"cells": []}')])
case("name/unicode-tree", "{C}:{W}/数据", "副本", ctr=[F("数据/😀/é"), F("数据/e\u0301"), L("数据/链", "😀/é")])
case("name/latin1-to", "t", "{C}:{W}/", host=[F("t/" + LATIN1)])
case("name/newline-to", "t", "{C}:{W}/", host=[F("t/a\nb"), F("t/ tab\t "), F("t/back\\slash"), F("t/*?[x]")])
case("name/255-to", "x" * 255, "{C}:{W}/", host=[F("x" * 255)])
case("name/deep-from", "{C}:{W}/t", ".", ctr=[F("t/" + "/".join(["directory-%02d" % i for i in range(40)]) + "/f")])
case("name/long-link-to", "t", "{C}:{W}/", host=[L("t/l", "x" * 300)])
case("name/rename-long-to", "t", "{C}:{W}/" + "y" * 200, host=[F("t/" + "x" * 150)])
case("name/whiteout-to", "t", "{C}:{W}/", host=[F("t/.wh.gone"), F("t/.wh..wh..opq")])
case("name/rebase-twice", "d", "{C}:{W}/new", host=[F("d/d/d"), F("d/add")])
case("name/hardlink-rebase", "d", "{C}:{W}/new", host=[F("d/d1"), H("d/d2", "d/d1")])

# Metadata.
case("meta/setuid-to", "t", "{C}:{W}/", host=[F("t/u", mode=0o4755), F("t/g", mode=0o2755), D("t/s", 0o1777)])
case("meta/setuid-from", "{C}:{W}/t", ".", ctr=[F("t/u", mode=0o4755, uid=9), D("t/s", 0o3777, 9, 9)])
case("meta/mode-000-from", "{C}:{W}/t", ".", ctr=[F("t/f", mode=0), D("t/d", 0), D("t/r", 0o555), F("t/r/x", mode=0o444)])
case("meta/umask-from", "{C}:{W}/f", "new", ctr=[F("f", mode=0o666)], umask=0o077)
case("meta/mtime-fraction-from", "{C}:{W}/f", "new", ctr=[F("f", mtime=1234567890.987)])
case("meta/mtime-fraction-to", "f", "{C}:{W}/new", host=[F("f", mtime=1234567890.987)])
case("meta/mtime-before-1970-to", "f", "{C}:{W}/new", host=[F("f", mtime=-1000)])
case("meta/mtime-future-from", "{C}:{W}/f", "new", ctr=[F("f", mtime=4_000_000_000)])
case("meta/dir-mtime-from", "{C}:{W}/t/.", "od", ctr=[D("t", 0o711, mtime=5), D("t/x", mtime=6)], host=[D("od", 0o700)])
case("meta/big-ids-to", "f", "{C}:{W}/new", host=[F("f", uid=3_000_000, gid=4_000_000)])
case("meta/hardlinks-from", "{C}:{W}/t", ".", ctr=[F("t/a"), H("t/b", "t/a"), D("t/s"), H("t/s/c", "t/a")])
case("meta/hardlink-outside-to", "t", "{C}:{W}/", host=[F("x"), D("t"), H("t/a", "x")])
case("meta/hardlink-dest-broken", "f", "{C}:{W}/a", host=SOURCE, ctr=[F("a", "old"), H("b", "a")])
case("meta/hardlink-dest-broken-from", "{C}:{W}/f", "a", ctr=SOURCE, host=[F("a", "old"), H("b", "a")])
case("meta/fifo-to", "t", "{C}:{W}/", host=[P("t/p", 0o600, 3, 4)])
case("meta/fifo-from", "{C}:{W}/t", ".", ctr=[P("t/p", 0o600, 3, 4)])
case("meta/device-from", "{C}:{W}/t", ".", ctr=[D("t"), C("t/null")])
case("meta/socket-to", "t", "{C}:{W}/", host=[D("t"), S("t/s"), F("t/f")])
case("meta/device-dest", "{C}:{W}/f", "/dev/null", ctr=SOURCE)
case("meta/fifo-dest-from", "{C}:{W}/f", "p", ctr=SOURCE, host=[P("p")])
case("meta/xattr-user-to", "f", "{C}:{W}/new", host=[F("f", xattr=[("user.k", b"v")])])
case("meta/capability-to", "f", "{C}:{W}/new", host=[
    F("f", xattr=[("security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))])])
case("meta/empty-file-from", "{C}:{W}/f", "new", ctr=[F("f", b"")])
case("meta/empty-dir-to", "t", "{C}:{W}/new", host=[D("t", 0o500, 4, 5)])
case("meta/binary-3MiB-to", "f", "{C}:{W}/new", host=[F("f", bytes(range(256)) * 12288)])
case("meta/binary-3MiB-from", "{C}:{W}/f", "new", ctr=[F("f", bytes(range(255)) * 12340)])

# Symlinks.
case("link/parent-to", "lp/f", "{C}:{W}/lq/new", host=[F("r/f"), L("lp", "r")], ctr=[D("q"), L("lq", "q")])
case("link/parent-from", "{C}:{W}/lp/f", "lq/new", ctr=[F("r/f"), L("lp", "r")], host=[D("q"), L("lq", "q")])
case("link/absolute-in-root", "{C}:{W}/la/f", "new", ctr=[F("r/f", "in the container"), L("la", "{W}/r")])
case("link/absolute-dest", "f", "{C}:{W}/la", host=SOURCE, ctr=[F("r/old"), L("la", "{W}/r")])
case("link/absolute-file-dest", "f", "{C}:{W}/la", host=SOURCE, ctr=[F("old"), L("la", "{W}/old")])
case("link/absolute-dangling-dest", "f", "{C}:{W}/la", host=SOURCE, ctr=[L("la", "{W}/made")])
case("link/escape-scoped", "{C}:{W}/e{W}/f", "new", ctr=[F("f", "scoped"), L("e", "/../../../..")])
case("link/escape-host-file", "f", "{C}:{W}/e/of", host=SOURCE, ctr=[L("e", "/../../../../{W}"), F("of", "old")])
case("link/dangling-dest-slash", "d", "{C}:{W}/lox/", host=SOURCE, ctr=TARGET)
case("link/dangling-dest-slash-from", "{C}:{W}/d", "lox/", ctr=SOURCE, host=TARGET)
case("link/loop-dest", "f", "{C}:{W}/l", host=SOURCE, ctr=[L("l", "l")])
case("link/loop-source", "-L", "l", "{C}:{W}/new", host=[L("l", "l")])
case("link/inside-kept-L", "-L", "t", "{C}:{W}/", host=[F("t/f"), L("t/l", "f")])
case("link/replaced-inside-dir", "{C}:{W}/t/.", "od", ctr=[F("t/x", "new")], host=[F("other"), D("od"), L("od/x", "../other")])
case("link/dir-onto-link-inside", "{C}:{W}/t", "od", ctr=[F("t/x")], host=[D("real"), D("od"), L("od/t", "../real")])
case("link/host-abs", "{H}/la/f", "{C}:{W}/new", host=[F("r/f"), L("la", "{H}/r")])
case("link/host-abs-dest", "{C}:{W}/f", "la", ctr=SOURCE, host=[F("r/x"), L("la", "{H}/r")])

# A tar on stdin.
PAYLOAD = [D("t", 0o750, 11, 12), F("t/f", "in tar", 0o640, 13, 14), L("t/l", "f"), H("t/h", "t/f")]
case("stdin/dir", "-", "{C}:{W}/od", ctr=TARGET, stdin=PAYLOAD)
case("stdin/archive-mode", "-a", "-", "{C}:{W}", stdin=PAYLOAD)
case("stdin/link-to-dir", "-", "{C}:{W}/lod", ctr=TARGET, stdin=PAYLOAD)
case("stdin/missing", "-", "{C}:{W}/no", stdin=PAYLOAD)
case("stdin/file-dest", "-", "{C}:{W}/of", ctr=TARGET, stdin=PAYLOAD)
case("stdin/gzip", "-", "{C}:{W}", stdin=PAYLOAD, pack="w:gz")
case("stdin/bzip2", "-", "{C}:{W}", stdin=PAYLOAD, pack="w:bz2")
case("stdin/empty", "-", "{C}:{W}", stdin=b"")
case("stdin/garbage", "-", "{C}:{W}", stdin=b"this is no tar\n" * 100)
case("stdin/back-in-dir", "-", "{C}:{W}", stdin=[D("t"), D("t/u"), F("x"), F("t/u/f"), D("v"), F("t/g")])
case("stdin/dotdot", "-", "{C}:{W}/od", ctr=TARGET, stdin=[F("../../escaped"), F("after")])
case("stdin/absolute", "-", "{C}:{W}/od", ctr=TARGET, stdin=[F("/x/abs")])
case("stdin/link-that-leads-out", "-", "{C}:{W}/od", ctr=TARGET, stdin=[L("e", "../../.."), F("z")])
case("link/leads-out", "t", "{C}:{W}/od", ctr=TARGET, host=[D("t"), L("t/e", "../../../x"), F("t/z")])
case("stdin/through-new-link", "-", "{C}:{W}/od", ctr=TARGET, stdin=[L("e", "../../.."), F("e/escaped")])
case("stdin/no-parents", "-", "{C}:{W}", stdin=[F("p/q/r", uid=9, gid=9)])
case("stdin/file-over-dir", "-", "{C}:{W}/od3", ctr=TARGET, stdin=[F("f", "not a directory")])
case("stdin/dir-over-file", "-", "{C}:{W}/od3", ctr=TARGET, stdin=[D("d"), F("d/x")])
case("stdin/devices", "-", "{C}:{W}", stdin=[C("n"), P("p")])
case("stdin/two-dashes", "-", "-")

# States and mounts of the container.
for group in ("stopped", "created", "paused"):
    case(f"state/{group}-to", "d", "{C}:{W}/", host=SOURCE, group=group)
    case(f"state/{group}-from", "{C}:{W}/d", ".", ctr=SOURCE, group=group)
case("user/default-to", "d", "{C}:{W}/", host=SOURCE, group="user")
case("mount/bind-to", "d", "{C}:{W}/", host=SOURCE, group="mounts", at="/bind")
case("mount/bind-from", "{C}:{W}/d", ".", ctr=SOURCE, group="mounts", at="/bind")
case("mount/bind-readonly-to", "f", "{C}:{W}/", host=SOURCE, group="mounts", at="/bindro")
case("mount/bind-readonly-from", "{C}:{W}/d", ".", ctr=SOURCE, group="mounts", at="/bindro")
case("mount/volume-to", "d/.", "{C}:{W}/od", host=SOURCE, ctr=TARGET, group="mounts", at="/vol")
case("mount/volume-from", "{C}:{W}/d", "-", ctr=SOURCE, group="mounts", at="/vol")
case("mount/across-link", "f", "{C}:{W}/lv", host=SOURCE, ctr=[L("lv", "/vol")], group="mounts")
case("readonly/rootfs-to", "f", "{C}:/w/new", host=SOURCE, group="readonly")
case("readonly/volume-to", "f", "{C}:{W}/new", host=SOURCE, group="readonly", at="/vol")
case("readonly/from", "{C}:/etc/passwd", ".", host=TARGET, group="readonly")

# What the engine shows of special files.
case("special/proc-from", "{C}:/proc/version", ".", ctr=())
case("special/proc-host-dest", "{C}:{W}/f", "/proc/conf-new", ctr=SOURCE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="PATTERN", help="cases whose name contains PATTERN (or matches the glob)")
    parser.add_argument("--shard", metavar="I/N", help="of the chosen cases every Nth, from the Ith (1 to N)")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--held-out", action="store_true", help="add the held-out cases (heldout.py), named held/…")
    parser.add_argument("--random", type=int, metavar="N", help="N random cases instead (random_cases.py)")
    parser.add_argument("--seed", default="1", help="of the random cases")
    parser.add_argument("--show", action="store_true", help="only run the reference and print what it did")
    parser.add_argument("--jobs", type=int, default=3, help="cases at a time")
    o = parser.parse_args()
    sys.modules["conformance"] = sys.modules[__name__]
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    if o.random:
        import random_cases
        CASES[:] = random_cases.draw(o.random, o.seed)
    if o.held_out:
        try:
            import heldout  # noqa: F401  (it adds its cases to CASES)
        except ImportError as e:
            print(f"conformance: no held-out table here ({e})", file=sys.stderr)
            return 2
    names = [c.name for c in CASES]
    doubles = {n for n in names if names.count(n) > 1}
    if doubles:
        print(f"conformance: two cases named {sorted(doubles)}", file=sys.stderr)
        return 2
    chosen = [c for c in CASES if not o.only or o.only in c.name or fnmatch.fnmatch(c.name, o.only)]
    without = os.environ.get("CONFORMANCE_WITHOUT", "").split(",")
    chosen = [c for c in chosen if c.group not in without]
    if o.shard:
        first, every = map(int, o.shard.split("/"))
        chosen = chosen[first - 1::every]
    if o.list:
        for c in chosen:
            print(f"{c.name:44} [{c.group}] {' '.join(c.args)}".encode("utf-8", "replace").decode())
        print(len(chosen), "cases")
        return 0
    if not chosen:
        print("conformance: no such case", file=sys.stderr)
        return 2
    if os.geteuid():
        print("conformance: needs root (it reads the containers' trees from outside)", file=sys.stderr)
        return 2
    reference = shlex.split(os.environ.get("REFERENCE", "docker cp"))
    candidate = shlex.split(os.environ.get("CANDIDATE", "dcp"))
    if not o.show and not shutil.which(candidate[0]):
        print(f"conformance: no command {candidate[0]!r}; set CANDIDATE", file=sys.stderr)
        return 2
    better = dict(BETTER)
    if not o.show and not quiet_is_known(reference):
        better["path/option-last"] = ("this docker client has no -q", arrived("ctr", "new"))
    tmp = tempfile.mkdtemp(prefix="conf-")
    os.chmod(tmp, 0o755)
    engine = Engine(tmp)
    equal = 0

    def one(pair):
        number, c = pair
        ref = run_side(engine, tmp, reference, c, "r", number)
        return c, ref, ref if o.show else run_side(engine, tmp, candidate, c, "c", number)

    try:
        with ThreadPoolExecutor(o.jobs) as pool:
            for c, ref, cand in pool.map(one, enumerate(chosen, 100)):
                if o.show:
                    show(c, ref)
                    continue
                if c.name in better:
                    reason, check = better[c.name]
                    diff = [f"should be better ({reason}): {d}" for d in check(cand)]
                    if not diff:
                        print(f"better  {c.name}: {reason}", flush=True)
                else:
                    diff = compare(ref, cand)
                equal += not diff
                if diff:
                    print(f"DIFFERS {c.name}: {' '.join(c.args)}: {'; '.join(diff[:4])}"
                          + (f"; … {len(diff)} in all" if len(diff) > 4 else "")
                          + f" | reference says {ref[4][:160]!r}, candidate {cand[4][:160]!r}", flush=True)
    finally:
        engine.close()
        shutil.rmtree(tmp, ignore_errors=True)
    if not o.show:
        print(f"{equal}/{len(chosen)} cases equal")
    return 0 if o.show or equal == len(chosen) else 1


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
