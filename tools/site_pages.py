"""Gather the pages of the site, and look whether what was built asks a network for anything.

python tools/site_pages.py                   # README, docs and the API -> build/pages
python tools/site_pages.py --check build/site
"""

import re
import shutil
import sys
from pathlib import Path

import unmask

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "build" / "pages"
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "src/unmask/weights/small/card.md": "model-card.md",
}
# What a browser fetches by itself, as against a link that somebody may follow.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio)\b[^>]*\ssrc=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|<link\b(?![^>]*rel=[\"']?canonical)[^>]*\shref=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|@import\s+[\"']?((?:https?:)?//[^\"'\s;]+)|url\([\"']?((?:https?:)?//[^\"'\s)]+)"
)


def sources() -> dict[Path, str]:
    """Every page's file and its name on the site."""
    named = {ROOT / name: page for name, page in ELSEWHERE.items()}
    return named | {path: path.name for path in sorted((ROOT / "docs").glob("*.md"))}


def page(path: Path, names: dict[Path, str]) -> str:
    """A page whose links lead to pages of the site; those to other files become plain words."""

    def moved(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        if "://" in target or not target:
            return link[0]
        file = (path.parent / target).resolve()
        if file in names:
            return f"[{text}]({names[file]}{anchor})"
        return f"[{text}]({file.name})" if file.parent == ROOT / "docs" else text

    return re.sub(r"\[([^\]]+)\]\(([^)#\s]*)(#[^)\s]*)?\)", moved, path.read_text())


def api() -> str:
    """The reference of all that `unmask` exports."""
    parts = ["# Python", "All that `import unmask` offers, and its errors."]
    parts += [f"::: unmask.{name}" for name in unmask.__all__]
    return "\n\n".join([*parts, "::: unmask.errors", ""])


def gather() -> None:
    """Write all pages into an empty folder."""
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir(parents=True)
    names = sources()
    for path, name in names.items():
        (PAGES / name).write_text(page(path, names))
    (PAGES / "api.md").write_text(api())
    for path in (ROOT / "docs").iterdir():
        if path.suffix != ".md":
            shutil.copy(path, PAGES)


def fetched(site: Path) -> dict[str, list[str]]:
    """What pages and styles of a site would fetch from elsewhere, by file."""
    found = {}
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        addresses = ["".join(groups) for groups in FETCHED.findall(path.read_text())]
        if addresses:
            found[path.relative_to(site).as_posix()] = addresses
    return found


def main() -> int:
    """1 if a site that is checked has no pages, or fetches something."""
    if "--check" not in sys.argv:
        gather()
        return 0
    site = Path(sys.argv[-1])
    found = fetched(site)
    print(found or "no page asks a network for anything")
    return 1 if found or not (site / "index.html").exists() else 0


if __name__ == "__main__":
    sys.exit(main())
