"""A folder of reports -> its index: one page to sort and to filter."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

from unmask import storage
from unmask.atomic import write_text
from unmask.detection.detector import Detector
from unmask.detection.prediction import Prediction
from unmask.errors import FileError, InternalError
from unmask.report.document import Summary, read_summary
from unmask.report.page import clock, page
from unmask.report.words import ABSENCE, TITLES
from unmask.report.write import INDEX, write_report

_WAITING = 0.01  # share of the reports that an index may lack while there are more to come
_ORDER = {level: number for number, level in enumerate(TITLES)}


class ReportFolder:
    """Reports as predictions come, and their index; a context manager, which writes it at last.

    The index holds every report in the folder, those of earlier runs too.

    Args:
        folder: for the pages.
        detector: that makes the predictions.
        complain: called with what went wrong; it cost the report of one video, or the index.

    Attributes:
        failures: how often that was.
    """

    def __init__(
        self, folder: str | Path, detector: Detector, complain: Callable[[FileError], None]
    ) -> None:
        self._folder, self._detector, self._complain = Path(folder), detector, complain
        self._known: dict[Path, tuple[tuple[int, int], Summary | None]] = {}
        self._new = 0  # since the index was written
        self.failures = 0

    def __enter__(self) -> "ReportFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self._try(self._folder / INDEX, self._write)

    def add(self, prediction: Prediction, page: str) -> None:
        """Write a report; `page` is its name without suffix."""
        self._try(prediction.video, lambda: self._report(prediction, page))
        self._new += 1
        if self._new >= _WAITING * len(self._known):
            self._try(self._folder / INDEX, self._write)

    def _report(self, prediction: Prediction, page: str) -> None:
        remote = storage.is_remote(prediction.video)  # its copy goes: nothing is there to play
        with storage.fetched(prediction.video) as video:
            write_report(
                prediction, self._detector, self._folder, page=page, video=video,
                video_url="" if remote else None,
            )  # fmt: skip

    def _try(self, path: str | Path, action: Callable[[], object]) -> None:
        try:
            action()
        except FileError as error:
            self._fail(error)
        except Exception as error:  # a bug of ours costs one report, not the run
            said = f"report: {type(error).__name__}: {error}".splitlines()[0]
            self._fail(InternalError(path, said))

    def _fail(self, error: FileError) -> None:
        self.failures += 1
        self._complain(error)

    def _write(self) -> None:
        write_index(self._folder, self._known)
        self._new = 0


def write_index(
    folder: str | Path,
    known: dict[Path, tuple[tuple[int, int], Summary | None]] | None = None,
) -> Path:
    """Write `index.html` of the reports in a folder.

    Args:
        folder: of the reports.
        known: summaries that were read before, by path, with the size and time of change that
            the page then had; brought up to date.

    Raises:
        FileError: it cannot be written.
    """
    known = {} if known is None else known
    rows = []
    for path in sorted(Path(folder).glob("*.html")):
        if path.name == INDEX:
            continue
        state = path.stat().st_size, path.stat().st_mtime_ns
        if path not in known or known[path][0] != state:
            known[path] = state, read_summary(path)
        summary = known[path][1]
        if summary is not None:
            address = quote(path.name.encode("utf-8", "surrogateescape"))
            length = "" if summary.seconds is None else clock(summary.seconds)
            rows.append({**asdict(summary), "address": address, "length": length})
    rows.sort(key=lambda row: (_ORDER[row["level"]], -(row["confidence"] or 0), row["name"]))
    target = Path(folder) / INDEX
    content = page(
        "index.html.jinja", ("index.js",), rows=rows, titles=TITLES, order=_ORDER, absence=ABSENCE
    )
    write_text(target, content)
    return target
