#!/usr/bin/env python3
"""Measure `dcp` against `docker cp` and write down what came of it: tables, and a plot of the growth.

    report.py --candidate "dcp" [--quick | --short] [--rounds N] [--scale F] [--only PARTS] [--dry]

`bench.py` does the measuring, for both ways in the same rounds (`--access api`, and `auto`: direct
where that can be proven); growth is the same for rising counts and sizes; `doors.py` measures `%dcp`
in a kernel that runs, a server over a kept connection, many containers and plain tcp. The tables go
between the markers of README.md and docs/performance.md, the plot to docs/images/growth-light.svg and
growth-dark.svg. PARTS: table, floor, growth, process, many, tcp, newer. With --dry nothing is written; every
part is written as soon as it is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import doors  # noqa: E402

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ROWS = {
    "big": "one large file",
    "small": "many files of 4 KiB",
    "tree": "mixed tree",
    "folder": "folder of 5 MB",
    "listing": "1,000 entries",
    "notebook": "notebook of 50 KB",
    "again": "the same again, `--update`",
}
LIGHT = {"back": "#ffffff", "text": "#24292f", "line": "#d0d7de", "api": "#0969da", "direct": "#1a7f37", "one": "#57606a"}
DARK = {"back": "#0d1117", "text": "#e6edf3", "line": "#30363d", "api": "#58a6ff", "direct": "#3fb950", "one": "#8b949e"}


Rows = dict[str, dict]


def measured(candidate: str, also: str, workloads: str, rounds: int, scale: float, *, cold: bool = False) -> tuple[Rows, Rows]:
    """One run of bench.py for two candidates: by workload and direction, ratios and costs of each."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out.json")
        argv = [sys.executable, str(HERE / "bench.py"), "--candidate", candidate, "--workloads", workloads]
        argv += ["--rounds", str(rounds), "--scale", str(scale), "--json", out, "--rest", "2"]
        argv += ["--also", also, "--again=--update", *(["--cold"] if cold else [])]
        done = subprocess.run(argv, check=False)
        if done.returncode or not os.path.exists(out):
            sys.exit(f"bench.py failed: {shlex.join(argv)}")
        rows = json.loads(Path(out).read_text())
    found: tuple[Rows, Rows] = ({}, {})
    for row in rows:
        ref = row["docker_cp"]
        for into, ours in zip(found, (row["candidate"], row["also"])):
            into[row["workload"]] = {
                "pair": statistics.median(b[0] / a[0] for a, b in zip(ref, ours)),
                "min": min(b[0] for b in ours) / min(a[0] for a in ref),
                "seconds": statistics.median(a[0] for a in ref),
                "cpu": [min(a[1] for a in ref), min(b[1] for b in ours)],
                "rss": [max(a[2] for a in ref), max(b[2] for b in ours)],
            }
    return found


def table(api: dict[str, dict], auto: dict[str, dict]) -> str:
    lines = [
        "| ratio to `docker cp`, median (of minima) | API, pull | API, push | direct, pull | direct, push |",
        "| --- | --- | --- | --- | --- |",
    ]

    def cell(rows: dict[str, dict], key: str) -> str:
        row = rows.get(key)
        return f"{row['pair']:.2f} ({row['min']:.2f})" if row else ""

    for key, words in ROWS.items():
        if f"{key}-pull" in api:
            cells = [cell(rows, f"{key}-{way}") for rows in (api, auto) for way in ("pull", "push")]
            lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def costs(api: dict[str, dict], auto: dict[str, dict]) -> str:
    lines = [
        "| CPU s of the command, and its peak memory in MB | `docker cp` | `dcp`, API | `dcp`, direct |",
        "| --- | --- | --- | --- |",
    ]
    for key, row in api.items():
        other = auto[key]
        lines.append(
            f"| {key} | {row['cpu'][0]:.2f}, {row['rss'][0]:.0f} | {row['cpu'][1]:.2f}, {row['rss'][1]:.0f}"
            f" | {other['cpu'][1]:.2f}, {other['rss'][1]:.0f} |"
        )
    return "\n".join(lines)


def plot(growth: dict[str, list], colours: dict[str, str]) -> str:
    """Four small charts: ratio over count and over size, pull and push."""
    width, height, left, top = 330, 190, 46, 34
    parts = []
    charts = [(f"{way} of {kind}", growth[f"{key}-{way}"]) for key, kind in (("small", "files of 4 KiB"), ("big", "one file")) for way in ("pull", "push")]
    for at, (title, points) in enumerate(charts):
        x0, y0 = (at % 2) * (width + 60) + left, (at // 2) * (height + 86) + top
        tallest = max(1.25, *(max(p[1], p[2]) for p in points)) * 1.05
        step = width / max(1, len(points) - 1)

        def y(value: float, tallest: float = tallest, y0: float = y0) -> float:
            return y0 + height - value / tallest * height

        parts.append(f'<text x="{x0}" y="{y0 - 10}" font-weight="600">{title}</text>')
        for value in (0, 0.25, 0.5, 0.75, 1.0) if tallest < 1.6 else range(int(tallest) + 1):
            mark = "one" if value == 1 else "line"
            parts.append(f'<line x1="{x0}" x2="{x0 + width}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="{colours[mark]}"/>')
            parts.append(f'<text x="{x0 - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
        for number, (label, *_rest) in enumerate(points):
            parts.append(f'<text x="{x0 + number * step:.1f}" y="{y0 + height + 18}" text-anchor="middle">{label}</text>')
        for column, name in ((1, "api"), (2, "direct")):
            line = " ".join(f"{x0 + number * step:.1f},{y(point[column]):.1f}" for number, point in enumerate(points))
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colours[name]}" stroke-width="2.5"/>')
            parts += [f'<circle cx="{x0 + n * step:.1f}" cy="{y(p[column]):.1f}" r="3.5" fill="{colours[name]}"/>' for n, p in enumerate(points)]
    w, h = 2 * (width + 60) + 20, 2 * (height + 86) + 20
    legend = (
        f'<text x="{left}" y="{h - 12}"><tspan fill="{colours["one"]}">1 = docker cp</tspan>'
        f'<tspan dx="18" fill="{colours["api"]}">● dcp through the API</tspan>'
        f'<tspan dx="18" fill="{colours["direct"]}">● dcp directly, as root on the host</tspan></text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" font-family="system-ui, sans-serif" font-size="13"'
        f' fill="{colours["text"]}" role="img" aria-label="Time of dcp over that of docker cp, by count and by size">'
        f'<rect width="{w}" height="{h}" fill="{colours["back"]}"/>{"".join(parts)}{legend}</svg>\n'
    )


def put(path: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- bench NAME -->` and `<!-- end -->`."""
    old = path.read_text()
    new, count = re.subn(
        rf"(<!-- bench {name} -->\n).*?(<!-- end -->)", lambda m: m[1] + text + "\n" + m[2], old, flags=re.S
    )
    if not count:
        print(f"no marker <!-- bench {name} --> in {path}", file=sys.stderr)
        return
    path.write_text(new)


def main() -> int:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--candidate", default="dcp", help="takes docker cp's arguments and --access")
    ap.add_argument("--quick", action="store_true", help="small and few: to see that it works")
    ap.add_argument("--short", action="store_true", help="everything but the largest and many rounds: about ten minutes")
    ap.add_argument("--rounds", type=int, default=7)
    ap.add_argument("--scale", type=float, default=0.25, help="1: 1 GiB, 20,000 files")
    ap.add_argument("--counts", default="1000,5000,20000,100000")
    ap.add_argument("--megabytes", default="10,100,1000,4000")
    ap.add_argument("--only", default="table,floor,process,many,tcp,growth,newer")
    ap.add_argument("--dry", action="store_true", help="print, do not write")
    o = ap.parse_args()
    if o.quick:
        o.rounds, o.scale, o.counts, o.megabytes = 1, 0.02, "200,500", "5,10"
    if o.short:
        o.rounds, o.counts, o.megabytes = 3, "1000,5000,20000", "10,100,1000"
    parts = o.only.split(",")
    api, auto = f"{o.candidate} --access api", f"{o.candidate} --access auto"
    engine = subprocess.run(["docker", "version", "-f", "{{.Server.Version}}, client {{.Client.Version}}"], check=True, capture_output=True, text=True).stdout.strip()
    load = os.getloadavg()[0]
    said = (
        f"Engine {engine}, Python {platform.python_version()}, Linux {'.'.join(platform.release().split('.')[:2])}, {os.cpu_count()} cores, load average"
        f" {load:.0f} at the start; {o.rounds} rounds (short copies four times as many), scale {o.scale:g} (1: 1 GiB, 20,000 files)."
    )
    began = time.monotonic()

    def write(name: str, text: str) -> None:
        print(f"\n{text}\n({time.monotonic() - began:.0f} s so far)", flush=True)
        if not o.dry:
            put(ROOT / "docs/performance.md", name, text)
            if name in ("table", "process", "many"):
                put(ROOT / "README.md", name, text)

    if "table" in parts:
        one, two = measured(api, auto, ",".join(ROWS), o.rounds, o.scale)
        write("table", f"{said}\n\n{table(one, two)}")
        write("costs", costs(one, two))
    if "floor" in parts:
        write("floor", doors.floors(o.rounds, o.scale))
    if "process" in parts:
        write("process", doors.process(3 if o.quick else 4 * o.rounds))
    if "many" in parts:
        write("many", doors.many(1 if o.quick else max(2, o.rounds // 2), 4 if o.quick else 30))
    if "tcp" in parts:
        write("tcp", doors.tcp(o.candidate, 1 if o.quick else 2, int(256 * min(1, 4 * o.scale))))
    if "growth" in parts:
        growth: dict[str, list] = {}
        rounds = max(1, o.rounds // 3)
        for key, values, whole, unit in (("small", o.counts, 20_000, ""), ("big", o.megabytes, 1024, " MB")):
            for value in values.split(","):
                one, two = measured(api, auto, key, rounds, int(value) / whole, cold=rounds < 2)
                label = f"{int(value):,}{unit}"
                for way in ("pull", "push"):
                    growth.setdefault(f"{key}-{way}", []).append([label, one[f"{key}-{way}"]["pair"], two[f"{key}-{way}"]["pair"]])
        head = "| | " + " | ".join(p[0] for p in growth["small-pull"] + growth["big-pull"]) + " |"
        lines = [head, "| --- " * (head.count("|") - 1) + "|"]
        for column, name in ((1, "API"), (2, "direct")):
            for way in ("pull", "push"):
                cells = [f"{p[column]:.2f}" for p in growth[f"small-{way}"] + growth[f"big-{way}"]]
                lines.append(f"| {name}, {way} | " + " | ".join(cells) + " |")
        if not o.dry:
            images = ROOT / "docs/images"
            images.mkdir(exist_ok=True)
            (images / "growth-light.svg").write_text(plot(growth, LIGHT))
            (images / "growth-dark.svg").write_text(plot(growth, DARK))
        write("growth", "\n".join(lines))
    if "newer" in parts:
        with doors.newer_engine() as version:
            if version:
                one, two = measured(api, auto, "small,folder,listing,notebook", max(1, o.rounds // 2), min(o.scale, 0.1))
                write("newer", f"Engine {version}, scale {min(o.scale, 0.1):g}:\n\n{table(one, two)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
