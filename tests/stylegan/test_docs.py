"""What the documentation shows runs, what it tabulates is the code's, and what it names is there."""

from __future__ import annotations

import contextlib
import importlib
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import typer
from pydantic import BaseModel

from flows.cli import app
from stylegan.architectures import ARCHITECTURES
from stylegan.config import (
    AugmentConfig,
    DCGANConfig,
    GrowthConfig,
    R3GANConfig,
    StyleGAN1Config,
    StyleGAN2Config,
    StyleGAN3Config,
    TrainConfig,
)
from tests.stylegan.doc_tables import SHOWN, TABLES, between
from tests.stylegan.test_foreign_formats import write_r3gan, write_tensorflow

ROOT = Path(__file__).resolve().parents[2]
PYTHON_PAGES = ("README.md", "docs/library.md", "docs/import.md", "docs/guide.md")
PAGES = ("README.md", "docs/library.md", "docs/guide.md", "docs/presets.md", "docs/import.md", "docs/prefect.md")

# What stands for the files that a reader has: a fixture's name, or what writes one.
FOREIGN: dict[str, str | Callable[[Path, Path], None]] = {
    "ffhq.pkl": "nv_sg2_uncond_32.pkl",
    "afhq-cond.pkl": "nv_sg2_cond_64.pkl",
    "stylegan3-t-ffhq.pkl": "nv_sg3t_32.pkl",
    "stylegan3-r-ffhq.pkl": "nv_sg3r_32.pkl",
    "stylegan2-ffhq-config-f.pkl": lambda fixtures, path: write_tensorflow(path),
    "000100.pt": "ros_sg2_32_000100.pt",
    "550000.pt": "ros_sg2_32_000100.pt",
    "train_step-5.model": "ros_sg1_train_step-5.model",
    "010000.model": "ros_sg1_010000.model",
    "network-snapshot-000123.pkl": write_r3gan,
    "model_1.pt": "luc_sg2_32_model_1.pt",
}


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int  # of its first line, from 1
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str, language: str) -> list[Block]:
    """The blocks of a page in a language, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(page, text.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


def all_blocks(pages: tuple[str, ...], language: str) -> list[Any]:
    return [pytest.param(block, id=str(block)) for page in pages for block in blocks(page, language)]


# Examples.


@pytest.fixture(scope="module")
def desks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder for every page, in which its blocks run one after another."""
    made: dict[str, Path] = {}

    def desk(page: str) -> Path:
        if page not in made:
            made[page] = tmp_path_factory.mktemp(Path(page).stem)
        return made[page]

    return desk


@pytest.fixture
def _torch_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def place_files(block: Block, folder: Path, request: pytest.FixtureRequest) -> None:
    """Put what a block names of other projects' files into its folder."""
    for name in re.findall(r'"([\w.-]+\.(?:pkl|pt|model))"', block.text):
        stand_in, path = FOREIGN[name], folder / name
        if path.exists():
            continue
        fixtures: Path = request.getfixturevalue("fixtures")
        if callable(stand_in):
            stand_in(fixtures, path)
        else:
            path.symlink_to(fixtures / stand_in)


@pytest.mark.usefixtures("_torch_as_it_was")
@pytest.mark.parametrize("block", all_blocks(PYTHON_PAGES, "python"))
def test_an_example_runs_as_it_stands(
    block: Block, desks: Callable[[str], Path], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = desks(block.page)
    place_files(block, folder, request)
    monkeypatch.chdir(folder)
    # Empty lines before it, so that an error names the page's own line.
    exec(compile("\n" * (block.line - 1) + block.text, block.page, "exec"), {"__name__": "example"})


# Commands.


def check_click(words: list[str]) -> None:
    """`stylegan ...`: the command is there and takes these arguments."""
    commands: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    inner = commands[words[0]]
    inner.make_context(words[0], words[1:])


def check_module(words: list[str]) -> None:
    """`python -m MODULE ...`: the module is there, and its help knows the options."""
    assert words[0] == "-m"
    said: list[str] = []
    module = importlib.import_module(words[1])
    with contextlib.redirect_stdout(Writer(said)), pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    assert ended.value.code == 0
    options = {word.split("=")[0] for word in words if word.startswith("--")}
    assert options <= set(re.findall(r"--[\w-]+", "".join(said))), options


class Writer:
    """A file that keeps what it is told."""

    def __init__(self, said: list[str]) -> None:
        self.said = said

    def write(self, text: str) -> int:
        self.said.append(text)
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""


def check_torchrun(words: list[str]) -> None:
    """`torchrun ... -m MODULE ...`."""
    from torch.distributed.run import get_args_parser

    get_args_parser().parse_args(words)
    check_module(words[words.index("-m") :])


def check_make(words: list[str]) -> None:
    """`make TARGET`."""
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(words) <= set(targets)


def check_installed(program: str) -> Callable[[list[str]], None]:
    """A program of ours that lies beside Python."""
    return lambda words: check_exists(Path(sys.executable).parent / program)


def check_exists(path: Path) -> None:
    assert path.exists(), path


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "stylegan": check_click,
    "python": check_module,
    "torchrun": check_torchrun,
    "make": check_make,
    "tensorboard": check_installed("tensorboard"),
    "prefect": check_installed("prefect"),
}


def command_lines() -> Iterator[Any]:
    for page in PAGES:
        for block in blocks(page, "sh"):
            for offset, line in enumerate(block.text.splitlines()):
                if shlex.split(line, comments=True):
                    yield pytest.param(line, id=f"{page}:{block.line + offset}")


@pytest.mark.parametrize("line", list(command_lines()))
def test_a_command_is_there_and_takes_what_it_is_given(line: str) -> None:
    program, *words = shlex.split(line, comments=True)
    COMMANDS[program.removeprefix(".venv/bin/")](words)


# Tables.


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_what_the_code_says(name: str) -> None:
    page, table = TABLES[name]
    found = between(name).search((ROOT / page).read_text(encoding="utf-8"))
    assert found
    assert found[0] == f"\n{table()}\n", "write it anew: python -m tests.stylegan.doc_tables"


def test_every_architecture_stands_in_the_table() -> None:
    assert set(SHOWN) == set(ARCHITECTURES)


# Names.


def quoted(page: str) -> list[str]:
    """What a page says in `backticks`, its blocks aside."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [(ROOT / page).parent / link for link in re.findall(r"\]\((?!http)([^)#]+)\)", text)]
    named = [
        ROOT / name for name in quoted(page) if re.fullmatch(r"(stylegan|docs|tests|benchmarks)/[\w/]+\.\w+", name)
    ]
    assert [path for path in [*links, *named] if not path.exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_code_that_a_page_names_is_there(page: str) -> None:
    for name in quoted(page):
        if re.fullmatch(r"(stylegan|benchmarks)(\.\w+)+", name) and not name.endswith((".yaml", ".json")):
            assert found_by_name(name) is not None, name


def found_by_name(name: str) -> Any:
    """A module, or what a module holds."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(module), attribute)


CONFIGS: dict[str, tuple[type[BaseModel], ...]] = {
    "": (TrainConfig,),
    "augment": (AugmentConfig,),
    "growth": (GrowthConfig,),
    "network": (StyleGAN2Config, StyleGAN1Config, StyleGAN3Config, R3GANConfig, DCGANConfig),
}


@pytest.mark.parametrize("page", PAGES)
def test_options_of_training_that_a_page_names_are_there(page: str) -> None:
    for name in quoted(page):
        if (found := re.match(r"train\.(?:(\w+)\.)?(\w+)(?![\w(])", name)) and found[2] not in ("preset", *CONFIGS):
            assert any(found[2] in config.model_fields for config in CONFIGS[found[1] or ""]), name
