from __future__ import annotations

import errno
import hashlib
import itertools
import random
import time
from pathlib import Path
from typing import Any

import pytest

from manifests.sources import ArchiveSource
from tasks.errors import IntegrityError, SourceUnavailable
from tasks.sources.archive import obtain
from tasks.sources.expected import Expected, web_page_title
from tasks.sources.polite import Bandwidth
from tasks.sources.transfer import Download, Part, Patience, fetch, fetch_all

DATA = random.Random(1).randbytes(300_000)
SHA = hashlib.sha256(DATA).hexdigest()
QUOTA = b"<!DOCTYPE html><html><head><title>Google Drive - Quota\n exceeded</title></head>" + b"<p>sorry</p>" * 200


def silent(done: int, total: int | None, unit: str) -> None:
    pass


class Waits:
    """A sleep that takes no time and remembers."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.patience = Patience(timeout_seconds=5, clock=lambda: 1_000_000_000.0, sleep=self.seconds.append)


@pytest.fixture
def waits() -> Waits:
    return Waits()


def get(urls: list[str], folder: Path, waits: Waits, **expected: Any) -> Path:
    return fetch(urls, folder / "file", Expected(**expected), silent, waits.patience)


def test_a_cut_connection_resumes_and_no_byte_is_sent_twice(web, tmp_path, waits):
    served = web.serve("f", DATA, cut_after=[100_000, 50_000])
    path = get([f"{web.url}/f"], tmp_path, waits, sha256=SHA)
    assert path.read_bytes() == DATA
    assert served.sent == len(DATA)
    assert [request.get("Range") for request in served.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert served.requests[1]["If-Range"] == '"first"'
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_a_later_call_resumes_what_an_earlier_one_gave_up(web, tmp_path, waits):
    served = web.serve("f", DATA, cut_after=[100_000, 0, 0, 0, 0])
    with pytest.raises(SourceUnavailable, match="100,000 bytes so far"):
        get([f"{web.url}/f"], tmp_path, waits)
    assert get([f"{web.url}/f"], tmp_path, waits).read_bytes() == DATA
    assert served.sent == len(DATA)


def test_a_version_that_changed_meanwhile_is_begun_anew(web, tmp_path, waits):
    web.serve("f", DATA, cut_after=[100_000, 0, 0, 0, 0])
    with pytest.raises(SourceUnavailable):
        get([f"{web.url}/f"], tmp_path, waits)
    changed = web.serve("f", DATA[::-1], etag='"second"')
    assert get([f"{web.url}/f"], tmp_path, waits).read_bytes() == DATA[::-1]
    assert changed.requests[0]["If-Range"] == '"first"'


def test_a_server_without_range_sends_all_again(web, tmp_path, waits):
    served = web.serve("f", DATA, cut_after=[100_000], ranges=False)
    assert get([f"{web.url}/f"], tmp_path, waits).read_bytes() == DATA
    assert served.sent == 100_000 + len(DATA)


def test_bytes_of_an_unnamed_version_go_on_only_where_a_digest_will_judge(web, tmp_path, waits):
    unnamed = web.serve("f", DATA, cut_after=[100_000], etag="")
    assert get([f"{web.url}/f"], tmp_path / "a", waits).read_bytes() == DATA
    assert unnamed.sent == 100_000 + len(DATA)
    unnamed = web.serve("f", DATA, cut_after=[100_000], etag="")
    assert get([f"{web.url}/f"], tmp_path / "b", waits, sha256=SHA).read_bytes() == DATA
    assert unnamed.sent == len(DATA)


def test_a_weak_etag_names_no_bytes_and_the_date_is_asked_with(web, tmp_path, waits):
    dated = {"Last-Modified": "Sun, 09 Sep 2001 01:46:40 GMT"}
    served = web.serve("f", DATA, cut_after=[100_000], etag='W/"same"', headers=dated)
    assert get([f"{web.url}/f"], tmp_path, waits).read_bytes() == DATA
    assert served.requests[1]["If-Range"] == dated["Last-Modified"]


def test_a_cut_is_noticed_by_the_stated_size_when_the_server_says_no_length(web, tmp_path, waits):
    served = web.serve("f", DATA, cut_after=[100_000], length=False)
    assert get([f"{web.url}/f"], tmp_path, waits, bytes=len(DATA)).read_bytes() == DATA
    assert served.sent == len(DATA)


def test_all_bytes_that_came_before_a_stop_are_enough(web, tmp_path, waits):
    url = f"{web.url}/f"
    served = web.serve("f", DATA)
    part = Part(url, tmp_path / "file", Expected())
    part.path.write_bytes(DATA)
    part.note.write_text('"\\"first\\""')
    assert get([url], tmp_path, waits).read_bytes() == DATA
    assert served.sent == 0


def test_a_busy_server_is_asked_again_after_longer_and_longer_waits(web, tmp_path, waits):
    web.serve("f", DATA, status=[503, 503, 500])
    assert get([f"{web.url}/f"], tmp_path, waits).read_bytes() == DATA
    assert waits.seconds == [1, 2, 4]


@pytest.mark.parametrize(
    ("said", "waited"), [("7", 7), ("Sun, 09 Sep 2001 01:47:10 GMT", 30), ("86400", 60), ("soon", 1)]
)
def test_the_servers_own_waiting_time_is_kept_up_to_a_limit(web, tmp_path, waits, said, waited):
    web.serve("f", DATA, status=[429], headers={"Retry-After": said})
    get([f"{web.url}/f"], tmp_path, waits)
    assert waits.seconds == [waited]


def test_a_final_refusal_is_not_asked_again_and_the_next_mirror_is_tried(web, tmp_path, waits):
    refused = web.serve("gone", DATA, status=[403, 403])
    web.serve("f", DATA)
    urls = [f"{web.url}/gone", f"{web.url}/nowhere", "http://127.0.0.1:9/f", f"{web.url}/f"]
    assert get(urls, tmp_path, waits).read_bytes() == DATA
    assert len(refused.requests) == 1
    assert waits.seconds == [1, 2, 4, 8]  # for the one where nobody listens


def test_when_all_mirrors_fail_each_is_listed_with_its_reason(web, tmp_path, waits):
    web.serve("page", QUOTA, kind="text/html")
    urls = [f"{web.url}/nowhere", f"{web.url}/page", str(tmp_path / "missing.zip"), "http://[bad/"]
    with pytest.raises(SourceUnavailable) as failure:
        get(urls, tmp_path, waits)
    reasons = str(failure.value)
    assert "/nowhere: HTTP 404 Not Found" in reasons
    assert "/page: the server sent a web page titled 'Google Drive - Quota exceeded'" in reasons
    assert "missing.zip: no such file" in reasons
    assert "http://[bad/: " in reasons
    assert failure.value.exit_code == 1


def test_a_web_page_in_place_of_a_file_is_named_and_the_next_mirror_is_tried(web, tmp_path, waits, caplog):
    page = web.serve("page", QUOTA, kind="application/zip")
    web.serve("f", DATA)
    assert get([f"{web.url}/page", f"{web.url}/f"], tmp_path, waits, sha256=SHA, bytes=len(DATA)).read_bytes() == DATA
    assert "Google Drive - Quota exceeded" in caplog.text
    assert len(page.requests) == 1


@pytest.mark.parametrize(
    ("head", "title"),
    [
        (b"\xef\xbb\xbf\n <HTML><TITLE lang=x>a &amp; b</TITLE>", "a & b"),
        (b"<html><body>none", ""),
        (b"PK\x03\x04<html><title>no</title>", None),
        (b'<?xml version="1.0"?><opencv_storage>', None),
        (b"", None),
    ],
)
def test_a_web_page_is_told_by_its_content(head, title):
    assert web_page_title(head) == title


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_wrong_checksum_is_refused_and_the_bytes_are_kept_aside(web, tmp_path, waits, kind):
    web.serve("f", DATA)
    wanted = "0" * (64 if kind == "sha256" else 32)
    with pytest.raises(IntegrityError) as failure:
        get([f"{web.url}/f"], tmp_path, waits, **{kind: wanted})
    assert f"file has {kind} {hashlib.new(kind, DATA).hexdigest()}, {wanted} was expected" in str(failure.value)
    assert failure.value.exit_code == 4
    assert not (tmp_path / "file").exists()
    assert (tmp_path / "file.bad").read_bytes() == DATA


def test_after_wrong_bytes_the_next_mirror_is_tried_and_the_next_call_begins_anew(web, tmp_path, waits):
    web.serve("bad", DATA[::-1])
    with pytest.raises(IntegrityError):
        get([f"{web.url}/bad"], tmp_path, waits, sha256=SHA)
    web.serve("good", DATA)
    assert get([f"{web.url}/bad", f"{web.url}/good"], tmp_path, waits, sha256=SHA).read_bytes() == DATA
    assert len(web.paths["/bad"].requests) == 2


def test_a_file_of_another_size_is_not_even_transferred(web, tmp_path, waits):
    served = web.serve("f", DATA)
    with pytest.raises(IntegrityError, match=r"has a file of 300,000 bytes, 1,000 were expected"):
        get([f"{web.url}/f"], tmp_path, waits, bytes=1000)
    assert len(served.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_sends_more_than_expected_is_stopped(web, tmp_path, waits):
    web.serve("f", DATA * 20, length=False)
    with pytest.raises(IntegrityError, match="1,000 were expected"):
        get([f"{web.url}/f"], tmp_path, waits, bytes=1000)
    assert (tmp_path / "file.bad").stat().st_size < len(DATA) * 2


def test_a_full_disk_is_reported_as_such(web, tmp_path, waits):
    url = f"{web.url}/f"
    web.serve("f", DATA)
    Part(url, tmp_path / "file", Expected()).path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="the disk is full: make room and run again") as failure:
        get([url], tmp_path, waits)
    assert failure.value.errno == errno.ENOSPC


def test_a_local_mirror_is_checked_and_stays_where_it_is(tmp_path, waits):
    mine = tmp_path / "mine.zip"
    mine.write_bytes(DATA)
    assert get([str(mine)], tmp_path / "work", waits, sha256=SHA) == mine
    with pytest.raises(IntegrityError, match=r"mine\.zip has sha256"):
        get([str(mine)], tmp_path / "work", waits, sha256="0" * 64)
    assert mine.read_bytes() == DATA


def test_progress_tells_bytes_of_the_whole_file_also_after_a_cut(web, tmp_path, waits):
    web.serve("f", DATA, cut_after=[100_000])
    told: list[tuple[int, int | None, str]] = []
    fetch([f"{web.url}/f"], tmp_path / "file", Expected(), lambda *seen: told.append(seen), waits.patience)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1] == (len(DATA), len(DATA), "bytes")
    assert {(total, unit) for _, total, unit in told} == {(len(DATA), "bytes")}


def test_a_redirect_loop_ends_and_the_next_mirror_is_tried(web, tmp_path, waits):
    loop = web.serve("loop", b"", status=[302] * 100, headers={"Location": f"{web.url}/loop"})
    web.serve("f", DATA)
    assert get([f"{web.url}/loop", f"{web.url}/f"], tmp_path, waits, sha256=SHA).read_bytes() == DATA
    assert len(loop.requests) < 30


def test_a_redirect_is_followed_but_not_to_another_scheme(web, tmp_path, waits):
    web.serve("f", DATA)
    web.serve("moved", b"", status=[302], headers={"Location": f"{web.url}/f"})
    assert get([f"{web.url}/moved"], tmp_path, waits).read_bytes() == DATA
    web.serve("out", b"", status=[302], headers={"Location": "file:///etc/passwd"})
    with pytest.raises(SourceUnavailable, match="protocol"):
        get([f"{web.url}/out"], tmp_path, waits)


def test_a_stream_without_end_is_left_at_the_most_that_may_come(web, tmp_path, waits):
    served = web.serve("f", DATA * 20, length=False)
    with pytest.raises(SourceUnavailable, match="sent more than 100,000 bytes"):
        get([f"{web.url}/f"], tmp_path, waits, most_bytes=100_000)
    assert len(served.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_says_to_be_larger_than_may_come_is_not_transferred(web, tmp_path, waits):
    web.serve("f", DATA)
    with pytest.raises(SourceUnavailable, match="a file of 300,000 bytes, 1,000 is the most"):
        get([f"{web.url}/f"], tmp_path, waits, most_bytes=1000)


def test_a_length_that_lies_low_gives_bytes_that_the_digest_refuses(web, tmp_path, waits):
    web.serve("f", DATA, length=False, headers={"Content-Length": "1000"})
    with pytest.raises(IntegrityError, match="sha256"):
        get([f"{web.url}/f"], tmp_path, waits, sha256=SHA)


def test_a_drip_that_never_times_out_is_given_up(web, tmp_path, waits):
    times = itertools.count(1_000_000_000, 100)
    slow = waits.patience._replace(clock=lambda: float(next(times)), least_bytes=1 << 30)
    web.serve("f", DATA, ranges=False)
    with pytest.raises(SourceUnavailable, match="are too few"):
        fetch([f"{web.url}/f"], tmp_path / "file", Expected(), silent, slow)


def test_a_password_and_a_signature_are_in_no_error(web, tmp_path, waits):
    host = web.url.removeprefix("http://")
    with pytest.raises(SourceUnavailable) as failure:
        get([f"http://me:hidden@{host}/f?id=5&X-Amz-Signature=hidden"], tmp_path, waits)
    assert "hidden" not in str(failure.value)
    assert "/f?id=5: HTTP 404" in str(failure.value)


def test_several_files_come_together_within_one_bandwidth(web, tmp_path, waits):
    paid: list[float] = []
    bandwidth = Bandwidth(1_000_000, clock=lambda: 0.0, sleep=paid.append)
    told: list[tuple[int, int | None, str]] = []
    downloads = []
    for number in range(3):
        web.serve(f"{number}", DATA)
        downloads.append(Download([f"{web.url}/{number}"], tmp_path / f"{number}", Expected(sha256=SHA)))
    paths = fetch_all(downloads, lambda *seen: told.append(seen), waits.patience._replace(bandwidth=bandwidth))
    assert [path.read_bytes() for path in paths] == [DATA] * 3
    assert told[-1] == (3 * len(DATA), 3 * len(DATA), "bytes")
    assert max(paid) == pytest.approx(0.9)


def test_one_file_that_fails_does_not_keep_the_others_from_coming(web, tmp_path, waits):
    web.serve("b", DATA)
    downloads = [Download([f"{web.url}/{name}"], tmp_path / name) for name in "ab"]
    with pytest.raises(SourceUnavailable, match="a could not be had"):
        fetch_all(downloads, silent, waits.patience)
    assert (tmp_path / "b").read_bytes() == DATA


def test_an_archive_is_brought_no_faster_than_its_source_says(web, tmp_path, waits):
    web.serve("f.zip", DATA)
    config = ArchiveSource(kind="archive", urls=(f"{web.url}/f.zip",), bytes_per_second=600_000)
    began = time.monotonic()
    assert obtain(config, tmp_path, silent, waits.patience).read_bytes() == DATA
    assert time.monotonic() - began >= 0.45
