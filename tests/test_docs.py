"""What the README and the docs say works: every command parses, every name exists, code runs."""

import importlib
import re
import shlex
from pathlib import Path

import click
import pytest

import unmask
from unmask.cli import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
IDS = [page.name for page in PAGES]
PYTHON = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
]


def commands(page: Path) -> list[str]:
    """Every indented line that is a call of the command."""
    text = page.read_text().replace("\\\n", " ")
    return [line.strip() for line in re.findall(r"^ {4,}(unmask [^\n]*)", text, re.M)]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_of_the_docs_is_one(page: Path) -> None:
    for line in commands(page):
        verb, *arguments = shlex.split(line, comments=True)[1:]
        if verb == "VERB":
            continue
        command = cli.commands[verb]
        arguments = [argument.removesuffix("...") for argument in arguments]
        try:
            command.make_context(verb, arguments)
        except click.UsageError as error:
            if "does not exist" not in str(error):  # a placeholder for a file
                pytest.fail(f"{page.name}: {line}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_name_of_the_docs_exists(page: Path) -> None:
    for name in set(re.findall(r"`(unmask(?:\.\w+)+)", page.read_text())):
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), f"{page.name}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_of_the_docs_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    anchors = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.M)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("code", PYTHON)
def test_every_python_block_runs(
    code: str, processed: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with clips and a split; training is made small, not other."""
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).symlink_to(clip)
    (tmp_path / "split").symlink_to(processed.parent / "split")
    monkeypatch.chdir(tmp_path)
    small = {"backbone": "test_resnet", "weights": "random", "workers": 0, "epochs": 1}

    def train(*arguments: object, **settings: object) -> object:
        return train_for_long(*arguments, **{**settings, **small})  # type: ignore[arg-type]

    train_for_long = unmask.train
    monkeypatch.setattr(unmask, "train", train)
    exec(compile(code, "docs", "exec"), {})
