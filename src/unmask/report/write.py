"""A prediction -> its report in a folder."""

import os
from dataclasses import replace
from itertools import count
from pathlib import Path
from urllib.parse import quote

from unmask.atomic import write_text
from unmask.detection.detector import Detector
from unmask.detection.prediction import Prediction
from unmask.errors import VideoError
from unmask.report import words
from unmask.report.credentials import Credentials, read_credentials
from unmask.report.document import Document, Summary, read_summary
from unmask.report.facts import container_facts, file_facts, origin, utc
from unmask.report.footage import Footage, look
from unmask.report.page import render
from unmask.report.playable import is_playable, write_copy
from unmask.video.reader import VideoInfo

INDEX = "index.html"
_LONGEST = 200  # bytes of a page's name: file systems take 255, with a suffix and a number


def write_report(
    prediction: Prediction,
    detector: Detector,
    folder: str | Path,
    *,
    name: str | None = None,
    page: str | None = None,
    video: str | Path | None = None,
    video_url: str | None = None,
) -> Path:
    """Write a report: one HTML page that needs no network and no program but a browser.

    The page plays the video by its address relative to the page. Of a video that browsers do not
    play a small H.264 copy is written beside the page.

    Args:
        prediction: of a video, or of a `.pt` file of its faces.
        detector: that made it.
        folder: for the page.
        name: of the video, for people; None is the name of its file.
        page: name of the page without suffix; None is that of the video. A number is added where
            that is the page of another file.
        video: path of the file, if it is not where the prediction has it.
        video_url: address by which the page finds the video, of the same origin as the page, or
            below it; "" for a page without a player. None is a relative path to the file.

    Returns:
        The path of the page.

    Raises:
        FileError: it cannot be written.
    """
    path, folder = Path(video or prediction.video), Path(folder)
    name = _text(name or path.name)
    facts = file_facts(path, name)
    container = container_facts(path) if facts else None
    footage, credentials = Footage(), Credentials("not checked", "the file is no readable video")
    if facts is not None:
        limits = detector.preprocessor.limits
        footage = look(prediction, detector.bundle.spec, path, limits)
    if container is not None:
        credentials = read_credentials(path)
    target = _free(folder, page or Path(name).stem, facts.sha256 if facts else None)
    player, copied = video_url or None, False
    if video_url is None and container is not None:
        player, copied = _player(path, target, container, detector)
    shown = words.band(prediction)
    document = Document(
        name=name,
        made=utc(),
        level=shown.level,
        prediction=replace(prediction, video=name).to_dict(),
        file=facts,
        container=container,
        credentials=credentials,
        origin=origin(detector, name),
        cuts=footage.cuts,
        step=1 / detector.bundle.spec.target_fps,
        source=address(path, folder) if facts and video_url is None else None,
        player=player,
        copied=copied,
    )
    summary = Summary(
        name=name,
        level=shown.level,
        title=shown.title,
        confidence=prediction.confidence,
        segments=len(prediction.segments),
        seconds=container.duration if container else None,
        made=document.made,
        sha256=facts.sha256 if facts else None,
        thumbnail=footage.thumbnail,
    )
    write_text(target, render(document, summary, prediction, footage, detector.bundle))
    return target


def address(path: Path, folder: Path) -> str:
    """The address of a file for a page in a folder: relative, or of another drive absolute."""
    try:
        relative = os.path.relpath(path.absolute(), folder.absolute())
    except ValueError:  # Windows: another drive
        return path.absolute().as_uri()
    return quote(Path(relative).as_posix().encode("utf-8", "surrogateescape"))


def _player(
    path: Path, target: Path, container: VideoInfo, detector: Detector
) -> tuple[str | None, bool]:
    """The address of what the page plays, and whether that is a copy."""
    if is_playable(path, container):
        return address(path, target.parent), False
    copy = target.with_suffix(".preview.mp4")
    try:
        write_copy(path, copy, detector.preprocessor.limits)
    except VideoError:  # curves and faces do without it
        return None, False
    return address(copy, target.parent), True


def _free(folder: Path, stem: str, sha256: str | None) -> Path:
    """The path of a page: one that is not there, or the earlier report of the same file."""
    short = os.fsencode(stem)[:_LONGEST].decode("utf-8", "replace").strip(". ") or "video"
    names = (f"{short}.html" if n == 1 else f"{short}_{n}.html" for n in count(1))
    for path in (folder / name for name in names if name.lower() != INDEX):
        if not path.exists():
            return path
        before = read_summary(path)
        if before is not None and before.sha256 == sha256:
            return path
    raise AssertionError  # there is always another number


def _text(name: str) -> str:
    """A name of any bytes as text that can be written."""
    return name.encode("utf-8", "replace").decode()
