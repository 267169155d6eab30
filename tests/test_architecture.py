"""The house: which way imports point, what is public, what costs nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import unmask

SOURCE = Path(unmask.__file__).parent
# A room may import from its own row and from the rows above it.
ROWS = [
    {"errors", "garbage", "segments"},
    {
        "atomic",
        "backends",
        "device",
        "documents",
        "engine",
        "face_spec",
        "stages",
        "storage",
        "threads",
    },
    {"video"},
    {"faces", "corpora", "models", "evaluation"},
    {"data"},
    {"synth"},
    {"detection"},
    {"report"},
    {"training", "serve"},
    {"api"},
    {"cli"},
]
# Some may see even less.
ONLY = {
    "models": {"errors", "atomic", "backends", "device", "documents", "face_spec"},  # tensors only
    "evaluation": {"errors", "atomic", "documents", "segments"},  # arrays only
    "segments": set(),
    "face_spec": {"documents", "errors"},
    "engine": {"errors", "garbage"},
    "storage": {"atomic", "errors"},
    "backends": set(),
    "threads": set(),
    "video": {"errors"},
    "faces": {"errors", "backends", "stages", "threads", "video"},
    "corpora": {"errors", "atomic", "documents", "video"},
}


def imports(path: Path) -> set[str]:
    """Modules of the house that a file imports, at the top or late."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    parts = (name.split(".") for name in found)
    return {part[1] for part in parts if part[0] == "unmask" and len(part) > 1}


def modules() -> list[Path]:
    names = ("__init__.py", "__main__.py")
    return [p for p in SOURCE.rglob("*.py") if not (p.parent == SOURCE and p.name in names)]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    row = next(i for i, names in enumerate(ROWS) if own in names)
    allowed = ONLY.get(own, set().union(*ROWS[: row + 1])) | {own, "__version__"}
    assert imports(path) <= allowed


def test_public_names_resolve_and_are_all_there() -> None:
    assert unmask.__all__ == sorted(unmask.__all__)
    for name in unmask.__all__:
        value = getattr(unmask, name)
        assert value.__module__.startswith("unmask.")
        assert value.__doc__
    assert set(unmask.__all__) <= set(dir(unmask))
    with pytest.raises(AttributeError, match="nonsense"):
        unmask.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import unmask",
        "from unmask.cli import cli; cli(['--help'])",
        "import unmask.serve.server",  # its workers do, and may die of it
    ],
)
def test_torch_is_not_imported_for_nothing(code: str) -> None:
    script = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('HEAVY', sorted({'torch', 'av', 'cv2', 'timm', 'numpy',"
        " 'matplotlib'} & set(sys.modules))))\n" + code
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


def test_timm_is_not_imported_where_others_compute() -> None:
    """It takes as long to import as a short clip takes to judge."""
    pytest.importorskip("onnxruntime")
    script = (
        "import sys, unmask\n"
        "detector = unmask.load_model('small', backend='onnx')\n"
        "assert detector.preprocessor.spec.image_size == 288\n"
        "print('THERE', sorted({'timm', 'torchvision'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "THERE []" in done.stdout, done.stdout + done.stderr
