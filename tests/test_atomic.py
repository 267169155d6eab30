"""Temporary files: never taken for data, and gone after the next run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import random_video

from unmask.atomic import _machine, _sweep, replacing, write_text
from unmask.corpora import read_corpus
from unmask.data import pt_file
from unmask.data.index import find_processed
from unmask.video.reader import VIDEO_SUFFIXES

KILLED = """
import os, signal, sys
from pathlib import Path
from unmask.atomic import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_bytes(Path(sys.argv[2]).read_bytes())
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with a whole file, and what a process left that was killed while writing another."""
    folder = tmp_path / "train" / "real"
    pt_file.write(folder / "a.pt", random_video([9]))
    command = [sys.executable, "-c", KILLED, str(folder / "b.pt"), str(folder / "a.pt")]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert len(list(folder.iterdir())) == 2
    _sweep.cache_clear()  # as in another process
    return tmp_path


def test_what_a_killed_process_left_is_no_data(tree: Path) -> None:
    whole = [tree / "train" / "real" / "a.pt"]
    for pattern in ("*.pt", *(f"*{suffix}" for suffix in VIDEO_SUFFIXES), "*.json*"):
        assert list(tree.rglob(pattern)) == (whole if pattern == "*.pt" else [])
    assert [record.path for record in find_processed(tree, "train")] == whole
    assert [record.path for record in read_corpus(tree)] == whole


def test_it_is_removed_by_the_next_that_writes_beside_it(tree: Path) -> None:
    folder = tree / "train" / "real"
    write_text(tree / "other.txt", "elsewhere")
    assert len(list(folder.iterdir())) == 2
    write_text(folder / "c.txt", "beside")
    assert sorted(path.name for path in folder.iterdir()) == ["a.pt", "c.txt"]


def test_what_is_being_written_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    machine, gone = _machine(), 2**22 + 1  # above the highest process id of Linux
    old = time.time() - 2 * 86400
    stays = [
        f".unmask-{machine}-{os.getppid()}-00000000.tmp",  # a live process
        ".unmask-00000000-1-00000000.tmp",  # written today by another machine
        f".unmask-{machine}-{gone}-0000.tmp", "a.tmp", f"unmask-{machine}-{gone}-00000000.tmp",
    ]  # fmt: skip
    goes = [f".unmask-{machine}-{gone}-00000000.tmp", ".unmask-00000000-1-11111111.tmp"]
    for name in stays + goes:
        (tmp_path / name).touch()
    for name in (stays[0], goes[1]):
        os.utime(tmp_path / name, (old, old))
    with replacing(tmp_path / "new") as temporary:
        temporary.touch()
        _sweep.cache_clear()
        write_text(tmp_path / "new too", "")
        assert temporary.exists()
    assert {path.name for path in tmp_path.iterdir()} == {*stays, "new", "new too"}
