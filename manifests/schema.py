"""The manifest: what is asked, all of it; each section is the config of the code that obeys it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from imaging.augment import CopyConfig
from imaging.crop import CropConfig
from imaging.dedup import DedupConfig
from imaging.upscale import UpscaleConfig
from manifests.sources import Source
from stylegan.config import TrainConfig
from stylegan.figures import FIGURES, FigureConfig
from stylegan.films import FILMS, FilmConfig
from stylegan.metrics import SlicedWassersteinConfig
from stylegan.presets import PRESETS, recipe
from stylegan.ranking import RankConfig

_STRICT = ConfigDict(extra="forbid", frozen=True)


class ShardConfig(BaseModel):
    """How kept faces become shards."""

    model_config = _STRICT
    held_out: float = Field(0.05, ge=0, lt=0.5, description="share of source pictures never trained on, by hash of id")
    about: Literal["auto", "always", "never"] = Field(
        "auto",
        description="KEY.json beside every face, with what its source says of it; auto = where any face has a label, "
        "a rating, tags or facts",
    )


class CleanConfig(BaseModel):
    """Which faces the discriminator's ranking takes out before training goes on."""

    model_config = _STRICT
    drop_lowest: float = Field(0.03, ge=0, lt=0.5, description="share of faces at the low end of the ranking to drop")
    drop_highest: float = Field(0.0, ge=0, lt=0.5, description="share at the high end: the top is odd too, at times")
    drop: tuple[str, ...] = Field((), description="ids (or beginnings of ids) that a person decided to drop")
    keep: tuple[str, ...] = Field((), description="ids (or beginnings of ids) that are never dropped by score")
    control: bool = Field(
        True,
        description="train a second arm with as many faces dropped at random: without it nothing says that cleaning, "
        "not the longer training, made the difference",
    )
    wait: bool = Field(
        False,
        description="no face leaves for its rank before a person looked at it (`stylegan review`): the run ends with "
        "exit code 5 and goes on when it is started again; a deployment's run is suspended until it is resumed",
    )
    wait_hours: float = Field(
        72.0, gt=0, description="a suspended run that nobody resumes in this time ends; the champion stays"
    )
    margin: float = Field(
        0.01, ge=0, lt=1, description="share by which the new model's distance must be lower for it to be kept"
    )


class EvaluateConfig(SlicedWassersteinConfig):
    """How a checkpoint is judged: sliced Wasserstein distance of as many generated images as real ones."""

    num_images: int = Field(1024, ge=16, description="images on each side, at most; fewer where there are fewer faces")
    batch_size: int = Field(32, ge=1, description="images generated at once")
    num_bootstraps: int = Field(2, ge=2, description="resamplings of the pictures; intervals are over repeats instead")
    repeats: int = Field(
        5, ge=1, le=100, description="times it is measured, with other latents and directions; intervals are over these"
    )


class ExportConfig(BaseModel):
    """Which pictures and films leave the house."""

    model_config = _STRICT
    figures: tuple[str, ...] = Field(
        ("sample-grid", "truncation-grid", "style-mixing-grid"), description="keys of FIGURES"
    )
    films: tuple[str, ...] = Field(("training-montage", "random-walk"), description="keys of FILMS")
    figure: FigureConfig = FigureConfig()
    film: FilmConfig = FilmConfig(seconds=10, columns=4, rows=3)

    @field_validator("figures", "films")
    @classmethod
    def _known(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = list(FIGURES) if info.field_name == "figures" else list(FILMS)
        for name in names:
            if name not in known:
                raise ValueError(f"{name!r} is not one of {', '.join(known)}")
        return names


class Manifest(BaseModel):
    """One pipeline from sources to films."""

    model_config = _STRICT
    name: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="names the lock, the run and the report")
    ]
    description: str = Field("", description="what this manifest makes, its cost and its result")
    seed: int = Field(0, ge=0, lt=2**63, description="of everything random")
    resolution: int = Field(64, description="px of the square faces; a power of two")
    buckets: Literal[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096] = Field(
        16, description="units of work and storage, by the leading bits of a picture's id"
    )
    sources: tuple[Source, ...] = Field(min_length=1, description="where pictures come from")
    crop: CropConfig = CropConfig()
    dedup: DedupConfig = DedupConfig()
    upscale: UpscaleConfig = UpscaleConfig()
    augment: CopyConfig | None = Field(None, description="altered copies of training faces; without it there are none")
    shard: ShardConfig = ShardConfig()
    train: TrainConfig
    donor: str | None = Field(None, description="what training starts from: a checkpoint, an imported model, or a file")
    continue_from: Literal["nothing", "champion"] = Field(
        "nothing",
        description="champion = once there is one, new pictures are not trained on from nothing: its discriminator "
        "ranks them, and what `retrain` asks for goes on from it",
    )
    rank: RankConfig = RankConfig()
    clean: CleanConfig | None = Field(None, description="without it there is one training and no cleaning")
    retrain: TrainConfig | None = Field(
        None, description="after cleaning, from the checkpoint; keys not named are train's"
    )
    evaluate: EvaluateConfig = EvaluateConfig()
    export: ExportConfig = ExportConfig()

    @classmethod
    def editor_schema(cls) -> dict[str, Any]:
        """The JSON schema that editors complete and check by: what a person writes, presets included."""
        schema = cls.model_json_schema()
        training = schema["$defs"]["TrainConfig"]
        training["properties"]["preset"] = {
            "enum": sorted(PRESETS),
            "description": "a whole recipe; other keys change it",
        }
        return schema

    @field_validator("resolution")
    @classmethod
    def _power_of_two(cls, resolution: int) -> int:
        if resolution < 4 or resolution > 1024 or resolution & (resolution - 1):
            below = 1 << max(2, min(10, resolution.bit_length() - 1))
            raise ValueError(
                f"{resolution} is not a power of two between 4 and 1024: choose {below} or {min(1024, 2 * below)}"
            )
        return resolution

    @model_validator(mode="before")
    @classmethod
    def _resolve_training(cls, raw: Any) -> Any:
        """Fill `train` from its preset, and `retrain` from `train`; both take seed and resolution from the top."""
        if not isinstance(raw, dict) or not isinstance(raw.get("train", {}), dict):
            return raw
        given = {"resolution": raw.get("resolution", 64), "seed": raw.get("seed", 0)}
        train = dict(raw.get("train") or {})
        filled = {**raw, "train": _training(train, given)}
        if isinstance(raw.get("retrain"), dict):
            filled["retrain"] = _training({**train, **raw["retrain"]}, given)
        return filled

    @model_validator(mode="after")
    def _cleaning_has_a_sequel(self) -> Manifest:
        if (self.clean is None) != (self.retrain is None):
            raise ValueError("clean and retrain go together: state both, or neither (retrain: {} repeats train)")
        if self.continue_from == "champion" and self.retrain is None:
            raise ValueError("continue_from: champion needs clean and retrain: they say how it goes on")
        return self


def _training(asked: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What `preset` stands for, with single values replaced; pydantic sees keys, so that it can name a wrong one."""
    preset = asked.get("preset", "auto")
    if preset not in PRESETS:
        raise ValueError(f"train.preset {preset!r} is unknown: choose one of {', '.join(sorted(PRESETS))}")
    return recipe(preset, {k: v for k, v in asked.items() if k != "preset"} | given)


if __name__ == "__main__":
    import json
    from pathlib import Path

    path = Path(__file__).with_name("manifest.schema.json")
    path.write_text(json.dumps(Manifest.editor_schema(), indent=1) + "\n", encoding="utf-8")
