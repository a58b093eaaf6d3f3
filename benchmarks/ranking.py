"""Which scores find planted defects: the discriminator's, ours and as published scripts take it, and plain measures.

    python -m benchmarks.ranking toon [--share 0.1] [--kimg 32] [--faces 1500] [--seed 0]
    python -m benchmarks.ranking photos --realdata ../shared/realdata

Defects are planted among the training faces, a network is trained on all of them, and every score ranks them. A table
says for each kind of defect the area under the ROC curve (0.5 is chance) and, for all kinds together, which part of
the lowest so many faces are planted ones, so many being the number planted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.planting import (
    DEFECTS,
    SIDE,
    Planted,
    aligned_faces,
    faces_of,
    photo_scenes,
    plant,
    toon_scenes,
    write_faces,
)
from imaging.measure import measures
from stylegan import load
from stylegan.faces import Faces
from stylegan.model import Model
from stylegan.presets import resolve
from stylegan.ranking import features_of, neighbour_distances, score_faces

Scores = npt.NDArray[np.float64]


def area_under_curve(scores: Scores, bad: npt.NDArray[np.bool_]) -> float:
    """The chance that a bad face scores below a good one (Mann and Whitney), ties counting half."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([scores[bad], scores[~bad]]))
    num_bad, num_good = int(bad.sum()), int((~bad).sum())
    return 1 - float(ranks[:num_bad].sum() - num_bad * (num_bad + 1) / 2) / (num_bad * num_good)


def precision(scores: Scores, bad: npt.NDArray[np.bool_]) -> float:
    """The part of the lowest so many faces that are bad, so many being the number of bad ones."""
    lowest = np.argsort(scores, kind="stable")[: bad.sum()]
    return float(bad[lowest].mean())


def standard(scores: Scores) -> Scores:
    """Scores with mean 0 and deviation 1, to be added."""
    return np.asarray((scores - scores.mean()) / max(float(scores.std()), 1e-12))


def scrambled(model: Model, faces: Faces) -> Scores:
    """As the published ranker is described: HWC bytes taken for CHW, 0..255, each face alone."""
    found = []
    for position in range(len(faces)):
        pixels = torch.from_numpy(np.ascontiguousarray(faces.image(position)))
        images = pixels.reshape(1, 3, *pixels.shape[:2]).float()
        with torch.no_grad():
            found.append(float(model.discriminator(images)[0]))
    return np.array(found)


def laplacian_variance(planted: Planted) -> Scores:
    """The plain measure of sharpness."""
    greys = (cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in planted.faces)
    return np.array([float(cv2.Laplacian(grey, cv2.CV_64F).var()) for grey in greys])


def saturation(planted: Planted) -> Scores:
    """Our measure of colour."""
    return np.array([measures(face).saturation for face in planted.faces])


def train(folder: Path, kimg: float, seed: int) -> list[Path]:
    """The last checkpoints, the newest last, of a training on the faces of a folder."""
    config = resolve(
        "toon", {"resolution": SIDE, "kimg": kimg, "seed": seed, "keep_last": 4, "snapshot_kimg": kimg / 8}
    )
    run = folder / "run"
    run.mkdir()
    job = {"config": config.model_dump(mode="json"), "shards": str(folder), "start": None}
    (run / "job.json").write_text(json.dumps(job))
    subprocess.run([sys.executable, "-m", "stylegan.training", str(run)], check=True, stdout=subprocess.DEVNULL)
    return sorted((run / "checkpoints").iterdir())


def table_of(scores: dict[str, Scores], kinds: list[str]) -> str:
    """The areas by kind and over all, and the precision, as Markdown."""
    named = np.array(kinds)
    clean = named == ""
    lines = [f"| score | {' | '.join(DEFECTS)} | all | precision |", "|---" * (len(DEFECTS) + 3) + "|"]
    for name, values in scores.items():
        areas = [
            area_under_curve(values[clean | (named == kind)], (named == kind)[clean | (named == kind)])
            for kind in DEFECTS
        ]
        total = area_under_curve(values, ~clean)
        cells = " | ".join(f"{area:.3f}" for area in [*areas, total])
        lines.append(f"| {name} | {cells} | {precision(values, ~clean):.2f} |")
    return "\n".join(lines)


def all_scores(planted: Planted, folder: Path, checkpoints: list[Path], seed: int) -> dict[str, Scores]:
    """Every score by name; higher is better."""
    faces = Faces(folder, "train")
    models = [load(checkpoint) for checkpoint in checkpoints]
    last = models[-1]
    logit = standard(score_faces(last, faces).astype(np.float64))
    flips = standard(score_faces(last, faces, flips=True).astype(np.float64))
    several = standard(
        np.mean([standard(score_faces(m, faces, flips=True).astype(np.float64)) for m in models], axis=0)
    )
    features, own = features_of(last, faces), torch.arange(len(faces))
    near = {f"features, {k} neighbours": standard(-neighbour_distances(features, features, own, k)) for k in (1, 5, 20)}
    usual = near["features, 20 neighbours"]
    both = {f"logits of several + {name}": standard(several + values) for name, values in near.items()}
    both |= {"logit + 20 neighbours": standard(logit + usual), "over flips + 20 neighbours": standard(flips + usual)}
    chance = np.random.default_rng(seed).standard_normal(len(faces))
    return {
        "logit": logit,
        "mean over flips": flips,
        f"and over {len(models)} checkpoints": several,
        **near,
        **both,
        "scrambled (as published)": scrambled(last, faces),
        "Laplacian variance": laplacian_variance(planted),
        "saturation": saturation(planted),
        "chance": chance,
    }


def faces_by_name(name: str, count: int, realdata: Path | None) -> Callable[[float, int], Planted]:
    """A function (share, seed) that plants among the faces of this name."""
    drawn = list(toon_scenes(count if name == "toon" else 200))
    real = aligned_faces(realdata, count if name == "photos" else 200) if realdata else []
    if name == "toon":
        others = real or [np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in range(0, 256, 16)]
        return lambda share, seed: plant(faces_of(drawn)[:count], drawn, others, share, seed)
    assert realdata is not None, "photos need --realdata"
    scenes = list(photo_scenes(realdata))
    return lambda share, seed: plant(real, scenes, faces_of(drawn), share, seed)


def main() -> None:
    """Plant, train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces_of", choices=("toon", "photos"))
    parser.add_argument("--realdata", type=Path, default=None)
    parser.add_argument("--faces", type=int, default=1500)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--kimg", type=float, default=32.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    planted = faces_by_name(asked.faces_of, asked.faces, asked.realdata)(asked.share, asked.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_faces(planted, folder)
        checkpoints = train(folder, asked.kimg, asked.seed)
        num_bad = sum(kind != "" for kind in planted.kinds)
        print(f"{asked.faces_of}: {len(planted.kinds)} faces, {num_bad} of them planted, {asked.kimg:g} kimg")
        print(table_of(all_scores(planted, folder, checkpoints, asked.seed), planted.kinds))


if __name__ == "__main__":
    main()
