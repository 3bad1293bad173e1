"""Run as a process of its own: swap two names with renameat2(EXCHANGE), again and again.

    swapper.py UID DIRECTORY NAME OTHER COUNTER STOP

Gives up its rights for those of UID first. Writes the number of swaps to COUNTER from time to time,
ends when STOP is there or who started it is gone.
"""

import ctypes
import os
import sys


def main() -> None:
    uid, directory, name, other, counter, stop = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    count = os.open(counter, os.O_WRONLY | os.O_CREAT, 0o644)
    if int(uid) != os.geteuid():
        os.setgroups([])
        os.setgid(int(uid))
        os.setuid(int(uid))
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    swaps, parent = 0, os.getppid()
    while os.getppid() == parent and not os.path.exists(stop):
        for _ in range(100):
            if libc.renameat2(fd, name.encode(), fd, other.encode(), 2) == 0:
                swaps += 1
        os.pwrite(count, b"%020d" % swaps, 0)


main()
