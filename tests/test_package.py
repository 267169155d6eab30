"""What ships: the wheel, what is locked, licences, the container, the workflow, the citation."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import dockerfile
import licences
import pytest
import yaml

import unmask

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "unmask"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# In the clean environment: no connection to anywhere, and a list of what is imported from where.
OFFLINE = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise OSError(f"the network is asked: {event} {arguments[1:]}")

sys.addaudithook(refuse)
"""


def build(target: str, source: Path, out: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target]
    done = subprocess.run(
        [*command, "--directory", str(out)], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl" if target == "wheel" else "*.tar.gz"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    out = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", ROOT, out)) as archive:
        archive.extractall(out, filter="data")
    return next(folder for folder in out.iterdir() if folder.is_dir())


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as installers do it."""
    return build("wheel", sdist, tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Weights, pages, scripts and templates too: all that code could read at run time."""
    files = {
        path.relative_to(SOURCE.parent).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {name.partition(".dist-info/")[2] for name in archive.namelist()}
    assert packed == files
    assert {"licenses/LICENSE", "licenses/NOTICE", "entry_points.txt", "METADATA"} <= about
    assert f"unmask-{unmask.__version__}-py3-none-any.whl" == wheel.name


@pytest.mark.slow
def test_the_source_distribution_holds_what_the_tests_read(sdist: Path) -> None:
    wanted = ["Makefile", "Dockerfile", "requirements.lock", "CITATION.cff", "zensical.toml",
              "tests/test_package.py", "docs/formats.md", "tools/licences.py", "runs/demo.py",
              ".github/workflows/ci.yml", "examples/score_onnx.py"]  # fmt: skip
    assert [name for name in wanted if not (sdist / name).is_file()] == []


@pytest.mark.slow
def test_the_wheel_works_in_a_clean_environment_without_a_network(
    wheel: Path, clip: Path, tmp_path: Path
) -> None:
    """Its dependencies are those of the tests; unmask itself is there by the wheel alone."""
    home = tmp_path / "clean"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    python = home / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", str(wheel)], check=True)
    packages = next(home.glob("lib/python*/site-packages"))
    theirs = [folder for folder in sys.path if "site-packages" in folder]
    (packages / "theirs.pth").write_text("\n".join([*theirs, "import offline"]))
    (packages / "offline.py").write_text(OFFLINE)

    environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)

    asked = "import socket; socket.create_connection(('127.0.0.1', 9))"
    assert "the network is asked" in run(python, "-c", asked).stderr
    where = run(python, "-c", "import unmask; print(unmask.__file__)").stdout.strip()
    assert Path(where).is_relative_to(packages)
    done = run(home / "bin" / "unmask", "predict", clip, "--report", "reports")
    assert done.returncode == 0, done.stderr
    assert re.search(r"clip\.mp4: (FAKE|REAL|INCONCLUSIVE)", done.stdout), done.stdout
    assert len(list((tmp_path / "reports").glob("*.html"))) == 2  # the page and the index


def test_the_lock_is_of_hashes_alone_and_fits_what_is_declared() -> None:
    for name in ("requirements.lock", "requirements-build.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert not re.search(r"^\s*--(?!hash=)", text, re.M)
        pins = re.split(r"\n(?=\S)", text.strip())
        for pin in pins:
            assert re.match(r"[a-z0-9.-]+==\S+ [^\n]*\\\n", pin), pin
            assert "--hash=sha256:" in pin, pin
    locked = locked_versions()
    extras = PROJECT["optional-dependencies"]
    all_of_them = re.search(r"\[(.*)\]", extras["all"][0])
    assert all_of_them is not None
    wanted = [*PROJECT["dependencies"]]
    for extra in all_of_them[1].split(","):
        wanted += extras[extra]
    for requirement in wanted:
        name, at_least = re.match(r"([\w.-]+)(?:\[.*\])?>=(\S+)", requirement).groups()  # type: ignore[union-attr]
        assert name in locked, requirement
        assert numbers(locked[name]) >= numbers(at_least), requirement


def locked_versions() -> dict[str, str]:
    text = (ROOT / "requirements.lock").read_text()
    return dict(re.findall(r"^([a-z0-9.-]+)==([^\s;]+)", text, re.M))


def numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


@pytest.mark.parametrize(
    ("expression", "good"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("Apache-2.0 AND (GPL-2.0-only OR BSD-3-Clause)", True),
        ("(MIT OR GPL-2.0-only) AND (ISC OR GPL-3.0-only)", True),
        ("MIT AND (GPL-3.0-only OR (AGPL-3.0-only AND MIT))", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_an_expression_of_licences_is_permitted_or_not(expression: str, good: bool) -> None:
    assert licences.is_permitted(expression) == good


def installed(environment: Path, name: str, *lines: str) -> None:
    folder = environment / "lib/python3.11/site-packages" / f"{name}-1.0.dist-info"
    folder.mkdir(parents=True)
    head = ("Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0")
    (folder / "METADATA").write_text("\n".join([*head, *lines, ""]))


def test_an_unknown_licence_ends_in_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["licences.py", str(tmp_path)])
    assert licences.main() == 1  # nothing there is no licence to go on
    installed(tmp_path, "good", "License-Expression: MIT")
    installed(tmp_path, "older", "Classifier: License :: OSI Approved :: BSD License")
    assert licences.main() == 0
    installed(tmp_path, "silent")
    installed(tmp_path, "copyleft", "License: AGPL-3.0")
    assert licences.main() == 1
    out = capsys.readouterr()
    assert "NOT PERMITTED  copyleft 1.0: AGPL-3.0" in out.out
    assert out.err.splitlines()[-1] == "to be looked at: copyleft, silent"


def test_the_container_is_what_the_docs_promise() -> None:
    stages = dockerfile.parse(ROOT / "Dockerfile")
    image = stages[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image.last("USER").rest)  # not root, by number
    assert image.last("CMD").words[0] == "serve"
    assert "/healthz" in " ".join(dockerfile.health(image.last("HEALTHCHECK")))
    names = {stage.name for stage in stages}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for step in (step for stage in stages for step in stage.all("COPY")):
        *sources, _ = step.words
        if sources[0].startswith("--from="):
            assert sources[0].removeprefix("--from=") in names
        else:
            assert [name for name in sources if f"!{name}" not in ignored] == []
            assert all((ROOT / name).exists() for name in sources)
    assert "--require-hashes" in " ".join(step.rest for step in stages[1].all("RUN"))


def test_a_dockerfile_that_is_not_understood_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text("FROM a AS b\n# note\nRUN one \\\n  two\nSHELL x\n")
    with pytest.raises(ValueError, match="SHELL"):
        dockerfile.parse(path)
    path.write_text('FROM a AS b\nRUN one \\\n  # note\n  two\nCMD ["x", "y z"]\n')
    (stage,) = dockerfile.parse(path)
    assert (stage.base, stage.name) == ("a", "b")
    assert stage.steps[0].words == ["one", "two"]
    assert stage.steps[1].words == ["x", "y z"]


def test_the_workflow_runs_what_is_there() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"]
    assert set(jobs) == {"lint", "test", "wheel", "docs", "supply", "container"}
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
        else:
            check_command(step["run"])
    assert all("permissions" not in job for job in jobs.values())


def check_command(line: str) -> None:
    """A make target, a script or a program of the runner."""
    word, *rest = line.split()
    if word == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.M), line
    elif "/" in word:
        assert (ROOT / word).is_file(), line
        assert (ROOT / word).stat().st_mode & 0o100, line
    else:
        assert word in ("apt-get", "docker"), line


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ("vendor.citation-file-format", "CITATION.cff"),
        ("vendor.github-workflows", ".github/workflows/ci.yml"),
        ("custom.github-workflows-require-timeout", ".github/workflows/ci.yml"),
    ],
)
def test_a_file_for_others_keeps_their_schema(schema: str, name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    done = subprocess.run([*command, str(ROOT / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_citation_is_of_this_project() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["title"] == PROJECT["name"]
    assert citation["authors"] == PROJECT["authors"]
    assert citation["license"] == PROJECT["license"]


def test_the_newest_entry_of_the_changelog_is_the_version() -> None:
    versions = re.findall(r"^## \[?([\w.]+)\]?", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[:2] == ["Unreleased", unmask.__version__]
    assert PROJECT["dynamic"] == ["version"]
