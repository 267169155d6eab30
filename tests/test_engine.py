import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count, islice
from multiprocessing import active_children
from pathlib import Path
from typing import Any, NoReturn

import pytest

from unmask.engine import WHOLE, Engine, Shard, run
from unmask.errors import FileError, InternalError, UnmaskError, UsageError, WorkerError


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
    path.write_text(str(os.getpid()))
    while not path.with_name("go").exists():
        time.sleep(0.01)
    path.with_suffix(".done").touch()


def test_a_failure_is_an_outcome_and_not_the_end(engine: Engine) -> None:
    outcomes = list(run(square, [1, 2, 3, 4], engine))
    assert sorted((o.item, o.result) for o in outcomes if o.error is None) == [
        (1, 1), (2, 4), (4, 16),
    ]  # fmt: skip
    (failed,) = (o for o in outcomes if o.error is not None)
    assert failed.item == 3
    assert isinstance(failed.error, FileError)
    assert str(failed.error) == "three: is odd"


def test_a_bug_is_the_failure_of_its_item_and_its_traceback_is_logged(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "unmask")
    outcomes = {o.item: o for o in run(bug, [1, 2, 3], engine, name="{}.mp4".format)}
    assert (outcomes[1].result, outcomes[3].result) == (-1, 1)
    error = outcomes[2].error
    assert isinstance(error, InternalError)
    assert str(error).startswith("2.mp4: ZeroDivisionError: ")
    assert "bug in unmask" in str(error)
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert "return 1 // (x - 2)" in record.message


def test_whatever_one_item_does_the_others_are_done(processes: Engine) -> None:
    causes = {
        "dies": "dies: the worker process died, 2 times",
        "leaves": "leaves: the worker process died, 2 times",
        "hangs": "hangs: took longer than 8 s and was stopped",
        "raises": "this and that",
        "returns": "returns: TypeError: no pickle of me",
    }
    items = [key for pair in zip(causes, "abcde", strict=True) for key in pair]
    outcomes = {o.item: o for o in run(misbehave, items, processes, timeout=8)}
    assert sorted(outcomes) == sorted(items)
    for item, outcome in outcomes.items():
        if item in causes:
            assert str(outcome.error).startswith(causes[item])
        else:
            assert (outcome.result, outcome.error) == (item, None)
    assert isinstance(outcomes["dies"].error, WorkerError)
    assert active_children() == []


def test_an_item_whose_worker_was_killed_is_tried_once_more(
    processes: Engine, tmp_path: Path
) -> None:
    """And afterwards there are as many workers as before."""
    (outcome,) = run(dies_once, [tmp_path / "mark"], processes)
    assert outcome.error is None
    (tmp_path / "folder").mkdir()
    jobs = [partial(dies_once, tmp_path / "other"), *[partial(meet, tmp_path / "folder")] * 2]
    outcomes = list(run(call, jobs, processes, timeout=60))
    assert [outcome.error for outcome in outcomes] == [None] * 3


def call(job: Callable[[], object]) -> object:
    return job()


def test_what_cannot_be_sent_to_a_worker_is_an_outcome(processes: Engine) -> None:
    outcomes = list(run(repr, [1, Unpicklable()], processes, name=lambda item: "it"))
    errors = [outcome.error for outcome in outcomes if outcome.error]
    assert [str(error).split(" (")[0] for error in errors] == ["it: TypeError: no pickle of me"]
    assert [outcome.result for outcome in outcomes if not outcome.error] == ["1"]


def test_items_are_taken_as_workers_become_free(processes: Engine) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    outcomes = run(abs, items(), processes)
    for done, _ in enumerate(islice(outcomes, 50), 1):
        assert len(taken) <= done + 2
    outcomes.close()
    assert active_children() == []


def test_elsewhere_the_results_are_those_of_this_process(processes: Engine) -> None:
    items = list(range(-20, 20))
    one, two = (list(run(square, items, engine)) for engine in (Engine(), processes))
    assert [outcome.item for outcome in one] == items
    assert sorted((o.item, o.result, str(o.error)) for o in two) == [
        (o.item, o.result, str(o.error)) for o in one
    ]


def test_workers_share_the_cores() -> None:
    share = max(1, (os.cpu_count() or 1) // 2)
    assert [o.result for o in run(torch_threads, [1, 2], Engine(2))] == [share, share]


def test_nothing_to_do(engine: Engine) -> None:
    assert list(run(square, [], engine)) == []


SCRIPT = """
import sys
from pathlib import Path
from test_engine import slow
from unmask.engine import WHOLE, Engine, Shard, run

folder, kind = Path(sys.argv[1]), sys.argv[2]
if __name__ == "__main__":
    for outcome in run(slow, [folder / str(k) for k in range(9)], Engine(2, kind)):
        print(outcome.item.name, flush=True)
"""


@pytest.fixture(params=["local", "ray"])
def started(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[bytes]"]:
    """A script with two workers that are both at work."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), request.param], stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths}, start_new_session=True,
    )  # fmt: skip
    while len([path for path in tmp_path.glob("?") if path.read_text()]) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def ended(started: "subprocess.Popen[bytes]") -> bool:
    """Whether neither it nor its workers are left, after some patience.

    A cluster whose driver was killed leaves two processes of Ray's that do nothing of ours.
    """
    folder, ray = Path(str(started.args[2])), started.args[3] == "ray"  # type: ignore[index]
    pids = [int(path.read_text()) for path in folder.glob("?")]
    for _ in range(3000):
        try:
            if ray:
                for pid in pids:
                    os.kill(pid, 0)
            else:
                os.killpg(started.pid, 0)
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
    assert ended(started)


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGKILL]])
def test_no_worker_outlives_its_parent(
    started: "subprocess.Popen[bytes]", tmp_path: Path, signals: list[int]
) -> None:
    for number in signals:
        os.kill(started.pid, number)
        time.sleep(0.5)
    started.communicate(timeout=60)
    assert ended(started)
    assert not list(tmp_path.glob("*.done"))


def grows(size: int) -> int:
    hold = bytearray(size)
    hold[::4096] = b"x" * len(hold[::4096])  # memory that is not touched is not taken
    if size > 2**29:
        time.sleep(60)
    return len(hold)


def test_an_item_that_takes_too_much_memory_is_given_up(processes: Engine) -> None:
    engine = replace(processes, memory=2**29)
    outcomes = {o.item: o for o in run(grows, [2**20, 2**30, 2**21], engine)}
    assert str(outcomes[2**30].error).endswith("needed more than 512 MB of memory and was stopped")
    assert [outcomes[size].result for size in (2**20, 2**21)] == [2**20, 2**21]


class Counts:
    """Says how often it has been called where it is."""

    calls = 0

    def __call__(self, item: int) -> int:
        self.calls += 1
        return self.calls


def test_a_worker_keeps_what_it_was_sent(processes: Engine) -> None:
    outcomes = list(run(Counts(), range(20), replace(processes, workers=1, memory=2**40)))
    assert [outcome.result for outcome in outcomes] == list(range(1, 21))


def test_shards_are_all_there_is_and_share_nothing() -> None:
    items = list(range(23))
    parts = [Shard.parse(f"{number}/5").of(items) for number in range(1, 6)]
    assert sorted(item for part in parts for item in part) == items
    assert {len(part) for part in parts} == {4, 5}
    assert WHOLE.of(items) == items
    for wrong in ("0/5", "6/5", "1", "1/0", "a/b", "-1/2", "1/2/3"):
        with pytest.raises(UsageError, match="shard"):
            Shard.parse(wrong)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"address": "auto"}, {"dashboard": True}])
def test_an_engine_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Engine(**wrong)


def test_no_cluster_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said by Ray here: a real search finds the clusters of other tests."""
    ray = pytest.importorskip("ray")

    def init(*args: object, **options: object) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(UsageError, match="no Ray cluster at 'auto': nobody answers"):
        list(run(abs, [1], Engine(2, "ray", "auto")))


def lost_with_its_machine(folder: Path) -> str:
    """The first time here, the process that Ray started is lost, and this one with it."""
    mark = folder / "mark"
    if not mark.exists():
        mark.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return "done"


def test_what_the_cluster_loses_is_done_once_more(ray_cluster: None, tmp_path: Path) -> None:
    (outcome,) = run(lost_with_its_machine, [tmp_path], Engine(2, "ray"))
    assert outcome.result == "done"
