"""The fuzz targets over their kept corpus and some mutations of it, without a fuzzer."""

from __future__ import annotations

import os
import random

import pytest

from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.tar import END, padding
from jupyter_volcopy.core.tar_writer import encode_entry
from tests.fuzz.fuzz_tar import attempt, check, repair

CORPUS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "fuzz", "corpus")


def kept() -> list[str]:
    return sorted(name for name in os.listdir(CORPUS) if not name.startswith("."))


def load(name: str) -> bytes:
    with open(os.path.join(CORPUS, name), "rb") as file:
        return file.read()


def test_the_corpus_is_kept_small() -> None:
    assert 0 < len(kept()) < 60
    assert sum(os.path.getsize(os.path.join(CORPUS, name)) for name in kept()) < 200_000


@pytest.mark.parametrize("name", kept())
def test_kept(name: str) -> None:
    data = load(name)
    check(data)
    check(repair(data))


def mutations(seed: int, sources: list[bytes], count: int) -> list[bytes]:
    """`count` archives, each one of the sources with a few bytes, blocks or fields changed."""
    dice = random.Random(seed)
    fields = (0, 100, 108, 116, 124, 136, 148, 156, 157, 257, 265, 297, 329, 337, 345, 500)
    found = []
    for _ in range(count):
        data = bytearray(dice.choice(sources))
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(data))
            way = dice.randrange(6)
            if way == 0:
                data[at] = dice.randrange(256)
            elif way == 1:
                data[at] ^= 1 << dice.randrange(8)
            elif way == 2:
                at = at // 512 * 512 + dice.choice(fields)
                if at < len(data):
                    data[at] = dice.choice(b"\0 0179xgLKS57-+=\x80\xff")
            elif way == 3:
                del data[at // 512 * 512 : at // 512 * 512 + 512]
            elif way == 4:
                block = data[at // 512 * 512 :][:512]
                data[at // 512 * 512 : at // 512 * 512] = block
            else:
                del data[at:]
            if not data:
                data = bytearray(512)
        found.append(bytes(data))
    return found


def test_mutations() -> None:
    """2000 damaged archives: clean errors, or one meaning for every reader."""
    entries = [
        (Entry("src", Kind.DIRECTORY, 0o755), b""),
        (Entry("src/a", Kind.FILE, size=700, mtime_ns=1_500_000_000), b"a" * 700),
        (Entry("src/" + "ü" * 80, Kind.FILE, size=5, uid=1 << 30), b"hello"),
        (Entry("src/l", Kind.SYMLINK, link="t" * 150), b""),
        (Entry("src/\udcff", Kind.HARDLINK, link="src/a"), b""),
    ]
    ours = b"".join(encode_entry(e) + c + padding(len(c)) for e, c in entries) + END
    sources = [ours, ours, *map(load, kept())]
    for at, data in enumerate(mutations(7, sources, 2000)):
        check(repair(data) if at % 4 else data)


def test_noise() -> None:
    dice = random.Random(11)
    for _ in range(200):
        data = dice.randbytes(dice.randrange(3000))
        assert attempt(data, lenient=False) is None
        check(data)
