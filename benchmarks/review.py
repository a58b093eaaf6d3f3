"""How long the review page waits for the next face, at so many faces.

python -m benchmarks.review --faces 100000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from fastapi.testclient import TestClient

from imaging.crop import CropConfig
from imaging.encode import Codec, encode
from manifests.ledger import ledger_of
from tasks.review_queue import questions
from tasks.review_server import Review, review_app
from tasks.shards import open_shard


def made_up(folder: Path, count: int) -> pd.DataFrame:
    """A ledger of so many ranked faces, a tenth of them near-duplicates, and their shard."""
    rng = np.random.default_rng(0)
    faces = [encode(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8), Codec(format="jpg")) for _ in range(16)]
    rows = []
    with open_shard(folder / "train-00.tar") as shard:
        for number in range(count):
            id = f"{number:064x}_000"
            twin = f"{number - number % 2:064x}_000" if number % 20 < 2 else id
            data = faces[number % 16]
            span = shard.add(f"{id}.jpg", data)
            rows.append(
                {
                    **{
                        "id": id,
                        "picture": id[:64],
                        "kind": "face",
                        "origin": f"{number}.jpg",
                        "shard": "train-00.tar",
                    },
                    **{"offset": span.offset, "length": span.length, "group": twin, "keeper": twin, "rank": number},
                    **{"reason": "" if twin == id else f"duplicate_of:{twin}", "score": number / count},
                    **{"x0": 0, "y0": 0, "x1": 600, "y1": 600, "cut_x0": 0, "confidence": number % 97, "sharpness": 99},
                }
            )
    return ledger_of(rows)


def main() -> None:
    """Print the time to build the questions, and percentiles of a step: row, face, decision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=500)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ledger = made_up(folder, asked.faces)
        began = time.perf_counter()
        queue = questions(ledger, CropConfig(), asked.faces // 20)
        review = Review(ledger, queue, folder / "made-up.review.jsonl", folder, lambda picture: folder / picture)
        print(f"{asked.faces:,} faces, {len(queue):,} questions, built in {time.perf_counter() - began:.1f} s")
        client = TestClient(review_app(review, "token"), base_url="http://127.0.0.1")
        client.params = {"token": "token"}
        seconds = [_step(client, question.ids, question.about) for question in queue[: asked.steps]]
        for share in (50, 95, 99):
            print(f"p{share} of a step (its row, its faces, a decision): {1000 * np.percentile(seconds, share):.1f} ms")


def _step(client: TestClient, ids: tuple[str, ...], about: str) -> float:
    began = time.perf_counter()
    client.get(f"/row/{ids[0]}").raise_for_status()
    for id in ids:
        client.get(f"/face/{id}").raise_for_status()
    client.post("/say", json={"id": ids[0], "say": "keep", "about": about}).raise_for_status()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
