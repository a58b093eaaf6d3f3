"""Small data sets in the layouts of the real ones, made of a dozen pictures each."""

from __future__ import annotations

import hashlib
import io
import json
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
