"""Spool: the writer never waits, the reader gets every byte once and in order."""

from __future__ import annotations

import hashlib
import os
import random
import threading

import pytest

from jupyter_volcopy.core.spool import Spool
from jupyter_volcopy.errors import CutStream, NoSpace, TransferCancelled
from tests.unit.local_setup import needs_root, no_descriptor_left, small_disk


def drain(spool: Spool, size: int = 100) -> bytes:
    buffer = memoryview(bytearray(size))
    out = bytearray()
    while count := spool.readinto(buffer):
        out += buffer[:count]
    return bytes(out)


def test_in_memory(tmp_path):
    spool = Spool(directory=str(tmp_path))
    spool.write(b"hello ")
    spool.write(bytearray(b"world"))
    spool.write(b"")
    spool.end()
    assert spool.waiting == 11
    assert drain(spool, 4) == b"hello world"
    assert spool.readinto(memoryview(bytearray(5))) == 0
    assert os.listdir(tmp_path) == []
    spool.close()


def test_the_writers_buffer_may_be_used_again(tmp_path):
    for memory in (0, 1000):
        spool = Spool(memory=memory, directory=str(tmp_path))
        buffer = bytearray(b"one")
        spool.write(buffer)
        buffer[:] = b"two"
        spool.write(buffer)
        spool.end()
        assert drain(spool) == b"onetwo"
        spool.close()


@pytest.mark.parametrize("seed", range(5))
def test_order_through_memory_and_disk(tmp_path, seed):
    chance = random.Random(seed)
    spool = Spool(memory=2000, directory=str(tmp_path))
    written, read = bytearray(), bytearray()
    for _ in range(2000):
        if chance.random() < 0.5:
            piece = chance.randbytes(chance.randrange(1, 900))
            spool.write(piece)
            written += piece
        elif spool.waiting:
            buffer = memoryview(bytearray(chance.randrange(1, 1500)))
            read += buffer[: spool.readinto(buffer)]
        assert spool.waiting == len(written) - len(read)
    spool.end()
    read += drain(spool)
    assert read == written
    assert os.listdir(tmp_path) == []
    spool.close()


def test_two_threads(tmp_path):
    spool = Spool(memory=100_000, directory=str(tmp_path))
    digest, total = hashlib.sha256(), 30_000_000

    def write():
        chance, left = random.Random(1), total
        while left:
            piece = chance.randbytes(min(left, chance.randrange(1, 200_000)))
            digest.update(piece)
            spool.write(piece)
            left -= len(piece)
        spool.end()

    thread = threading.Thread(target=write)
    thread.start()
    seen, count = hashlib.sha256(), 0
    buffer = memoryview(bytearray(1 << 16))
    while got := spool.readinto(buffer):
        seen.update(buffer[:got])
        count += got
    thread.join(60)
    assert count == total and seen.digest() == digest.digest()
    spool.close()


def test_disk_space_comes_back_when_the_reader_has_caught_up(tmp_path):
    spool = Spool(limit=3000, memory=0, directory=str(tmp_path))
    buffer = memoryview(bytearray(4000))
    for _ in range(50):
        spool.write(bytes(2500))
        assert spool.readinto(buffer) == 2500
    spool.close()


def test_limit(tmp_path):
    spool = Spool(limit=1000, memory=100, directory=str(tmp_path))
    spool.write(bytes(90))
    spool.write(bytes(900))
    with pytest.raises(NoSpace, match="no space left on device"):
        spool.write(bytes(20))
    spool.fail(NoSpace("full"))
    buffer = memoryview(bytearray(2000))
    assert spool.readinto(buffer) + spool.readinto(buffer) == 990
    with pytest.raises(NoSpace):
        spool.readinto(buffer)
    spool.close()


@needs_root
def test_disk_full(tmp_path):
    with small_disk(str(tmp_path / "disk")) as disk:
        spool = Spool(memory=0, directory=disk)
        with pytest.raises(NoSpace, match="no space left on device"):
            for _ in range(100):
                spool.write(bytes(100_000))
        spool.close()


def test_an_error_comes_after_what_came_before_it(tmp_path):
    spool = Spool(memory=2, directory=str(tmp_path))
    spool.write(b"ab")
    spool.write(b"cdef")
    spool.fail(CutStream("cut"))
    spool.fail(CutStream("later ones do not count"))
    buffer = memoryview(bytearray(10))
    assert spool.readinto(buffer) == 2
    assert spool.readinto(buffer) == 4
    with pytest.raises(CutStream, match=r"^cut$"):
        spool.readinto(buffer)
    with pytest.raises(CutStream):
        spool.write(b"more")
    spool.close()


def test_a_cancel_comes_at_once_also_to_who_waits(tmp_path):
    spool = Spool(directory=str(tmp_path))
    caught: list[BaseException] = []

    def read():
        try:
            spool.readinto(memoryview(bytearray(10)))
        except TransferCancelled as error:
            caught.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    spool.fail(TransferCancelled("cancelled"))
    thread.join(60)
    assert not thread.is_alive() and caught
    other = Spool(directory=str(tmp_path))
    other.write(b"waiting")
    other.end()
    other.fail(TransferCancelled("cancelled"))
    with pytest.raises(TransferCancelled):
        other.readinto(memoryview(bytearray(10)))
    spool.close()
    other.close()


def test_after_close(tmp_path):
    with no_descriptor_left():
        spool = Spool(memory=0, directory=str(tmp_path))
        spool.write(b"x")
        spool.close()
        spool.close()
        with pytest.raises(TransferCancelled):
            spool.write(b"y")
        with pytest.raises(TransferCancelled):
            spool.readinto(memoryview(bytearray(1)))
