"""Small data sets in the layouts of the real ones, made of a dozen pictures each."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ATTRIBUTES = ("5_o_Clock_Shadow", "Eyeglasses", "Male", "Smiling")


def picture(seed: int, size: tuple[int, int] = (16, 20), format: str = "JPEG") -> bytes:
    """An encoded picture of random squares, size = (width, height)."""
    small = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize(size, Image.Resampling.NEAREST).save(out, format)
    return out.getvalue()


def write(path: Path, data: bytes | str) -> Path:
    """The file, its folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def celeba_tree(root: Path, count: int = 12) -> dict[str, Any]:
    """img_align_celeba.zip and the four text files, as the authors give them; the config of a source that reads them.

    Pictures of an odd number wear glasses; number n shows person n // 2.
    """
    names = [f"{number:06d}.jpg" for number in range(1, count + 1)]
    root.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(root / "img_align_celeba.zip", "w") as archive:
        for number, name in enumerate(names, 1):
            archive.writestr(f"img_align_celeba/{name}", picture(number, (178, 218)))
    worn = [f"{name}  {-1:>2}  {1 if n % 2 else -1:>2} -1  1" for n, name in enumerate(names, 1)]
    write(root / "list_attr_celeba.txt", "\n".join([str(count), " ".join(ATTRIBUTES) + " ", *worn, ""]))
    write(root / "identity_CelebA.txt", "".join(f"{name} {n // 2}\n" for n, name in enumerate(names, 1)))
    head = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    points = [f"{name}  69  109  106  113   77  142   73  152  108  154" for name in names]
    write(root / "list_landmarks_align_celeba.txt", "\n".join([str(count), head, *points, ""]))
    write(root / "list_eval_partition.txt", "".join(f"{name} {n % 3}\n" for n, name in enumerate(names, 1)))
    return {
        "kind": "celeba",
        "urls": [str(root / "img_align_celeba.zip")],
        "count": count,
        "attributes": {"urls": [str(root / "list_attr_celeba.txt")]},
        "identity": {"urls": [str(root / "identity_CelebA.txt")]},
        "landmarks": {"urls": [str(root / "list_landmarks_align_celeba.txt")]},
        "partition": {"urls": [str(root / "list_eval_partition.txt")]},
    }


def ffhq_tree(root: Path, count: int = 12, folders: bool = True) -> dict[str, Any]:
    """images1024x1024/ and thumbnails128x128/ with their json; the config of a source that reads the large ones."""
    about = {}
    for number in range(count):
        place = f"{number // 1000 * 1000:05d}/{number:05d}.png" if folders else f"{number:05d}.png"
        large, small = picture(1000 + number, (64, 64), "PNG"), picture(2000 + number, (8, 8), "PNG")
        write(root / "images1024x1024" / place, large)
        write(root / "thumbnails128x128" / place, small)
        about[str(number)] = ffhq_entry(number, large, small)
    write(root / "ffhq-dataset-v2.json", json.dumps(about))
    return {"kind": "ffhq", "urls": [str(root)], "about": {"urls": [str(root / "ffhq-dataset-v2.json")]}}


def ffhq_entry(number: int, large: bytes, small: bytes) -> dict[str, Any]:
    """What ffhq-dataset-v2.json says of a picture; landmark i is at (i, 2 i)."""
    points = [[float(i), 2.0 * i] for i in range(68)]
    file = f"{number // 1000 * 1000:05d}/{number:05d}.png"
    return {
        "category": "training" if number % 3 else "validation",
        "metadata": {
            "photo_url": f"https://example.org/photos/{number}",
            "photo_title": "DSCF0899.JPG",
            "author": "Jérémy \ud83d\ude00",
            "country": "",
            "license": "Attribution License" if number % 2 else "Public Domain Mark",
            "license_url": "https://creativecommons.org/licenses/by/2.0/",
            "date_uploaded": "2007-08-16",
            "date_crawled": "2018-10-10",
        },
        "image": {
            "file_url": "https://example.org/uc?id=1",
            "file_path": f"images1024x1024/{file}",
            "file_size": len(large),
            "file_md5": hashlib.md5(large).hexdigest(),
            "pixel_size": [64, 64],
            "pixel_md5": "0" * 32,
            "face_landmarks": points,
        },
        "thumbnail": {
            "file_path": f"thumbnails128x128/{file}",
            "file_size": len(small),
            "file_md5": hashlib.md5(small).hexdigest(),
            "pixel_size": [8, 8],
        },
        "in_the_wild": {"file_path": f"in-the-wild-images/{file}", "pixel_size": [300, 200], "face_landmarks": points},
    }


RATINGS = "ssqe"  # of danbooru_tree's posts in turn: half of them are safe


def danbooru_ids(count: int = 12) -> list[int]:
    """Ids of three buckets, beginning with 1001."""
    return [1001 + 1000 * (n // 3) + n % 3 for n in range(count)]


def danbooru_tree(root: Path, count: int = 12, metadata: str = "metadata/2021.json") -> dict[str, Any]:
    """original/ with all posts and 512px/ with the safe ones, and the old dumps' JSON lines beside them.

    The config of a source that reads the originals. Pictures at original/ have 64 x 48 px, those at 512px/ 16 x 16 px,
    and the metadata says that the originals have 2048 x 1024 px.
    """
    lines = []
    for number, id in enumerate(danbooru_ids(count)):
        suffix = "png" if number % 2 else "jpg"
        large = picture(3000 + number, (64, 48), "PNG" if number % 2 else "JPEG")
        write(root / f"original/{id % 1000:04d}/{id}.{suffix}", large)
        if RATINGS[number % 4] == "s":
            write(root / f"512px/{id % 1000:04d}/{id}.jpg", picture(4000 + number, (16, 16)))
        lines.append(json.dumps(old_post(id, number, hashlib.md5(large).hexdigest(), suffix)))
    write(root / metadata, "\n".join(lines) + "\n")
    return {"kind": "danbooru", "path": str(root), "metadata": [metadata]}


def old_post(id: int, number: int, md5: str, suffix: str) -> dict[str, Any]:
    """A post as the dumps of 2018 to 2021 have it: every number a text, tags with their kinds."""
    tags = [("1girl", "0"), ("artist_x", "1"), ("hatsune_miku", "4"), ("vocaloid", "3"), ("highres", "5")]
    tags += [("solo", "0")] if number % 2 else [("2girls", "0")]
    return {
        "id": str(id),
        "created_at": f"2018-01-{1 + number:02d} 23:21:23.26347 UTC",
        "score": str(number),
        "source": f"https://example.org/{id}",
        "md5": md5,
        "rating": RATINGS[number % 4],
        "image_width": "2048",
        "image_height": "1024",
        "file_ext": suffix,
        "parent_id": "0",
        "is_deleted": False,
        "tags": [{"id": "1", "name": name, "category": kind} for name, kind in tags],
        "pools": [],
        "favs": [str(n) for n in range(number)],
    }


def new_post(id: int, number: int, md5: str, suffix: str) -> dict[str, Any]:
    """The same post as the site's API and the newer tables have it."""
    return {
        "id": id,
        "created_at": f"2018-01-{1 + number:02d}T18:21:23.263-05:00",
        "score": number,
        "source": f"https://example.org/{id}",
        "md5": md5,
        "rating": RATINGS[number % 4],
        "image_width": 2048,
        "image_height": 1024,
        "file_ext": suffix,
        "parent_id": None,
        "is_deleted": False,
        "fav_count": number,
        "tag_string": "1girl hatsune_miku vocaloid highres artist_x " + ("solo" if number % 2 else "2girls"),
        "tag_string_general": "1girl solo" if number % 2 else "1girl 2girls",
        "tag_string_artist": "artist_x",
        "tag_string_character": "hatsune_miku",
        "tag_string_copyright": "vocaloid",
        "tag_string_meta": "highres",
    }


def tar_of(members: dict[str, bytes]) -> bytes:
    """A tar of these members in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def webdataset_members(first: int, count: int = 4) -> dict[str, bytes]:
    """Samples of a picture, its JSON, its class and a caption."""
    members = {}
    for number in range(first, first + count):
        about = {"rating": "g", "score": number, "tags": ["b", "a"], "license": "CC0-1.0"}
        members[f"{number:06d}.jpg"] = picture(5000 + number)
        members[f"{number:06d}.json"] = json.dumps(about).encode()
        members[f"{number:06d}.cls"] = b"%d" % (number % 3)
        members[f"{number:06d}.txt"] = f"picture {number}\n".encode()
    return members


def webdataset_shards(root: Path, shards: int = 3) -> dict[str, Any]:
    """shard-000.tar, ... of four samples each; the config of a source that reads them."""
    for number in range(shards):
        write(root / f"shard-{number:03d}.tar", tar_of(webdataset_members(4 * number)))
    return {"kind": "webdataset", "shards": [f"{root}/shard-{{000..{shards - 1:03d}}}.tar"]}
