"""The review page: who may ask, how fast it answers, and a whole session by keyboard in a real browser."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
import uvicorn
import websockets

from flows.carry_out import plan
from flows.retrain import retrain_and_export
from manifests.review import read_review, review_path, standing
from tasks.review_server import open_review, review_app
from tests.flows.conftest import Small

TOKEN = "a-token"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(NamedTuple):
    """A page that is being served, and the file that it writes."""

    address: str
    file: Path


@pytest.fixture
def page(small: Small) -> Iterator[Page]:
    file = review_path(small.manifest)
    app = review_app(open_review(plan(retrain_and_export, small.manifest)), TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield Page(f"http://127.0.0.1:{listening.getsockname()[1]}", file)
        server.should_exit = True
        thread.join()
    file.unlink(missing_ok=True)


def _get(page: Page, path: str, token: str = TOKEN, **headers: str) -> httpx.Response:
    return httpx.get(f"{page.address}{path}", params={"token": token}, headers=headers)


def test_nobody_gets_anything_without_the_token(page: Page) -> None:
    for path in ("/", "/questions", "/search"):
        assert _get(page, path, token="").status_code == 403
        assert _get(page, path, token="another").status_code == 403
    assert httpx.post(f"{page.address}/say", json={}).status_code == 403
    assert _get(page, "/questions").status_code == 200


def test_another_name_for_this_host_is_refused(page: Page) -> None:
    assert _get(page, "/questions", host="evil.example").status_code == 403


def test_no_path_of_the_client_is_opened(page: Page) -> None:
    for name in ("..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "0" * 64):
        assert _get(page, f"/face/{name}").status_code == 404


def test_the_page_may_load_nothing_from_elsewhere(page: Page) -> None:
    answer = _get(page, "/")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "http://" not in answer.text
    assert "https://" not in answer.text


def test_every_face_that_is_asked_about_can_be_seen(page: Page) -> None:
    asked = _get(page, "/questions").json()["questions"]
    assert len(asked) > 20
    for id in itertools.chain.from_iterable(one["ids"] for one in asked):
        answer = _get(page, f"/face/{id}")
        assert answer.status_code == 200
        assert answer.content.startswith(b"\xff\xd8\xff")


def test_a_word_on_nobody_is_refused_and_writes_nothing(page: Page) -> None:
    said = httpx.post(
        f"{page.address}/say", params={"token": TOKEN}, json={"id": "0" * 64, "say": "drop", "about": "tail"}
    )
    assert said.status_code == 404
    assert not page.file.exists()


def test_decisions_are_obeyed_by_the_next_run_and_undone_by_another(small: Small, page: Page) -> None:
    asked = _get(page, "/questions").json()["questions"]
    face = next(one for one in asked if one["kind"] == "borderline")["ids"][0]
    before = [step.title for step in plan(retrain_and_export, small.manifest).planned if step.state == "run"]
    for say, expected in (("drop", True), ("undo", False)):
        httpx.post(
            f"{page.address}/say", params={"token": TOKEN}, json={"id": face, "say": say, "about": "detection"}
        ).raise_for_status()
        stages = [step.title for step in plan(retrain_and_export, small.manifest).planned if step.state == "run"]
        assert before == []
        assert ("review" in stages) is expected


class Browser:
    """Just enough of Chromium's own protocol to press keys and to look."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.numbers = socket, itertools.count(1)

    async def ask(self, method: str, **params: Any) -> Any:
        number = next(self.numbers)
        await self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(await self.socket.recv())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    async def value(self, script: str) -> Any:
        found = await self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def press(self, key: str) -> None:
        """A key, and then whatever it set going."""
        text = {"text": key} if len(key) == 1 else {}
        await self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        await self.ask("Input.dispatchKeyEvent", type="keyUp", key=key)
        await self.value("busy")

    async def open(self, address: str) -> None:
        await self.ask("Page.navigate", url=address)
        for _ in range(200):
            if await self.value("document.body && document.body.dataset.ready"):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(await self.value("document.body.innerText"))


async def _session(page: Page, port: int) -> dict[str, Any]:
    """Open, keep one, drop one, take it back, choose a keeper, accept a suggestion, zoom, reload, time fifty steps."""
    tabs = httpx.get(f"http://127.0.0.1:{port}/json").json()
    address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
    seen: dict[str, Any] = {}
    async with websockets.connect(address, max_size=None) as connection:
        browser = Browser(connection)
        await browser.ask("Page.enable")
        await browser.open(f"{page.address}/?token={TOKEN}")
        seen["asked"] = await browser.value("all.map((q) => [q.kind, q.ids])")
        await browser.press("k")
        await browser.press("j")
        await browser.press("d")
        seen["dropped"] = await browser.value("Object.values(said)")
        await browser.press("u")
        seen["undone"] = await browser.value("Object.values(said)")
        await browser.value("$('filter').value = 'group'; $('filter').onchange()")
        seen["group"] = await browser.value("shown[at].ids")
        await browser.press("2")
        await browser.press("ArrowLeft")
        await browser.press("a")
        await browser.press(" ")
        seen["zoomed"] = await browser.value("document.body.classList.contains('zoom')")
        seen["said"] = await browser.value("said")
        await browser.open(f"{page.address}/?token={TOKEN}")
        seen["after"] = await browser.value("said")
        seen["open"] = await browser.value("Boolean(!stateOf(shown[at]))")
        seen["seconds"] = [await _step(browser) for _ in range(30)]
    return seen


async def _step(browser: Browser) -> float:
    """Seconds from the key to all its pictures."""
    wait = (
        "Promise.all([...document.images].map((i) => i.complete || new Promise((r) => { i.onload = i.onerror = r; })))"
    )
    began = time.perf_counter()
    await browser.press("j")
    await browser.value(wait)
    return time.perf_counter() - began


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_session_by_keyboard_in_a_real_browser(page: Page, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    with subprocess.Popen(
        [*command, f"--remote-debugging-port={port}", "about:blank"], stderr=subprocess.DEVNULL
    ) as chromium:
        try:
            _wait_for(port)
            seen = asyncio.run(_session(page, port))
        finally:
            chromium.terminate()
    assert seen["dropped"] == ["keep", "drop"]
    assert seen["undone"] == ["keep"]
    assert seen["zoomed"]
    assert seen["after"] == seen["said"]
    assert seen["open"]
    written = {id: one.say for id, one in standing(read_review(page.file)).items()}
    assert written == seen["said"]
    assert written[seen["group"][0]] == "keeper"
    assert seen["group"][1] not in written  # chosen first, and taken back: a group has one keeper
    assert float(np.percentile(seen["seconds"], 95)) < 1.0  # 0.1 on a quiet machine: a busy one must not fail this


def _wait_for(port: int) -> None:
    for _ in range(100):
        try:
            if any(tab["type"] == "page" for tab in httpx.get(f"http://127.0.0.1:{port}/json").json()):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("Chromium did not begin to listen")
