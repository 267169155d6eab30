"""Many files -> predictions: which files, in how many processes, and what is done already."""

import glob
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from unmask import storage
from unmask.backends import Backend
from unmask.data import pt_file
from unmask.data.preprocessor import OpenVideo
from unmask.detection.detector import Detector
from unmask.detection.prediction import Prediction
from unmask.engine import HERE, Engine, run
from unmask.errors import CorpusError, FileError
from unmask.video.reader import VIDEO_SUFFIXES, Limits, Video, find_videos

_POLL = 1.0  # seconds between looks at a folder that is watched
_SUFFIXES = {*VIDEO_SUFFIXES, pt_file.SUFFIX}
_SETTLED = 2.0  # seconds after which a file that stands still is taken for complete


class _HasPath(Protocol):
    @property
    def path(self) -> str | Path:
        """Of a file."""


Asked = TypeVar("Asked", bound=_HasPath)


class Job(NamedTuple):
    """A file to judge.

    Attributes:
        path: as it was given.
        name: for what is written of it alone: its stem, with a number if that is taken.
    """

    path: str
    name: str


@dataclass(frozen=True)
class Judge:
    """A detector that can be sent to a process, which loads it once; arguments as of Detector, and
    of Detector.opening.
    """

    model: Path
    faces: str | None = None
    device: str = "auto"
    limits: Limits = Limits()  # noqa: RUF009
    stability: bool = False
    backend: Backend = "auto"
    open_video: OpenVideo = Video

    @property
    def detector(self) -> Detector:
        """The detector of this process.

        Raises:
            ModelError, UsageError: it cannot be made.
        """
        return _load(self)

    def __call__(self, job: Job) -> Prediction:
        """Judge a file; one that cannot be used has the verdict "failed"."""
        (prediction,) = self.detector.predict([job.path])
        return prediction


@cache
def _load(judge: Judge) -> Detector:
    return Detector.from_pretrained(
        judge.model, judge.faces, judge.device, judge.limits, judge.stability, judge.backend
    ).opening(judge.open_video)


def judge_all(
    judge: Judge, jobs: Iterable[Job | None], engine: Engine = HERE
) -> Generator[tuple[int, Job, Prediction], None, None]:
    """Yield (number, job, prediction) as each is finished, in any order if workers are several.

    Args:
        judge: how.
        jobs: what; None where there is nothing to do for now.
        engine: where.
    """
    numbers: dict[Job, int] = {}  # of what is being judged

    def numbered() -> Iterator[Job | None]:
        number = count()
        for job in jobs:
            if job is not None:
                numbers[job] = next(number)
            yield job

    with closing(predictions(judge, numbered(), judge.detector, engine)) as judged:
        for job, prediction in judged:
            yield numbers.pop(job), job, prediction


def predictions(
    function: Callable[[Asked], Prediction],
    items: Iterable[Asked | None],
    detector: Detector,
    engine: Engine,
) -> Generator[tuple[Asked, Prediction], None, None]:
    """Yield (item, prediction) as each is finished; one whose process is lost has failed.

    Args:
        function: judges an item; the like of `detector`.
        items: what has a path; None where there is nothing to do for now.
        detector: speaks for what is lost, and says how long a video may take.
        engine: where.
    """
    limit = detector.preprocessor.limits.patience
    with closing(
        run(function, items, engine, timeout=limit, name=lambda one: one.path, patient=False)
    ) as outcomes:
        for outcome in outcomes:
            prediction = outcome.result
            if prediction is None:
                assert isinstance(outcome.error, FileError)
                prediction = detector.fail(outcome.item.path, outcome.error)
            yield outcome.item, prediction


class Held:
    """What an output holds from earlier runs; each line of it stands for one input.

    Args:
        detector: the judge now.
        rows: (key, verdict) of every line.

    Attributes:
        met: how many inputs were found there, by verdict.
    """

    def __init__(self, detector: Detector, rows: Iterable[tuple[str, str]]) -> None:
        self._detector, self.met = detector, Counter[str]()
        self._rows: dict[str, list[str]] = {}
        for key, verdict in rows:
            self._rows.setdefault(key, []).append(verdict)

    def lacks(self, job: Job | None) -> bool:
        """Whether a file still has to be judged by this model; None stays."""
        verdicts = self._rows.get(self._detector.key(job.path)) if job and self._rows else None
        if not verdicts:
            return True
        self.met[verdicts.pop()] += 1
        return False


def name_jobs(paths: Iterable[str | None]) -> Iterator[Job | None]:
    """Give every file a name of its own; None stays."""
    taken: set[str] = set()
    for path in paths:
        if path is None:
            yield None
            continue
        stem = Path(storage.name_of(path)).stem
        free = (f"{stem}_{number}" for number in count(2))
        name = next(name for name in chain([stem], free) if name not in taken)
        taken.add(name)
        yield Job(path, name)


def find_inputs(paths: Iterable[str], recursive: bool = True) -> list[str]:
    """The files that are meant by arguments of the command, in their order.

    Args:
        paths: files; folders, of which the videos and `.pt` files are meant; patterns; and "-" for
            files and folders that standard input lists, one a line. Each a path or an address.
        recursive: with the folders in folders.

    Raises:
        CorpusError: a folder holds none, a pattern matches none, a list is empty.
    """
    found: list[str] = []
    for path in paths:
        if path == "-":
            lines = sys.stdin.buffer.read().split(b"\n")
            listed = [os.fsdecode(name) for line in lines if (name := line.rstrip(b"\r"))]
            if not listed:
                raise CorpusError(path, "standard input lists no file")
            found += [file for name in listed for file in _files(name, recursive)]
        elif storage.is_pattern(path):
            remote = storage.is_remote(path)
            matches = storage.matching(path) if remote else glob.glob(path, recursive=True)  # noqa: PTH207
            if not matches:
                raise CorpusError(path, "matches no file")
            found += sorted(matches)
        else:
            found += _files(path, recursive)
    return found


def _files(path: str, recursive: bool) -> list[str]:
    if storage.is_remote(path):
        suffix = Path(storage.name_of(path)).suffix.lower()
        # What looks like a file is one: of a million addresses each would cost a request.
        if (suffix in _SUFFIXES and not path.endswith("/")) or not storage.is_folder(path):
            return [path]
        found = [f"{path.rstrip('/')}/{n}" for n in storage.files_in(path, _SUFFIXES, recursive)]
    elif Path(path).is_dir():
        found = list_folder(path, recursive)
    else:
        return [path]
    if not found:
        deeper = "" if recursive else "; --recursive looks into the folders in it, too"
        raise CorpusError(path, f"holds no videos and no .pt files{deeper}")
    return found


def list_folder(folder: str | Path, recursive: bool) -> list[str]:
    """The videos and `.pt` files of a folder, sorted."""
    faces = Path(folder).glob(("**/*" if recursive else "*") + pt_file.SUFFIX)
    return [str(path) for path in sorted([*find_videos(folder, recursive), *faces])]


def watch(folder: str | Path, recursive: bool = True) -> Iterator[str | None]:
    """The files of a folder as each is complete, for ever; None while there is no new one.

    A file is complete when its size and time of change have stood still for two seconds. One that
    changes after that comes again.
    """
    seen: dict[str, tuple[tuple[int, int], float]] = {}  # state, and since when
    given: set[tuple[str, tuple[int, int]]] = set()
    while True:
        for path in list_folder(folder, recursive):
            try:
                found = Path(path).stat()
            except OSError:  # gone again
                continue
            state, now = (found.st_size, found.st_mtime_ns), time.monotonic()
            if path not in seen or seen[path][0] != state:
                seen[path] = state, now
            elif found.st_size and now - seen[path][1] >= _SETTLED and (path, state) not in given:
                given.add((path, state))
                yield path
        yield None
        time.sleep(_POLL)
