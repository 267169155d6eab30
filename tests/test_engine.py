import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count, islice
from multiprocessing import active_children
from pathlib import Path
from typing import NoReturn

import pytest

from unmask import parallel
from unmask.errors import FileError, InternalError, UnmaskError, WorkerError


class UnportableError(UnmaskError):
    """Pickles, but cannot be made again from what was pickled."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


class Unpicklable:
    def __reduce__(self) -> NoReturn:
        raise TypeError("no pickle of me")


def square(x: int) -> int:
    if x == 3:
        raise FileError("three", "is odd")
    return x * x


def bug(x: int) -> int:
    return 1 // (x - 2)


def misbehave(what: str) -> object:
    if what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "leaves":
        os._exit(0)
    if what == "hangs":
        threading.Event().wait()
    if what == "raises":
        raise UnportableError("this", "that")
    if what == "returns":
        return Unpicklable()
    return what


def dies_once(path: Path) -> int:
    with suppress(FileExistsError):
        path.touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def torch_threads(x: int) -> int:
    import torch

    return torch.get_num_threads()


def meet(folder: Path) -> int:
    """The process, after another one has come here, too."""
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)
    return os.getpid()


def slow(path: Path) -> None:
    path.touch()
    while not path.with_name("go").exists():
        time.sleep(0.01)
    path.with_suffix(".done").touch()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_is_an_outcome_and_not_the_end(workers: int) -> None:
    outcomes = list(parallel.run(square, [1, 2, 3, 4], workers))
    assert sorted((o.item, o.result) for o in outcomes if o.error is None) == [
        (1, 1), (2, 4), (4, 16),
    ]  # fmt: skip
    (failed,) = (o for o in outcomes if o.error is not None)
    assert failed.item == 3
    assert isinstance(failed.error, FileError)
    assert str(failed.error) == "three: is odd"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_is_the_failure_of_its_item_and_its_traceback_is_logged(
    workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "unmask")
    outcomes = {o.item: o for o in parallel.run(bug, [1, 2, 3], workers, name="{}.mp4".format)}
    assert (outcomes[1].result, outcomes[3].result) == (-1, 1)
    error = outcomes[2].error
    assert isinstance(error, InternalError)
    assert str(error).startswith("2.mp4: ZeroDivisionError: ")
    assert "bug in unmask" in str(error)
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert "return 1 // (x - 2)" in record.message


def test_whatever_one_item_does_the_others_are_done() -> None:
    causes = {
        "dies": "dies: the worker process died, 2 times",
        "leaves": "leaves: the worker process died, 2 times",
        "hangs": "hangs: took longer than 8 s and was stopped",
        "raises": "this and that",
        "returns": "returns: TypeError: no pickle of me",
    }
    items = [key for pair in zip(causes, "abcde", strict=True) for key in pair]
    outcomes = {o.item: o for o in parallel.run(misbehave, items, workers=2, timeout=8)}
    assert sorted(outcomes) == sorted(items)
    for item, outcome in outcomes.items():
        if item in causes:
            assert str(outcome.error).startswith(causes[item])
        else:
            assert (outcome.result, outcome.error) == (item, None)
    assert isinstance(outcomes["dies"].error, WorkerError)
    assert active_children() == []


def test_an_item_whose_worker_was_killed_is_tried_once_more(tmp_path: Path) -> None:
    """And afterwards there are as many workers as before."""
    (outcome,) = parallel.run(dies_once, [tmp_path / "mark"], workers=2)
    assert outcome.error is None
    (tmp_path / "folder").mkdir()
    jobs = [partial(dies_once, tmp_path / "other"), *[partial(meet, tmp_path / "folder")] * 2]
    outcomes = list(parallel.run(call, jobs, workers=2, timeout=60))
    assert [outcome.error for outcome in outcomes] == [None] * 3


def call(job: Callable[[], object]) -> object:
    return job()


def test_what_cannot_be_sent_to_a_worker_is_an_outcome() -> None:
    outcomes = list(parallel.run(repr, [1, Unpicklable()], workers=2, name=lambda item: "it"))
    errors = [outcome.error for outcome in outcomes if outcome.error]
    assert [str(error).split(" (")[0] for error in errors] == ["it: TypeError: no pickle of me"]
    assert [outcome.result for outcome in outcomes if not outcome.error] == ["1"]


def test_items_are_taken_as_workers_become_free() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    outcomes = parallel.run(abs, items(), workers=2)
    for done, _ in enumerate(islice(outcomes, 50), 1):
        assert len(taken) <= done + 2
    outcomes.close()
    assert active_children() == []


def test_in_processes_the_results_are_those_of_one_process() -> None:
    items = list(range(-20, 20))
    one, two = (list(parallel.run(square, items, workers)) for workers in (1, 2))
    assert [outcome.item for outcome in one] == items
    assert sorted((o.item, o.result, str(o.error)) for o in two) == [
        (o.item, o.result, str(o.error)) for o in one
    ]


def test_workers_share_the_cores() -> None:
    share = max(1, (os.cpu_count() or 1) // 2)
    assert [o.result for o in parallel.run(torch_threads, [1, 2], workers=2)] == [share, share]


def test_nothing_to_do() -> None:
    assert list(parallel.run(square, [], 4)) == []


SCRIPT = """
import sys
from pathlib import Path
from test_engine import slow
from unmask import parallel

folder = Path(sys.argv[1])
if __name__ == "__main__":
    for outcome in parallel.run(slow, [folder / str(k) for k in range(9)], workers=2):
        print(outcome.item.name, flush=True)
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A script with two workers that are both at work."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths}, start_new_session=True,
    )  # fmt: skip
    while not all((tmp_path / str(k)).exists() for k in range(2)):
        assert process.poll() is None
        time.sleep(0.01)
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def ended(group: int) -> bool:
    """Whether no process of a group is left, after some patience."""
    for _ in range(3000):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_an_interrupt_finishes_what_runs_and_begins_nothing(
    started: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    os.killpg(started.pid, signal.SIGINT)
    time.sleep(0.2)
    (tmp_path / "go").touch()
    started.communicate(timeout=60)
    assert sorted(p.name for p in tmp_path.glob("?")) == ["0", "1"]
    assert sorted(p.name for p in tmp_path.glob("*.done")) == ["0.done", "1.done"]
    assert ended(started.pid)


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGKILL]])
def test_no_worker_outlives_its_parent(
    started: "subprocess.Popen[bytes]", tmp_path: Path, signals: list[int]
) -> None:
    for number in signals:
        os.kill(started.pid, number)
        time.sleep(0.5)
    started.communicate(timeout=60)
    assert ended(started.pid)
    assert not list(tmp_path.glob("*.done"))
