from __future__ import annotations

import hashlib
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from manifests.sources.remote import Limits, UrlsSource
from tasks.errors import IntegrityError, SourceUnavailable
from tasks.sources.found import Found
from tasks.sources.urls import check_urls, find_by_urls, urls_fingerprint

PICTURE = b"\xff\xd8\xff\xe0 a picture of a server " * 50
PAGE = b"<!doctype html><html><head><title>Please log in</title></head></html>"
CIVIL = {"allow_private": True, "requests_per_second": 10_000.0, "max_wait_seconds": 1.0, "tries": 2}

Answer = Callable[[BaseHTTPRequestHandler], None]


def say(handler: BaseHTTPRequestHandler, data: bytes = PICTURE, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(PICTURE)


def dripping(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b".")
        time.sleep(0.02)


def cut(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(PICTURE)


class Host:
    """A server whose paths answer as they are told; it remembers who asked for what, and when."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.times: list[float] = []
        self.headers: list[dict[str, str]] = []
        self.now = self.most = 0
        self.lock = threading.Lock()

    def listen(self) -> ThreadingHTTPServer:
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with host.lock:
                    host.asked.append(self.path)
                    host.times.append(time.monotonic())
                    host.headers.append(dict(self.headers))
                    host.now += 1
                    host.most = max(host.most, host.now)
                try:
                    host.answers.get(self.path.partition("?")[0], say)(self)
                except ConnectionError:
                    pass
                finally:
                    with host.lock:
                        host.now -= 1
                if self.path in ("/endless", "/drip", "/cut"):
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    host = Host()
    server = host.listen()
    yield host
    server.shutdown()
    server.server_close()


def table(tmp_path: Path, rows: list[dict[str, Any]]) -> str:
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def source(tables: str, limits: dict[str, Any] | None = None, **more: Any) -> UrlsSource:
    return UrlsSource(kind="urls", tables=(tables,), limits=Limits(**{**CIVIL, **(limits or {})}), **more)


def silent(done: int, total: int | None, unit: str) -> None:
    pass


def find(config: UrlsSource, tmp_path: Path) -> dict[str, Found]:
    return {file.origin: file for file in find_by_urls(config, tmp_path / "work", silent)}


def outcome_of(host: Host, tmp_path: Path, path: str, limits: dict[str, Any] | None = None, **more: Any) -> Found:
    """What becomes of one picture, beside one that comes."""
    rows = [{"id": "it", "url": f"{host.url}/{path}"}, {"id": "other", "url": f"{host.url}/other"}]
    found = find(source(table(tmp_path, rows), limits, **more), tmp_path)
    assert found["other"].reason == ""
    return found["it"]


def without_url(file: Found) -> dict[str, Any]:
    return {name: value for name, value in file.about.facts.items() if name != "url"}


def test_pictures_come_with_what_their_table_says(host, tmp_path):
    row = {"id": 12.0, "url": f"{host.url}/a", "tags": "smile, blue eyes", "rating": "General", "license": "CC0-1.0"}
    (file,) = find(source(table(tmp_path, [{**row, "caption": "she", "score": 7}])), tmp_path).values()
    assert (file.origin, file.id, file.bytes) == ("12", hashlib.sha256(PICTURE).hexdigest(), len(PICTURE))
    assert file.path.read_bytes() == PICTURE
    assert file.about[:3] == ("g", "blue_eyes smile", "CC0-1.0")
    assert file.about.facts == {"url": f"{host.url}/a", "caption": "she", "score": 7}


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz", "jsonl", "jsonl.xz", "parquet"])
def test_a_table_is_read_whatever_its_kind(host, tmp_path, ending):
    frame = pd.DataFrame({"address": [f"{host.url}/a", f"{host.url}/b"], "id": ["one", "two"], "ünicode": ["é", "ß"]})
    path = tmp_path / f"list.{ending}"
    if ending == "parquet":
        frame.to_parquet(path)
    elif ending.startswith("jsonl"):
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    found = find(source(str(path), columns={"url": "address"}), tmp_path)
    assert [(name, file.reason, without_url(file)) for name, file in found.items()] == [
        ("one", "", {"ünicode": "é"}),
        ("two", "", {"ünicode": "ß"}),
    ]


@pytest.mark.parametrize(
    ("answer", "reason", "facts"),
    [
        (lambda h: say(h, b"", 404), "unavailable", {"http": 404}),
        (lambda h: say(h, b"", 410, X_Robots_Tag="noindex"), "unavailable", {"http": 410}),
        (lambda h: say(h, b"", 500), "unavailable", {"http": 500}),
        (lambda h: say(h, b""), "empty", {}),
        (lambda h: say(h, PAGE, Content_Type="image/jpeg"), "not_a_picture", {"page": "Please log in"}),
        (lambda h: say(h, X_Robots_Tag="noai"), "opted_out", {}),
        (lambda h: say(h, TDM_Reservation="1"), "opted_out", {}),
        (lambda h: say(h, b"", 302, Location="/it"), "unavailable", {"error": "too many redirects"}),
        (lambda h: say(h, b"", 302, Location="ftp://127.0.0.1/a"), "unavailable", {"error": "not a web address"}),
        (lambda h: say(h, b"", 302, Location="file:///etc/passwd"), "unavailable", {"error": "not a web address"}),
        (lambda h: say(h, b"", 302, Location="http://127.0.0.1:9/"), "unavailable", {"error": "no connection"}),
        (lambda h: h.wfile.write(b"nonsense\r\n\r\n"), "unavailable", {"error": "not a whole answer"}),
        (cut, "unavailable", {"error": "not a whole answer"}),
        (endless, "too_large", {"limit": 1_000_000}),
        (dripping, "unavailable", {"error": "too slow"}),
    ],
    ids=[
        "404", "410", "500", "empty", "page", "noai", "tdm", "loop", "ftp", "file", "nobody", "nonsense", "cut",
        "endless", "drip",
    ],
)  # fmt: skip
def test_what_does_not_come_is_a_row_with_its_reason(host, tmp_path, answer, reason, facts):
    host.answers["/it"] = answer
    path = {"endless": "/endless", "dripping": "/drip", "cut": "/cut"}.get(getattr(answer, "__name__", ""), "/it")
    host.answers[path] = answer
    limits = {"max_picture_bytes": 1_000_000, "total_seconds": 0.5}
    file = outcome_of(host, tmp_path, path[1:], limits)
    assert (file.reason, without_url(file)) == (reason, facts)
    assert (file.bytes, file.id) == (0, hashlib.sha256(b"it").hexdigest())


@pytest.mark.parametrize(
    ("line", "opted_out"),
    [
        ("noindex, nofollow", True),
        ("NoImageAI", True),
        ("stylegan-flows: noai", True),
        ("googlebot: noindex", False),
        ("googlebot: noindex, stylegan-flows: nofollow, noai", True),
        ("stylegan-flows: nofollow, googlebot: noai", False),
        ("all", False),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST", False),
    ],
)
def test_a_robots_tag_is_obeyed_when_it_is_meant_for_us(host, tmp_path, line, opted_out):
    host.answers["/it"] = lambda h: say(h, X_Robots_Tag=line)
    assert outcome_of(host, tmp_path, "it").reason == ("opted_out" if opted_out else "")


def test_a_length_above_the_limit_is_enough_and_no_body_is_read(host, tmp_path):
    host.answers["/it"] = lambda h: say(h, PICTURE * 100)
    file = outcome_of(host, tmp_path, "it", {"max_picture_bytes": len(PICTURE)})
    assert (file.reason, without_url(file)) == ("too_large", {"limit": len(PICTURE)})


def test_a_redirect_leads_to_the_picture(host, tmp_path):
    host.answers["/it"] = lambda h: say(h, b"", 301, Location=f"{host.url}/there?x=1")
    assert outcome_of(host, tmp_path, "it").reason == ""
    assert host.asked.count("/there?x=1") == 1


@pytest.mark.parametrize("url", ["", "not an address", "http://", "http://[bad/", "http://host:port/", "javascript:1"])
def test_what_is_no_address_is_a_row(host, tmp_path, url):
    rows = [{"id": "it", "url": url}, {"id": "other", "url": f"{host.url}/other"}]
    file = find(source(table(tmp_path, rows)), tmp_path)["it"]
    assert (file.reason, file.about.facts.get("error")) == ("unavailable", "not a web address")


@pytest.mark.parametrize(
    "where", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "localhost", "0.0.0.0"]
)
def test_a_table_cannot_send_us_into_our_own_network(host, tmp_path, where):
    port = host.url.rpartition(":")[2]
    rows = [{"id": "it", "url": f"http://{where}:{port}/secret"}]
    with pytest.raises(SourceUnavailable, match="a private address"):
        find(source(table(tmp_path, rows), {"allow_private": False}), tmp_path)
    assert host.asked == []


def test_a_name_is_looked_up_once_a_run(host, tmp_path, monkeypatch):
    looked_up, ask = [], socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *more, **most: looked_up.append(name) or ask(name, *more, **most)
    )
    url = host.url.replace("127.0.0.1", "localhost")
    find(source(table(tmp_path, [{"url": f"{url}/{number}"} for number in range(50)])), tmp_path)
    assert looked_up.count("localhost") == 1
    assert len(host.asked) == 50


def test_a_second_run_asks_for_nothing(host, tmp_path):
    host.answers["/gone"] = lambda h: say(h, b"", 404)
    tables = table(tmp_path, [{"url": f"{host.url}/{name}"} for name in ("a", "b", "gone", "a")])
    first = find(source(tables), tmp_path)
    assert sorted(host.asked) == ["/a", "/b", "/gone"]
    assert find(source(tables), tmp_path) == first
    assert len(host.asked) == 3


def test_rows_that_are_added_are_all_that_is_asked_for(host, tmp_path):
    find(source(table(tmp_path, [{"url": f"{host.url}/a"}])), tmp_path)
    find(source(table(tmp_path, [{"url": f"{host.url}/a"}, {"url": f"{host.url}/b"}])), tmp_path)
    assert host.asked == ["/a", "/b"]


def test_what_failed_is_asked_for_again_only_on_demand(host, tmp_path):
    host.answers["/it"] = lambda h: say(h, b"", 404)
    assert outcome_of(host, tmp_path, "it").reason == "unavailable"
    host.answers["/it"] = say
    assert outcome_of(host, tmp_path, "it").reason == "unavailable"
    assert outcome_of(host, tmp_path, "it", retry=1).reason == ""
    assert sorted(host.asked) == ["/it", "/it", "/other"]
    config = source(str(tmp_path / "list.jsonl"))
    assert urls_fingerprint(config) != urls_fingerprint(config.model_copy(update={"retry": 1}))


def test_a_run_that_was_killed_goes_on_where_it_was(host, tmp_path):
    rows = [{"url": f"{host.url}/{number}"} for number in range(10)]
    find(source(table(tmp_path, rows[:6])), tmp_path)
    journal = tmp_path / "work/journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:5]) + lines[5][:20])  # the sixth was being written
    host.asked.clear()
    assert {file.reason for file in find(source(table(tmp_path, rows)), tmp_path).values()} == {""}
    assert len(host.asked) == 5
    assert len(journal.read_bytes().splitlines()) == 10


KILLED = """
import sys
from manifests.sources.remote import UrlsSource
from tasks.sources.urls import find_by_urls
from pathlib import Path
config = UrlsSource.model_validate_json(sys.argv[1])
list(find_by_urls(config, Path(sys.argv[2]), lambda done, total, unit: None))
"""


def test_a_kill_costs_no_more_than_what_was_on_its_way(host, tmp_path):
    rows = [{"url": f"{host.url}/{number}"} for number in range(60)]
    for number in range(60):
        data = PICTURE + b"%d" % number
        host.answers[f"/{number}"] = lambda h, data=data: (time.sleep(0.02), say(h, data))[1]
    config = source(table(tmp_path, rows), {"connections": 4})
    command = [sys.executable, "-c", KILLED, config.model_dump_json(), str(tmp_path / "work")]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as process:
        while len(host.asked) < 20:
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    before = len(host.asked)
    found = find(config, tmp_path)
    assert [file.path.read_bytes() for file in found.values()] == [PICTURE + b"%d" % number for number in range(60)]
    assert before < 60 <= len(host.asked) <= 60 + 2 * 4


def test_a_picture_whose_bytes_are_gone_is_asked_for_again(host, tmp_path):
    config = source(table(tmp_path, [{"url": f"{host.url}/a"}]))
    (file,) = find(config, tmp_path).values()
    file.path.unlink()
    assert next(iter(find(config, tmp_path).values())).path.read_bytes() == PICTURE
    assert len(host.asked) == 2


def test_what_is_not_selected_is_not_asked_for(host, tmp_path):
    rows = [{"id": str(score), "url": f"{host.url}/{score}", "score": score} for score in range(5)]
    found = find(source(table(tmp_path, rows), where="score >= 3"), tmp_path)
    assert sorted(host.asked) == ["/3", "/4"]
    assert [file.reason for file in found.values()] == ["not_selected"] * 3 + [""] * 2


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_other_bytes_than_the_table_says_are_named(host, tmp_path, kind):
    rows = [
        {"id": "right", "url": f"{host.url}/a", kind: hashlib.new(kind, PICTURE).hexdigest()},
        {"id": "wrong", "url": f"{host.url}/b", kind: hashlib.new(kind, b"").hexdigest()},
    ]
    found = find(source(table(tmp_path, rows)), tmp_path)
    assert [file.reason for file in found.values()] == ["", "wrong_bytes"]
    assert found["wrong"].about.facts[kind] == hashlib.new(kind, PICTURE).hexdigest()


def test_no_host_is_asked_by_more_connections_than_it_may(host, tmp_path):
    for number in range(12):
        host.answers[f"/{number}"] = lambda h: (time.sleep(0.02), say(h))[1]
    tables = table(tmp_path, [{"url": f"{host.url}/{number}"} for number in range(12)])
    find(source(tables, {"per_host": 2, "connections": 8}), tmp_path)
    assert host.most == 2


def test_no_host_is_asked_more_often_a_second_than_it_may(host, tmp_path):
    tables = table(tmp_path, [{"url": f"{host.url}/{number}"} for number in range(6)])
    find(source(tables, {"requests_per_second": 20}), tmp_path)
    assert all(later - time >= 0.035 for time, later in zip(host.times, host.times[1:], strict=False))


def test_a_slow_host_holds_up_no_other(host, tmp_path):
    other = Host()
    server = other.listen()
    for number in range(8):
        host.answers[f"/{number}"] = lambda h: (time.sleep(0.1), say(h))[1]
    rows = [{"url": f"{host.url}/{number}"} for number in range(8)]
    rows += [{"url": f"{other.url}/{number}"} for number in range(20)]
    find(source(table(tmp_path, rows), {"connections": 4, "per_host": 2}), tmp_path)
    server.shutdown(), server.server_close()
    assert max(other.times) < max(host.times)


def test_a_busy_host_is_left_alone_as_long_as_it_asks(host, tmp_path):
    refused = [True]

    def busy(handler: BaseHTTPRequestHandler) -> None:
        say(handler, b"", 429, Retry_After="1") if refused and refused.pop() else say(handler)

    rows = [{"url": f"{host.url}/{number}"} for number in range(4)]
    for number in range(4):
        host.answers[f"/{number}"] = busy
    found = find(source(table(tmp_path, rows), {"per_host": 1}), tmp_path)
    assert {file.reason for file in found.values()} == {""}
    assert host.times[1] - host.times[0] >= 1.0


def test_a_host_that_asks_for_an_hour_is_not_asked_again(host, tmp_path):
    rows = [{"id": str(number), "url": f"{host.url}/{number}"} for number in range(20)]
    for number in range(1, 20):
        host.answers[f"/{number}"] = lambda h: say(h, b"", 429, Retry_After="3600")
    found = find(source(table(tmp_path, rows), {"per_host": 1}), tmp_path)
    assert len(host.asked) == 2
    assert {file.about.facts.get("http") for file in found.values()} == {None, 429}


def test_a_host_that_never_answers_is_given_up(host, tmp_path):
    rows = [{"id": str(number), "url": f"http://127.0.0.1:9/{number}"} for number in range(200)]
    rows.append({"id": "other", "url": f"{host.url}/other"})
    found = find(source(table(tmp_path, rows), {"tries": 1}), tmp_path)
    errors = [file.about.facts.get("error") for file in found.values()]
    assert 10 <= errors.count("no connection") <= 14
    assert errors.count("the host does not answer") == 200 - errors.count("no connection")


def test_when_nothing_at_all_comes_that_is_said_and_not_remembered(host, tmp_path):
    host.answers["/a"] = lambda h: say(h, b"", 503)
    config = source(table(tmp_path, [{"url": f"{host.url}/a?token=hidden"}]))
    with pytest.raises(SourceUnavailable, match=r"none of 1 pictures.*'http': 503") as failure:
        find(config, tmp_path)
    assert "hidden" not in str(failure.value)
    host.answers["/a"] = say
    assert next(iter(find(config, tmp_path).values())).reason == ""


def test_the_bandwidth_is_kept_to(host, tmp_path):
    tables = table(tmp_path, [{"url": f"{host.url}/{number}"} for number in range(10)])
    began = time.monotonic()
    find(source(tables, {"bytes_per_second": 10 * len(PICTURE) / 0.5}), tmp_path)
    assert 0.45 <= time.monotonic() - began < 5


def test_we_say_who_we_are_and_ask_for_the_bytes_as_they_are(host, tmp_path):
    outcome_of(host, tmp_path, "ä b", user_agent="our-set", contact="mailto:us@example.org")
    assert {headers["User-Agent"] for headers in host.headers} == {"our-set (+mailto:us@example.org)"}
    assert {headers["Accept-Encoding"] for headers in host.headers} == {"identity"}
    assert "/%C3%A4%20b" in host.asked


def test_no_secret_of_an_address_is_written_down(host, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    address = host.url.replace("//", "//me:hidden@") + "/a?id=5&X-Amz-Signature=hidden&token=hidden"
    rows = [{"url": address, "page": address}, {"url": address.replace("/a", "/b")}]
    host.answers["/b"] = lambda h: say(h, b"", 403)
    found = find(source(table(tmp_path, rows)), tmp_path)
    assert list(found) == [f"{host.url[7:]}/a?id=5", f"{host.url[7:]}/b?id=5"]
    assert "hidden" not in repr(found)
    assert "hidden" not in (tmp_path / "work/journal.jsonl").read_text()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("tasks")]
    assert "hidden" not in " ".join(ours)
    assert host.headers[0]["Authorization"].startswith("Basic ")


def test_progress_and_the_last_line_tell_all_reasons(host, tmp_path, caplog):
    caplog.set_level(logging.INFO, "tasks.sources.gather")
    host.answers["/gone"] = lambda h: say(h, b"", 404)
    told: list[tuple[int, int | None, str]] = []
    config = source(table(tmp_path, [{"url": f"{host.url}/{name}"} for name in ("a", "b", "gone")]))
    list(find_by_urls(config, tmp_path / "work", lambda *seen: told.append(seen)))
    assert told[-1] == (3, 3, "pictures")
    assert re.search(r"3 of 3 \(100%\), \d+/s: 2 fetched, 1 unavailable", caplog.text)


def test_a_table_that_is_not_there_or_lacks_the_column_is_refused(host, tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        check_urls(source(str(tmp_path / "nothing.csv")))
    with pytest.raises(ValueError, match=r"has no column 'url' for the url: it has address"):
        find(source(table(tmp_path, [{"address": "x"}])), tmp_path)


@pytest.mark.parametrize("data", [b'{"url": ', b"[1, 2]\n", b"\xff\xfe\x00", b'{"url": "a"}\n[]\n'])
def test_a_table_that_lies_about_its_kind_is_named(tmp_path, data):
    (tmp_path / "list.jsonl").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"list\.jsonl is not the table"):
        find(source(str(tmp_path / "list.jsonl")), tmp_path)


@pytest.mark.parametrize("ending", ["csv.gz", "csv.xz", "csv.bz2", "parquet"])
@pytest.mark.parametrize("keep", [0, 10, 60])
def test_a_table_that_was_cut_off_or_is_something_else_is_named(tmp_path, ending, keep):
    path = tmp_path / f"list.{ending}"
    frame = pd.DataFrame({"url": [f"http://127.0.0.1:9/{number}" for number in range(100)]})
    frame.to_parquet(path) if ending == "parquet" else frame.to_csv(path, index=False)
    for data in (path.read_bytes()[:keep], b"nonsense" * 10, path.read_bytes()[:20] + bytes(100)):
        path.write_bytes(data)
        with pytest.raises((IntegrityError, SourceUnavailable, ValueError), match=r"list\.|none of"):
            find(source(str(path), {"tries": 1}), tmp_path)


def test_a_table_may_lie_behind_a_server_and_is_asked_for_once(host, tmp_path):
    rows = json.dumps({"id": "a", "url": f"{host.url}/a"}).encode() + b"\n"
    host.answers["/list.jsonl"] = lambda h: say(h, rows)
    config = source(f"{host.url}/list.jsonl")
    check_urls(config)
    find(config, tmp_path)
    assert list(find(config, tmp_path)) == ["a"]
    assert sorted(host.asked) == ["/a", "/list.jsonl"]


def test_the_rows_do_not_depend_on_how_many_ask(host, tmp_path):
    host.answers["/7"] = lambda h: say(h, b"", 404)
    tables = table(tmp_path, [{"url": f"{host.url}/{number % 17}"} for number in range(40)])
    one, many = (
        [file._replace(path=file.path.name) for file in find_by_urls(source(tables, limits), tmp_path / name, silent)]
        for name, limits in (("work", {"connections": 1}), ("other/work", {"connections": 16, "per_host": 16}))
    )
    assert one == many
    assert [file.reason for file in one].count("unavailable") == 2
