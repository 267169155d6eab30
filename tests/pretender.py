"""A worker for tests of the server: it does what a video says instead of judging it."""

import json
import math
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from unmask.atomic import write_text
from unmask.engine.worker import prepare
from unmask.serve.jobs import Outcome, Progress
from unmask.serve.reporting import PAGE, RESULT
from unmask.serve.settings import Settings
from unmask.serve.supervisor import Failed, Order, Ready

_HEAD = b"\0\0\0\x18ftypmp42"
OUTCOME = Outcome("inconclusive", "inconclusive", 0.5, None, "pretender", "0" * 64, "1" * 64)
FAKE = replace(OUTCOME, verdict="fake", evidence="strong", confidence=0.95)
RESULT_OF = {
    "confidence": 0.5,
    "coverage": 0.96,
    "segments": [
        {"start": 6.0, "end": 9.0, "start_time": "00:00:06", "end_time": "00:00:09",
         "confidence": 0.91, "track": 1},
    ],
    "thresholds": {"segment_threshold": 0.8},
    "timeline": [
        {"time": k / 3, "score": 0.5 + 0.4 * math.sin(k / 5 + track), "track": track}
        for track in (0, 1)
        for k in range(60)
    ],
    "tracks": [{"id": 0}, {"id": 1}],
}  # fmt: skip


def clip_that(says: str = "") -> bytes:
    """What looks like a video.

    Args:
        says: what happens to it: "crash", "hang", "grow", "fail", "fake", "other" (a model, which
            says "fake"), or "hold FILE" until it exists.
    """
    return _HEAD + says.encode()


def pretend(pipe: Connection, settings: Settings) -> None:
    """Work without a model."""
    prepare(1)
    pipe.send(Ready("pretender"))
    while True:
        try:
            order: Order = pipe.recv()
            pipe.send(_judge(order, pipe))
        except (EOFError, OSError):
            return


def _judge(order: Order, pipe: Connection) -> Outcome | Failed:
    said, _, rest = Path(order.video).read_bytes().removeprefix(_HEAD).decode().partition(" ")
    pipe.send(Progress("scoring", 30, 5.0, 10.0, 12.5, 2.0))
    if said == "crash":
        raise SystemExit(1)
    if said == "grow":
        hoard = bytearray(2**28)
        hoard[::4096] = b"x" * len(hoard[::4096])
    if said == "judged":
        pipe.send(Progress("copies", 30, verdict="fake", evidence="moderate", confidence=0.9))
    held = said in ("hold", "judged")
    while said in ("hang", "grow") or (held and not Path(rest).exists()):
        time.sleep(0.01)
    if said == "fail":
        return Failed("no face found in 3 sampled frames")
    write_text(order.folder / RESULT, json.dumps(RESULT_OF))
    write_text(order.folder / PAGE, "<!DOCTYPE html><title>x</title><p>a report")
    if said == "other":
        return replace(FAKE, model="other", model_sha256="2" * 64)
    return FAKE if said == "fake" else OUTCOME


def never_ready(pipe: Connection, settings: Settings) -> None:
    """A worker that dies while it loads its model."""
    raise SystemExit(1)


def often_killed(pipe: Connection, settings: Settings) -> None:
    """A worker that is there once, then dies four times while it loads, and then is there again."""
    with settings.data.with_name("starts").open("a+b") as starts:
        starts.write(b".")
        number = starts.tell()
    if 1 < number < 6:
        raise SystemExit(1)
    pretend(pipe, settings)


def late(pipe: Connection, settings: Settings) -> None:
    """A worker that loads its model until a file "go" lies beside the data."""
    while not settings.data.with_name("go").exists():
        time.sleep(0.01)
    pretend(pipe, settings)
