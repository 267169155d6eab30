"""What the README and the docs say works: every command parses, every name exists, code runs."""

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
import site_pages

import unmask
from unmask.cli import cli

ROOT = Path(__file__).parents[1]
NAMES = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = sorted([*(ROOT / name for name in NAMES), *(ROOT / "docs").glob("*.md")])
IDS = [page.name for page in PAGES]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PYTHON = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
]


# What is shown and not run: answers, names, and other programs' configuration.
SHOWN = re.compile(r"clip\.mp4: |00:00:\d\d - |owner/name@|https://example\.org/folder#")
LANGUAGES = {"python", "sh", "text", "nginx", "caddyfile", "ini"}


def commands(page: Path) -> list[str]:
    """Every line of the indented blocks and those of "sh"."""
    text = page.read_text().replace("\\\n", " ")
    fenced = re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M)
    indented = re.findall(
        r"^ {4,}\S[^\n]*", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.M
    )
    lines = [line for block in fenced for line in block.splitlines()] + indented
    return [line.strip() for line in lines if not SHOWN.match(line.strip())]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_of_the_docs_is_one(page: Path) -> None:
    for line in commands(page):
        check(line, f"{page.name}: {line}")


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert set(re.findall(r"^```([^\n]*)\n.*?^```", page.read_text(), re.S | re.M)) <= LANGUAGES


def check(line: str, where: str) -> None:
    """What the line names is there: verbs, options, make targets, scripts, extras, addresses."""
    line = re.sub(r"^(\w+=(\$\(.*\)|\S+) )+", "", line)
    word, *rest = shlex.split(line, comments=True)
    program = Path(word).name
    if program == "find":
        check(line.partition("| ")[2], where)
    elif program == "torchrun":
        check(shlex.join(rest[rest.index("-m") + 1 :]), where)
    elif program == "unmask":
        check_verb(rest, where)
    elif program == "docker":
        _, _, inside = line.partition(" unmask ")
        check(f"unmask {inside}" if inside.strip(" .") else "make wheel", where)
    elif program == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.M), where
    elif program == "pip":
        extras = re.findall(r"\[([\w,]+)\]", line)
        assert set(",".join(extras).split(",")) <= {"", *EXTRAS}, where
        files = re.findall(r"-r (\S+)", line)
        assert all((ROOT / name).is_file() for name in files), where
    elif program == "curl":
        path = rest[-1].removeprefix("http://127.0.0.1:8000").replace("ID", "{job}")
        assert f'"{path}"' in (ROOT / "src/unmask/serve/app.py").read_text(), where
    elif program == "python" and rest[0] != "-m":
        source = (ROOT / rest[0]).read_text()
        options = [word.partition("=")[0] for word in rest if word.startswith("--")]
        assert [option for option in options if f'"{option}"' not in source] == [], where
    elif "/" in word:
        assert (ROOT / word).stat().st_mode & 0o100, where
    else:
        assert program in ("aws", "python", "sha256sum"), where


def check_verb(words: list[str], where: str) -> None:
    verb, *arguments = words
    if verb == "VERB":
        return
    arguments = [argument.removesuffix("...") for argument in arguments]
    for stop in ("|", ">", "<"):
        arguments = arguments[: arguments.index(stop)] if stop in arguments else arguments
    try:
        cli.commands[verb].make_context(verb, arguments)
    except click.UsageError as error:
        if "does not exist" not in str(error):  # a placeholder for a file
            pytest.fail(f"{where}: {error}")


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


def test_the_site_has_every_page_and_no_link_of_it_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_pages, "PAGES", tmp_path / "pages")
    site_pages.gather()
    made = {path.name for path in (tmp_path / "pages").iterdir()}
    configured = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    assert set(re.findall(r"'([\w-]+\.md)'", str(configured))) == {
        n for n in made if n[-2:] == "md"
    }
    for path in (tmp_path / "pages").glob("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
            assert "://" in target or target in made, f"{path.name}: {target}"


@pytest.mark.parametrize(
    ("html", "asks"),
    [
        ('<script src="https://a.example/x.js"></script>', ["https://a.example/x.js"]),
        ("<link rel=stylesheet href=//a.example/x.css>", ["//a.example/x.css"]),
        ("<style>@import 'https://a.example/x'</style>", ["https://a.example/x"]),
        ("<p style='background: url(http://a.example/x.png)'>", ["http://a.example/x.png"]),
        ('<a href="https://a.example/">a link</a><img src="x.png">', None),
    ],
)
def test_what_a_page_of_the_site_would_fetch_is_found(
    html: str, asks: list[str] | None, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text(html)
    assert site_pages.fetched(tmp_path).get("index.html") == asks


def test_the_page_of_limits_has_the_numbers_of_the_card() -> None:
    card = (ROOT / "src/unmask/weights/small/card.md").read_text()
    page = (ROOT / "docs/limits.md").read_text()
    words = " ".join(page.split())
    for label, row in (("real", "recordings"), ("fake", "fakes")):
        found = re.search(rf"^\| {label} \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", card, re.M)
        assert found is not None
        counts = list(map(int, found.groups()))
        said = re.search(rf"^\| {row} \|.*", page, re.M)
        assert said is not None
        total = sum(counts)
        assert [f"{count} of {total}" for count in counts[:3]] == re.findall(r"\d+ of \d+", said[0])
    for kind in ("face swap", "generated head", "lip-sync"):
        auc = re.search(rf"^\| {kind} \| \d+ \| ([\d.]+)", card, re.M)
        assert auc is not None
        assert re.search(rf"{kind}s? {auc[1]}", words)
