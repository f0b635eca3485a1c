"""A server on this machine that answers huggingface_hub as the hub does, and does what servers should not."""

import contextlib
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator

RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<commit>[^/]+)/(?P<file>.+)")


class Hub(http.server.ThreadingHTTPServer):
    """Repositories of one commit each, and the faults that are asked for.

    Attributes:
        files: contents by repository, commit and name of the file.
        requests: "GET /path" and the like, in their order.
        damaged: whether contents are sent with a bit flipped, under the headers of the right ones.
        drops: how many of the next downloads end in the middle.
        down: whether every answer is that the server is unavailable.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.requests: list[str] = []
        self.damaged = False
        self.drops = 0
        self.down = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def find(self, path: str) -> tuple[bytes, str] | str:
        """Returns contents and commit, or the hub's code of what does not exist."""
        parts = RESOLVE.fullmatch(path)
        if not parts:
            return "EntryNotFound"
        key = parts["repo"], parts["commit"], parts["file"]
        if key in self.files:
            return self.files[key], parts["commit"]
        for level, code in ((2, "EntryNotFound"), (1, "RevisionNotFound")):
            if any(known[:level] == key[:level] for known in self.files):
                return code
        return "GatedRepo" if parts["repo"].startswith("gated/") else "RepoNotFound"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        found = "Down" if self.server.down else self.server.find(self.path)
        if isinstance(found, str):
            self.refuse(found)
            return
        data, commit = found
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if first else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if with_body:
            self.send(bytes([data[0] ^ 1]) + data[1:] if self.server.damaged else data, first)

    def send(self, data: bytes, first: int) -> None:
        if self.server.drops:
            self.server.drops -= 1
            self.wfile.write(data[first : (first + len(data)) // 2])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
        else:
            self.wfile.write(data[first:])

    def refuse(self, code: str) -> None:
        status = {"Down": 503, "GatedRepo": 403, "RepoNotFound": 401}.get(code, 404)
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format, *args):
        """Says nothing."""


@contextlib.contextmanager
def running_hub() -> Iterator[Hub]:
    """Runs a server until the end of the block."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
