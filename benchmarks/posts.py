"""Pictures chosen from millions of posts: seconds of a core and memory, for Parquet and JSON lines.

    python -m benchmarks.posts [--posts 500000] [--share 0.05] [--kind parquet|lines] [--folder /tmp]

The posts are made up in the form of the newer dumps: 29 tags, 20 columns. The tree is a list of names, not of files;
`share` of the buckets is here. One kind a run, because memory is the process's.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.sources import DanbooruSource
from tasks.sources.danbooru import BUCKETS, Selection
from tasks.sources.listing import Listed

GROUP = 20_000  # posts that are made; the others have their tags and other ids
WHERE = "rating in ['g', 's'] and score >= 10 and '1girl' in tags"


def main(num_posts: int, share: float, kind: str, folder: Path) -> None:
    """Print what one pass over the posts costs, and how many are wanted."""
    path = folder / f"posts.{kind}"
    write_posts(path, num_posts, kind)
    config = DanbooruSource(kind="danbooru", path=str(folder), metadata=(path.name,), where=WHERE)
    here = int(BUCKETS * share)
    ids = (id for id in range(1, num_posts + 1) if id % BUCKETS < here)
    files = [Listed(f"{id % BUCKETS:04d}/{id}.jpg", folder, 100_000 + id, 10**18 + id, 33188) for id in ids]
    listed = memory()
    began = time.process_time()
    selection = Selection(config, files)
    selection.read(lambda done, total, unit: None)
    seconds = time.process_time() - began
    wanted = sum(json.loads(said)[0] for said in selection.said.values())
    size = path.stat().st_size / 1e6
    print(f"{kind}: {num_posts:,} posts of {size:,.0f} MB, {len(files):,} files, {wanted:,} wanted")
    print(f"{seconds:.1f} s of a core ({num_posts / seconds:,.0f} posts/s)")
    print(f"{memory():,.0f} MB at most, {listed:,.0f} before the posts were read")


def memory() -> float:
    """The most that this process has taken so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_posts(path: Path, num_posts: int, kind: str) -> None:
    """A file of so many posts, rounded up to whole groups."""
    group = list(made_up(GROUP))
    if kind == "lines":
        rests = [json.dumps(post).partition(",")[2] for post in group]
        with path.open("w", encoding="utf-8") as out:
            for first in range(1, num_posts + 1, GROUP):
                out.writelines(f'{{"id": {first + n},{rest}\n' for n, rest in enumerate(rests))
        return
    table = pa.Table.from_pylist(group)
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for first in range(1, num_posts + 1, GROUP):
            writer.write_table(table.set_column(0, "id", pa.array(np.arange(first, first + GROUP))))


def made_up(count: int) -> Iterator[dict[str, Any]]:
    """Posts in the form of the newer dumps, always the same."""
    draw = random.Random(0)
    words = [f"tag_{number}_of_some_length" for number in range(2000)]
    for n in range(count):
        tags = [*draw.sample(words, 28), "1girl" if n % 3 else "2girls"]
        yield {
            "id": n,
            "created_at": f"20{5 + n % 17:02d}-0{1 + n % 9}-1{n % 10}T18:21:23.263-05:00",
            "score": n % 50,
            "source": f"https://i.example.org/img-original/img/2018/01/18/03/21/23/{n}_p0.jpg",
            "md5": f"{n:032x}",
            "rating": "gsqe"[n % 4],
            "image_width": 1200 + n % 999,
            "image_height": 1600,
            "file_ext": "jpg",
            "file_size": 1_234_567,
            "parent_id": None,
            "has_children": False,
            "is_deleted": False,
            "fav_count": n % 77,
            "tag_string": " ".join(tags),
            "tag_string_general": " ".join(tags[:20]),
            "tag_string_character": tags[20],
            "tag_string_copyright": tags[21],
            "tag_string_artist": tags[22],
            "tag_string_meta": " ".join(tags[23:]),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=500_000)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--kind", choices=("parquet", "lines"), default="parquet")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        main(given.posts, given.share, given.kind, Path(place))
