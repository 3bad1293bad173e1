"""A real kernel with the extension loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Kernel:
    """A real kernel in a directory, with the extension loaded."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager, self.client = manager, client

    def run(self, code: str, timeout: float = 120) -> list[dict[str, Any]]:
        """Run a cell; what it put out, in nbformat's shape (updates included)."""
        outputs: list[dict[str, Any]] = []

        def hook(message: dict[str, Any]) -> None:
            if message["msg_type"] not in ("status", "execute_input"):
                outputs.append({"type": message["msg_type"], **message["content"]})

        self.client.execute_interactive(code, timeout=timeout, output_hook=hook)
        return outputs

    def complete(self, line: str) -> list[str]:
        """What the kernel offers at the end of a line: the whole lines."""
        reply = self.client.complete(line, len(line), reply=True, timeout=120)["content"]
        return [line[: reply["cursor_start"]] + match for match in reply["matches"]]


@contextmanager
def running_kernel(directory: Path, **env: str) -> Iterator[Kernel]:
    """A kernel that works in `work` of a directory.

    Args:
        directory: for what is its own.
        env: variables besides those of this process.
    """
    from jupyter_client.manager import KernelManager

    (directory / "work").mkdir()
    manager = KernelManager()
    manager.kernel_cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    own = {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(directory / "ipython")}
    manager.start_kernel(cwd=str(directory / "work"), env={**os.environ, **own, **env})
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        kernel = Kernel(manager, client)
        assert kernel.run("%load_ext jupyter_volcopy") == []
        yield kernel
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
