"""A web server on this machine that misbehaves as it is told, for tests of fetching."""

import contextlib
import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<!doctype html><title>Quota exceeded</title>" * 100


def _swapped(whole: bytes) -> bytes:
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 0x3F]) + whole[middle + 1 :]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.asked.append(self.path)
        fault, whole = server.answer(self.path)
        if fault in ("404", "500"):
            self.send_error(int(fault))
            return
        if fault == "moved":
            self.send_response(302)
            self.send_header("Location", self.path.replace("moved", "whole"))
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"see")
            return
        body = {"page": PAGE, "nothing": b"", "swapped": _swapped(whole)}.get(fault, whole)
        squeezed = fault == "squeezes" and "gzip" in self.headers.get("Accept-Encoding", "")
        if squeezed:
            body = gzip.compress(body)
        length = {"claims-less": len(body) // 2, "claims-more": len(body) + 100, "claims-nonsense": "many"}
        self.send_response(200)
        if squeezed:
            self.send_header("Content-Encoding", "gzip")
        if fault != "claims-nothing":
            self.send_header("Content-Length", str(length.get(fault, len(body))))
        self.end_headers()
        with contextlib.suppress(OSError):  # the other side may hang up first
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self._rest(fault, body[len(body) // 2 :])

    def _rest(self, fault: str, body: bytes) -> None:
        server = self.server
        assert isinstance(server, Server)
        if fault == "stall":
            server.stalled.set()
            server.closing.wait(20)
        elif fault != "early":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Answers each path with the fault and the file that `answer` gives for it."""

    daemon_threads = True

    def __init__(self, answer: Callable[[str], tuple[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[str] = []
        self.stalled = threading.Event()
        self.closing = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


@contextlib.contextmanager
def serving(answer: Callable[[str], tuple[str, bytes]]) -> Iterator[Server]:
    """A running server, stopped at the end."""
    with Server(answer) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield running
        finally:
            running.closing.set()
            running.shutdown()
            thread.join()
