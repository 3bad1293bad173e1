"""Executes a notebook made of the arguments, one cell each, and prints cells and outputs.

    demo-notebook.py NOTEBOOK CELL [CELL...]

The executed notebook is saved as NOTEBOOK; its kernel runs in the working directory.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook
from traitlets.config import Config


def shown(output: nbformat.NotebookNode) -> str:
    """One output as a terminal would show it."""
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return str(output.data.get("text/plain", ""))


def main() -> int:
    """Make, execute, print, save."""
    target, cells = Path(sys.argv[1]), sys.argv[2:]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    # Sockets in the file system, not TCP ports: nobody else can listen.
    config = Config()
    config.KernelManager.transport = "ipc"
    config.KernelManager.ip = (
        f"{os.environ.get('JUPYTER_RUNTIME_DIR', tempfile.gettempdir())}/kernel"
    )
    client = NotebookClient(
        notebook, timeout=120, startup_timeout=120, kernel_name="python3", config=config
    )
    failed = ""
    try:
        client.execute()
    except CellExecutionError as problem:
        failed = str(problem)
    for number, cell in enumerate(notebook.cells, 1):
        print(f"In [{number}]: {cell.source}")
        for output in cell.outputs:
            text = shown(output).rstrip()
            if text:
                print("    " + text.replace("\n", "\n    "))
        if any(output.output_type == "error" for output in cell.outputs):
            failed = failed or "a cell ended in an error"
    nbformat.write(notebook, target)
    if failed:
        print(f"demo-notebook: {failed.splitlines()[-1]}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
