"""The progress of several transfers as one, and their common end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from tasks.sources.found import Progress


class Together:
    """Sums what single transfers tell of their progress."""

    def __init__(self, num_transfers: int, progress: Progress) -> None:
        self.progress = progress
        self.lock = threading.Lock()
        self.seen: list[tuple[int, int | None]] = [(0, None)] * num_transfers
        self.stopped = False

    def of(self, number: int) -> Progress:
        """What the transfer of this number is to tell its progress to."""

        def tell(done: int, total: int | None, unit: str) -> None:
            with self.lock:
                if self.stopped:
                    raise CancelledError
                self.seen[number] = (done, total)
                totals = [total for _, total in self.seen if total is not None]
                whole = sum(totals) if len(totals) == len(self.seen) else None
                self.progress(sum(done for done, _ in self.seen), whole, unit)

        return tell

    def stop(self, transfers: Sequence[Future[Any]]) -> None:
        """End the transfers that are not through, as after Ctrl-C; what arrived stays."""
        self.stopped = not all(transfer.done() for transfer in transfers)
        for transfer in transfers:
            transfer.cancel()
