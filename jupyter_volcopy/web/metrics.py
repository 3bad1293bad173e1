"""Numbers for Prometheus, in the server's own `/metrics` (the default registry)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from jupyter_volcopy.core.background import Transfer
    from jupyter_volcopy.errors import VolcopyError

__all__ = ["active", "failed", "streamed", "transfer_over"]

_transfers = Counter("volcopy_transfers", "Transfers that are over.", ["state"])
_bytes = Counter("volcopy_bytes", "Bytes of file contents moved.", ["way"])
_seconds = Histogram(
    "volcopy_transfer_seconds",
    "How long transfers ran.",
    buckets=(0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 7200),
)
_errors = Counter("volcopy_errors", "Errors answered or met by a transfer.", ["code"])
_active = Gauge("volcopy_transfers_active", "Transfers that wait or run.")


def transfer_over(transfer: Transfer) -> None:
    """Count a transfer that is over."""
    _transfers.labels(transfer.state).inc()
    _seconds.observe(transfer.seconds)
    moved = transfer.report.bytes if transfer.report is not None else transfer.meter.bytes
    way = transfer.report.direction if transfer.report is not None else "unknown"
    _bytes.labels(way).inc(moved)
    if transfer.error is not None:
        failed(transfer.error)


def streamed(way: str, count: int) -> None:
    """Count bytes of a body; `way` is `upload` or `download`."""
    _bytes.labels(way).inc(count)


def failed(error: VolcopyError) -> None:
    """Count an error by its code."""
    _errors.labels(error.code).inc()


def active(number: int) -> None:
    """How many transfers wait or run now."""
    _active.set(number)
