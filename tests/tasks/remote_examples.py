"""Stand-ins for what lies behind a network: a server of two pictures for `urls`."""

from __future__ import annotations

import functools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PICTURES = {"/a.jpg": b"1", "/b/c.png": b"22"}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        data = PICTURES[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@functools.cache
def pictures_url() -> str:
    """Where the pictures are, for as long as this process lives."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def a_list_of_urls(tmp_path: Path) -> dict[str, Any]:
    rows = [{"url": pictures_url() + path} for path in PICTURES]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {"kind": "urls", "tables": [str(tmp_path / "list.jsonl")], "limits": {"allow_private": True}}
