"""The process that holds the model: takes one video after the other, and says how far it is."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from unmask.detection.detector import Detector
from unmask.detection.prediction import Prediction
from unmask.detection.stability import tested
from unmask.engine.worker import prepare
from unmask.errors import InternalError, UnmaskError
from unmask.models.bundle import sha256_of
from unmask.serve.jobs import Outcome, Progress, Stage
from unmask.serve.reporting import evidence, make_report
from unmask.serve.settings import Settings
from unmask.serve.supervisor import Failed, Order, Ready
from unmask.video.reader import Frame, Limits, Video

log = logging.getLogger("unmask")
_EVERY = 0.25  # seconds between two words of progress
Say = Callable[[Progress], None]


@dataclass
class _Watch:
    """Counts the frames of a video as they are read, and says so."""

    say: Say
    frames: int = 0

    def open(self, path: Path, limits: Limits) -> Video:
        """As OpenVideo has it."""
        video = Video(path, limits, lambda frames: self._count(frames, video.info.duration))
        return video

    def _count(self, frames: Iterator[Frame], duration: float | None) -> Iterator[Frame]:
        begun = said = time.monotonic()
        self.say(Progress("scoring", duration=duration))
        for frame in frames:
            self.frames += 1
            now = time.monotonic()
            if now > said + _EVERY:
                took, seen = now - begun, frame.time
                left = took * (duration - seen) / seen if duration and seen else None
                rate = self.frames / took
                self.say(Progress("scoring", self.frames, seen, duration, rate, left))
                said = now
            yield frame


def work(pipe: Connection, settings: Settings) -> None:
    """Answer orders until the other end of the pipe is closed."""
    prepare(max(1, (os.cpu_count() or 1) // settings.workers))
    if hasattr(os, "nice"):
        os.nice(5)  # the server answers first
    # The supervisor keeps the time: it can stop what does not look at a clock.
    limits = Limits(timeout=None)
    try:
        detector = Detector.from_pretrained(
            settings.model, None, settings.device, limits, settings.stability, settings.backend
        )
    except UnmaskError as error:
        pipe.send(error)
        return
    pipe.send(Ready(detector.model.name))
    while True:
        try:
            order: Order = pipe.recv()
            pipe.send(judge(detector, order, pipe.send))
        except (EOFError, OSError):  # the server has ended
            return


def judge(detector: Detector, order: Order, say: Say) -> Outcome | Failed:
    """A video -> its verdict, and a report in the job's folder."""
    say(Progress("opening"))
    watch = _Watch(say)
    watched = detector.opening(watch.open)
    watched.stability = False  # the verdict first
    # Of several videos one that cannot be used is a prediction, and no exception.
    prediction = next(watched.predict(iter([order.video])))
    confidence = prediction.confidence
    if confidence is None:
        return Failed(prediction.reason or "no reason is known")
    try:
        if detector.stability:
            say(_judged("copies", prediction, watch.frames))
            prediction = tested(detector, prediction)
        say(_judged("reporting", prediction, watch.frames))
        checksum = sha256_of(Path(order.video))
        make_report(prediction, detector, order.folder, order.name)
    except UnmaskError as error:
        return Failed(getattr(error, "cause", str(error)))
    except OSError as error:
        return Failed(f"cannot be read any more: {error.strerror}")
    except Exception as error:  # a bug of ours costs one video, not the worker
        log.debug("%s", order.video, exc_info=True)
        return Failed(InternalError(order.video, f"{type(error).__name__}: {error}").cause)
    return Outcome(
        prediction.verdict,
        evidence(prediction),
        confidence,
        prediction.reason,
        prediction.model.name,
        prediction.model.sha256,
        checksum,
    )


def _judged(stage: Stage, prediction: Prediction, frames: int) -> Progress:
    """What is known while there is still something to do."""
    return Progress(
        stage,
        frames,
        verdict=prediction.verdict,
        evidence=evidence(prediction),
        confidence=prediction.confidence,
    )
