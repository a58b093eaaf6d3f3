from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import stylegan
from stylegan.architectures import build_networks
from stylegan.config import TrainConfig
from stylegan.faces import Faces, to_images
from stylegan.model import Model
from stylegan.random import generator
from stylegan.ranking import features_of, neighbour_distances, reference_features, score_faces, score_images
from stylegan.training import Stop, run_job
from tests.stylegan.conftest import write_shards


@pytest.fixture(scope="module")
def faces(shards: Path) -> Faces:
    return Faces(shards, "train")


@pytest.fixture
def checkpoint(make_run: Callable[..., Path]) -> Path:
    run = make_run(kimg=0.08)
    assert run_job(run, Stop()) == 0
    torch.use_deterministic_algorithms(False)
    return run / "checkpoints" / "000000.080"


@pytest.fixture
def model(checkpoint: Path) -> Model:
    return stylegan.load(checkpoint)


def test_a_score_is_the_discriminators_own_logit_on_the_assembled_batch(model: Model, faces: Faces) -> None:
    scores = score_faces(model, faces, 16, reference_seed=4)
    chosen = torch.randperm(15, generator=generator(4, "reference"))[:3]
    assert model.reference is not None
    for i in (0, 5, 41):
        batch = to_images(torch.cat([faces.images([i]), model.reference[chosen]]))
        assert float(model.score(batch)[0]) == pytest.approx(scores[i], abs=1e-5)


def test_a_score_depends_on_its_face_alone(model: Model, faces: Faces) -> None:
    scores = score_faces(model, faces, 64)
    assert scores.dtype == np.float32
    assert len(set(scores.tolist())) > 30
    for batch_size in (1, 5, 16):
        np.testing.assert_allclose(score_faces(model, faces, batch_size), scores, atol=1e-5)
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(1))
    references = reference_features(model, 0)
    shuffled = score_images(model, to_images(faces.images(order)), references)
    np.testing.assert_allclose(shuffled.numpy(), scores[order.numpy()], atol=1e-5)


def test_a_score_needs_no_training_faces_at_hand(model: Model, faces: Faces, shards: Path) -> None:
    held_out = Faces(shards, "held_out")
    alone = score_images(model, to_images(held_out.images([2])), reference_features(model, 0))
    np.testing.assert_allclose(alone.numpy(), score_faces(model, held_out)[2:3], atol=1e-5)


def test_a_scrambled_layout_gives_other_scores(model: Model, faces: Faces) -> None:
    pixels = faces.images(range(16))
    references = reference_features(model, 0)
    right = score_images(model, to_images(pixels), references)
    # The published ranker's error: height x width x channels reshaped, not transposed, to channels first.
    scrambled = pixels.permute(0, 2, 3, 1).contiguous().reshape(pixels.shape)
    wrong = score_images(model, to_images(scrambled), references)
    assert float((right - wrong).abs().mean()) > 0.01
    unscaled = score_images(model, pixels.to(torch.float32), references)
    assert float((right - unscaled).abs().mean()) > 0.1


def test_a_model_file_alone_cannot_rank_and_says_why(checkpoint: Path, faces: Faces) -> None:
    with pytest.raises(ValueError, match="holds no reference faces"):
        score_faces(stylegan.load(checkpoint / "model.safetensors"), faces)


def test_a_model_file_alone_samples_like_its_folder(checkpoint: Path, model: Model) -> None:
    z = torch.randn(3, model.z_dim, generator=torch.Generator().manual_seed(2))
    alone = stylegan.load(checkpoint / "model.safetensors")
    assert torch.equal(alone.sample(z), model.sample(z))


def test_psi_zero_samples_the_same_face_and_truncation_is_really_applied(model: Model) -> None:
    z = torch.randn(3, model.z_dim, generator=torch.Generator().manual_seed(2)).numpy()
    still = model.sample(z, psi=0)
    assert torch.equal(still, still[:1].expand_as(still))
    assert not torch.equal(model.sample(z, psi=1), model.sample(z, psi=0.5))
    assert torch.equal(model.sample(z, psi=0, cutoff=0), model.sample(z, psi=1))


def test_random_noise_follows_its_seed(model: Model) -> None:
    w = model.map(torch.randn(2, model.z_dim, generator=torch.Generator().manual_seed(2)))
    model.G.synthesis.blocks[-1].conv1.noise_strength.fill_(0.5)
    first, again, other = (model.synthesise(w, "random", seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, model.synthesise(w, "none"))


def test_a_model_without_a_discriminator_says_so(model: Model) -> None:
    without = Model(model.config, model.G)
    with pytest.raises(ValueError, match="holds no discriminator"):
        without.score(torch.zeros(4, 3, 16, 16))


def test_importing_stylegan_imports_no_torch_and_no_prefect() -> None:
    import subprocess
    import sys

    code = "import sys, stylegan; sys.exit(bool({'torch', 'prefect'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_a_face_of_a_class_is_scored_as_training_judges_its_class(tmp_path: Path) -> None:
    network = {"num_labels": 2, "z_dim": 16, "w_dim": 16, "mapping_layers": 2, "channel_base": 128, "channel_max": 16}
    config = TrainConfig.model_validate({"resolution": 16, "batch": 8, "network": network})
    G, D = build_networks(config.network, 16, seed=1)
    faces = Faces(write_shards(tmp_path / "faces", 16, 16))
    faces.labels = [i % 2 for i in range(len(faces))]
    reference = faces.images(range(8))
    model = Model(config, G, D, reference=reference)
    scores = score_faces(model, faces, batch_size=5)
    chosen = reference_features(model, 0)
    image, label = to_images(faces.images([3])), torch.tensor([[0.0, 1.0]])
    group = torch.cat([D.features(image), chosen])
    assert float(D.epilogue(group, label.repeat(4, 1))[0]) == pytest.approx(float(scores[3]), abs=1e-6)
    other = D.epilogue(group, label.flip(1).repeat(4, 1))[0]
    assert float(other) != pytest.approx(float(scores[3]), abs=1e-4)


@pytest.mark.parametrize("architecture", ["r3gan", "dcgan"])
def test_a_discriminator_without_groups_scores_as_it_judges(tmp_path: Path, architecture: str) -> None:
    config = TrainConfig.model_validate(
        {"resolution": 16, "batch": 8, "network": {"architecture": architecture, "z_dim": 8}}
    )
    G, D = build_networks(config.network, 16, seed=1)
    faces = Faces(write_shards(tmp_path / "faces", 8, 16))
    model = Model(config, G, D, reference=faces.images(range(4)))
    logits = D(to_images(faces.images(range(len(faces))))).detach().numpy()
    np.testing.assert_allclose(score_faces(model, faces), logits, rtol=1e-4, atol=1e-5)


def test_the_mean_over_flips_is_that_of_a_face_and_its_mirror(model: Model, faces: Faces) -> None:
    references = reference_features(model, 0)
    images = to_images(faces.images(range(8)))
    expected = (score_images(model, images, references) + score_images(model, images.flip(3), references)) / 2
    np.testing.assert_allclose(score_faces(model, faces, flips=True)[:8], expected.numpy(), atol=1e-5)


def test_neighbours_are_as_a_plain_search_finds_them() -> None:
    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(40, 6, generator=generator, dtype=torch.float64) * torch.tensor([9.0, 3, 1, 1, 0.5, 0.5])
    others = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    rows, own = torch.cat([pool, others]), torch.cat([torch.arange(40), torch.full((5,), -1)])
    found = neighbour_distances(rows, pool, own, 3)
    # Slowly: Mahalanobis distances in the components that hold 95 % of the spread.
    centred = (pool - pool.mean(0)).numpy()
    _, deviations, axes = np.linalg.svd(centred / np.sqrt(len(pool)), full_matrices=False)
    held = np.cumsum(deviations**2) / (deviations**2).sum()
    count = int((held < 0.95).sum()) + 1
    white = lambda points: (points - pool.mean(0).numpy()) @ axes[:count].T / deviations[:count]  # noqa: E731
    for row in range(45):
        distances = np.linalg.norm(white(rows[row].numpy()) - white(pool.numpy()), axis=1)
        nearest = np.sort(np.delete(distances, row) if row < 40 else distances)[:3]
        assert found[row] == pytest.approx(nearest.mean(), rel=1e-6)


def test_a_faces_distance_does_not_hang_on_who_else_is_asked_about(model: Model, faces: Faces) -> None:
    features = features_of(model, faces)
    own = torch.arange(len(features))
    whole = neighbour_distances(features, features, own, 5)
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(neighbour_distances(features[order], features, own[order], 5), whole[order], rtol=1e-9)


def test_an_outlier_is_far_from_everybody() -> None:
    pool = torch.randn(200, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    far = neighbour_distances(torch.full((1, 8), 9.0, dtype=torch.float64), pool, torch.tensor([-1]), 5)
    assert far[0] > neighbour_distances(pool, pool, torch.arange(200), 5).max()


def test_more_neighbours_than_faces_are_refused() -> None:
    pool = torch.zeros(4, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="4 neighbours in a pool of 4 faces: choose 1 to 3"):
        neighbour_distances(pool, pool, torch.arange(4), 4)
