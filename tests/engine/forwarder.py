"""Stands for another machine: a socket before the engine's, served by a process with a root of its own.

    forwarder.py SOCKET ROOT NAME

It listens at SOCKET and calls itself NAME. With ROOT it lives below that directory, in which the
engine's socket is `/engine`. Run by `elsewhere` (tests/engine/ways.py), in namespaces of its own.
"""

import os
import socket
import sys
import threading


def carry(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def main(path: str, root: str, name: str) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    with open("/proc/self/comm", "w") as file:
        file.write(name)
    os.chroot(root)
    os.chdir("/")
    server.listen(64)
    while True:
        near, _ = server.accept()
        far = socket.socket(socket.AF_UNIX)
        far.connect("/engine")
        for pair in ((near, far), (far, near)):
            threading.Thread(target=carry, args=pair, daemon=True).start()


main(*sys.argv[1:])
