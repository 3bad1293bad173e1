"""The command `dcp`: `docker cp`'s grammar, and never half a file.

Results go to standard output (only with `--json`, `--plan` or `-`), everything said to people goes
to standard error. Exit status: 0 all of it arrived, 1 not all of it, 125 bad option, 129, 130 and
143 by signal, others from `errors`. This module imports next to nothing, for a short start.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_volcopy.cli.dcp_arguments import Arguments
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.cli.progress import Shown

__all__ = ["command", "main"]


def _shown(arguments: Arguments, door: Door) -> Shown | None:
    """How the progress of this copy is shown (rule R80: a terminal, or asked for), if at all."""
    if arguments.progress == "none" or arguments.quiet:
        return None
    if arguments.quiet is None and arguments.progress != "plain" and not door.stdout.isatty():
        return None
    from jupyter_volcopy.cli.progress import LiveLine, PlainLines

    if arguments.progress == "plain":
        return PlainLines(door.stderr)
    return LiveLine(door.stderr) if door.stderr.isatty() else PlainLines(door.stderr)


def _run(arguments: Arguments, door: Door) -> int:
    """The command with its arguments understood."""
    from jupyter_volcopy.cli.copying import Signals, copying, planning
    from jupyter_volcopy.core.control import Cancel, Meter
    from jupyter_volcopy.errors import TransferCancelled

    meter, cancel = Meter(), Cancel()
    call = planning(arguments, door) if arguments.plan else copying(arguments, door, meter, cancel)
    shown = _shown(arguments, door)
    alone = shown is None and "-" not in arguments.paths
    with Signals(cancel, alone=alone) as signals:
        try:
            if alone:
                result = call()
            else:
                from jupyter_volcopy.cli.copying import Work, wait
                from jupyter_volcopy.cli.progress import Silent

                result = wait(Work(call), cancel, meter, shown or Silent())
        except TransferCancelled as error:
            door.fail("dcp", error, json=arguments.json)
            return signals.status
    if arguments.json:
        door.json(result.to_dict())
    if arguments.plan:
        if not arguments.json:
            from jupyter_volcopy.text import plan_lines

            for line in plan_lines(result):
                door.out(line)
        return 0 if result.ok else 1
    for note in result.failed:
        door.err(f"dcp: not copied: {note}")
    if not arguments.json:
        for note in result.warnings:
            door.err(f"dcp: warning: {note}")
    if not result.ok:
        from jupyter_volcopy.text import failure

        door.err(f"dcp: {failure(result)}")
        return 1
    talk = door.stdout.isatty() if arguments.quiet is None else not arguments.quiet
    if talk and not arguments.json:
        from jupyter_volcopy.text import success

        door.err(success(result))
    return 0


def _words() -> list[str]:
    """The arguments of this process; bytes that are not UTF-8 as surrogates on every locale."""
    words = sys.argv[1:]
    if sys.getfilesystemencoding() in ("utf-8", "utf8"):
        return words
    import os

    return [os.fsencode(word).decode("utf-8", "surrogateescape") for word in words]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dcp`.

    Args:
        argv: arguments without the command's name; None for those of the process.

    Returns:
        The exit status.
    """
    from jupyter_volcopy.cli.dcp_arguments import help_text, parse
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.errors import VolcopyError, internal_error

    words = _words() if argv is None else list(argv)
    as_json = "--json" in words
    with Door() as door:
        try:
            arguments = parse(words)
            as_json = arguments.json
            if arguments.help:
                door.out(help_text().rstrip("\n"))
                return 0
            if arguments.version:
                from jupyter_volcopy._version import __version__

                door.out(f"dcp {__version__}")
                return 0
            door.address, door.context = arguments.host, arguments.context
            door.service = arguments.service
            return _run(arguments, door)
        except VolcopyError as error:
            return door.fail("dcp", error, json=as_json)
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:
            # the reader of our output is gone; nothing more can be said to it
            sys.stdout = None
            return 1
        except Exception as error:  # a fault of ours: said in words, never as a traceback
            return door.fail("dcp", internal_error(error), json=as_json)


def command() -> int:
    """The installed program: `main`, with a short start and a short end.

    What is imported is not searched for garbage, and what the process holds is left to the kernel:
    both together would take a seventh of the time of a small copy.

    Returns:
        The exit status, where the process is to end as any other.
    """
    import gc

    gc.set_threshold(50_000)
    code = 130
    try:
        code = main()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except KeyboardInterrupt:
        pass  # what was to be done is done: nothing but the way out was interrupted
    except (OSError, ValueError):
        return code  # Python itself says what it says of such streams
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
