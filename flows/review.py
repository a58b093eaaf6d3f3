"""`stylegan review`: a local page for the doubtful faces of a manifest."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

reviews = typer.Typer()


@reviews.command(epilog="Keys: J K D A U, the arrows, space, 1-9.  Example:  stylegan review manifests/photos.yaml")
def review(
    manifest: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a manifest", show_default=False)],
    port: Annotated[int, typer.Option(help="0 = any free one")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="open the page")] = True,
) -> None:
    """Look at the doubtful faces and say which stay; every word is a line in NAME.review.jsonl, nothing is deleted."""
    import uvicorn

    from flows.carry_out import plan
    from flows.retrain import retrain_and_export
    from tasks.review_server import open_review, review_app

    work = open_review(plan(retrain_and_export, manifest))
    token = secrets.token_urlsafe(16)
    with socket.create_server(("127.0.0.1", port)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/?token={token}"
        typer.echo(f"{len(work.asked):,} questions; decisions go to {work.file}; Ctrl-C ends\n{address}")
        if browser:
            webbrowser.open(address)
        config = uvicorn.Config(review_app(work, token), log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])
