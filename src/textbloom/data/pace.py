"""A least speed of downloads: a server that drips a byte now and then never runs into a time limit between bytes."""

import threading
from collections.abc import Callable
from types import TracebackType

from textbloom.data.arrival import Arrival, Refused


class Pace:
    """While open, demands a chunk every so many seconds, or else stops the transfer and raises Refused.

    The transfer is stopped by the event `slow`, and by what `on_slow` was given; each must end it soon.
    """

    def __init__(self, arrival: Arrival, seconds: float) -> None:
        self.slow = threading.Event()
        self._arrival = arrival
        self._seconds = seconds
        self._over = threading.Event()
        self._stop: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._watch = threading.Thread(target=self._wait, daemon=True)

    def on_slow(self, stop: Callable[[], None]) -> None:
        """Call `stop`, from another thread, when the transfer is too slow; at once if it was so already."""
        with self._lock:
            self._stop = stop
            if self.slow.is_set():
                stop()

    def __enter__(self) -> "Pace":
        self._watch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._watch.join()
        # Stopped from outside, a transfer of unknown length looks like one that came to its end.
        if self.slow.is_set() and (error is None or isinstance(error, Refused)):
            raise Refused(f"too slow, less than one chunk in {self._seconds:g} s") from None

    def _wait(self) -> None:
        before = self._arrival.count
        while not self._over.wait(self._seconds):
            if self._arrival.count == before:
                with self._lock:
                    self.slow.set()
                    if self._stop is not None:
                        self._stop()
                return
            before = self._arrival.count
