"""From the event loop to blocking code, the one way.

A handler parses, awaits `in_thread(...)`, writes. Short calls have a bounded pool of our own, so a
hanging engine cannot eat the server's; streams have another, so that waiting for a stream cannot
keep a short call from being made; and what waits for no engine at all (encoding a long answer,
looking at the transfers) has a third, so that it is done while an engine hangs. What waits for a
free thread waits in a queue of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["Bridge"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Bridge:
    """Three pools of threads.

    Args:
        calls: threads for short calls.
        streams: streams at a time; each may need two threads.
    """

    def __init__(self, *, calls: int = 16, streams: int = 16) -> None:
        self._calls = ThreadPoolExecutor(calls, thread_name_prefix="volcopy-call")
        self._streams = ThreadPoolExecutor(2 * streams, thread_name_prefix="volcopy-stream")
        self._own = ThreadPoolExecutor(4, thread_name_prefix="volcopy-own")

    async def in_thread(
        self, function: Callable[_P, _T], /, *args: _P.args, **keywords: _P.kwargs
    ) -> _T:
        """Run a short blocking call; its result or exception is the caller's.

        A caller that goes away does not end the call: it runs to its end, bounded by the engine's
        time limits.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._calls, lambda: function(*args, **keywords))

    async def in_stream(
        self, function: Callable[_P, _T], /, *args: _P.args, **keywords: _P.kwargs
    ) -> _T:
        """Run one step of a stream, or its other end."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._streams, lambda: function(*args, **keywords))

    async def in_own(
        self, function: Callable[_P, _T], /, *args: _P.args, **keywords: _P.kwargs
    ) -> _T:
        """Run something that waits for no engine."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._own, lambda: function(*args, **keywords))

    def aside(self, function: Callable[[], None]) -> None:
        """Run something for which nobody waits, as giving back the space of a large file."""
        try:
            self._own.submit(function)
        except RuntimeError:  # closed
            function()

    def close(self) -> None:
        """Take no more; what runs ends by itself."""
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._streams.shutdown(wait=False, cancel_futures=True)
        self._own.shutdown(wait=False)
