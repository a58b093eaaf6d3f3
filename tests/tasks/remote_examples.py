"""Stand-ins for what lies behind a network: two pictures on a server, in a folder, in a table, in a tar."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

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


def a_remote_folder(tmp_path: Path) -> dict[str, Any]:
    folder = f"memory://{tmp_path.name}"
    files = fsspec.filesystem("memory")
    for path, data in PICTURES.items():
        files.pipe(folder + path, data)
    return {"kind": "remote", "url": folder}


def a_table_of_pictures(tmp_path: Path) -> dict[str, Any]:
    images = [{"bytes": data, "path": path} for path, data in PICTURES.items()]
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "train.parquet")
    return {"kind": "parquet", "files": [str(tmp_path / "train.parquet")]}


def an_indexed_tar(tmp_path: Path) -> dict[str, Any]:
    write_indexed_tar(tmp_path / "data-0000.tar", {path[1:]: data for path, data in PICTURES.items()})
    return {"kind": "tar-index", "tars": [str(tmp_path / "data-{0000..0000}.tar")]}


def write_indexed_tar(path: Path, members: dict[str, bytes], digests: bool = True) -> dict[str, Any]:
    """A tar and its index beside it, as mirrors of Danbooru have them; returns the index."""
    files: dict[str, Any] = {}
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with tarfile.open(path) as tar:
        for info in tar.getmembers():
            files[info.name] = {"offset": info.offset_data, "size": info.size}
            if digests:
                files[info.name]["sha256"] = hashlib.sha256(members[info.name]).hexdigest()
    index = {"filesize": path.stat().st_size, "files": files}
    path.with_suffix(".json").write_text(json.dumps(index))
    return index
