"""Jobs in a SQLite table: queued, running under a lease, done or failed.

Whoever runs a job holds it as a `Task`, and only the holder of the latest attempt can change it:
a worker that was given up cannot overwrite what its successor found.

A job is tried again if its worker died, once: it may have been the job's fault. If the server died,
which is hardly ever that, it is tried up to ATTEMPTS times in all.
"""

import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from unmask import documents
from unmask.errors import FileError

Status = Literal["queued", "running", "done", "failed"]
Stage = Literal["opening", "scoring", "copies", "reporting"]
Evidence = Literal["strong", "moderate", "weak", "inconclusive"]
DEATHS = 2  # workers that a job may cost
ATTEMPTS = 20
_FORMAT = 1
_SCHEMA = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    source TEXT,
    status TEXT NOT NULL DEFAULT 'queued',
    attempts INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,
    lease REAL,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    progress TEXT,
    verdict TEXT,
    evidence TEXT,
    confidence REAL,
    reason TEXT,
    model TEXT,
    model_sha256 TEXT,
    sha256 TEXT,
    bytes INTEGER NOT NULL
);
CREATE INDEX jobs_by_status ON jobs (status, number);
"""


@dataclass(frozen=True)
class Progress:
    """How far a job has come.

    Attributes:
        stage: what is being done.
        frames: that were looked at.
        time: seconds of the video up to which they reach.
        duration: of the video in seconds, if it says so.
        fps: frames looked at a second.
        left: seconds until all frames are looked at, if that can be told.
        verdict, evidence, confidence: of the video alone (see Outcome) as soon as it is judged;
            altered copies may still make it inconclusive.
    """

    stage: Stage
    frames: int = 0
    time: float = 0.0
    duration: float | None = None
    fps: float = 0.0
    left: float | None = None
    verdict: str | None = None
    evidence: Evidence | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a job that is done.

    Attributes:
        verdict: "fake", "inconclusive" or "real".
        evidence: the same in finer bands (see unmask.serve.reporting.evidence).
        confidence: probability that the video is fake, 0 to 1.
        reason: what to keep in mind; None if there is nothing to say.
        model, model_sha256: name of who judged, and checksum of its weights.
        sha256: checksum of the video.
    """

    verdict: str
    evidence: Evidence
    confidence: float
    reason: str | None
    model: str
    model_sha256: str
    sha256: str


@dataclass(frozen=True)
class Job:
    """A video that was handed in.

    Attributes:
        id: its name in addresses.
        name: of the file, as the client has it; text and never a path.
        status: "done" has a result; "failed" has a reason.
        attempts: how often it was taken up.
        created, started, finished: seconds since 1970.
        progress: of a running job.
        verdict, evidence, confidence, model, model_sha256, sha256: see Outcome; None unless done.
        reason: why it failed, or what to keep in mind.
    """

    id: str
    name: str
    status: Status
    attempts: int
    created: float
    started: float | None
    finished: float | None
    progress: Progress | None
    verdict: str | None
    evidence: Evidence | None
    confidence: float | None
    reason: str | None
    model: str | None
    model_sha256: str | None
    sha256: str | None


@dataclass(frozen=True)
class NewJob:
    """A job to be: `source` as of Task; `size` in bytes is what it takes of the disk."""

    id: str
    name: str
    source: str | None = None
    size: int = 0


@dataclass(frozen=True)
class Task:
    """A job that is being run.

    Attributes:
        id: of the job.
        attempt: the number of this one.
        deaths: workers that earlier ones have cost.
        name: of the file.
        source: a path on this machine; None for an upload.
    """

    id: str
    attempt: int
    deaths: int
    name: str
    source: str | None


class JobStore:
    """The table. Safe to use from several threads; one process at a time (see Service).

    Raises:
        FileError: the file is of another version, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            with ExitStack() as undo:
                undo.callback(self._db.close)
                self._db.row_factory = sqlite3.Row
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                [version] = self._db.execute("PRAGMA user_version").fetchone()
                if version == 0:
                    self._db.executescript(
                        f"BEGIN; {_SCHEMA} PRAGMA user_version={_FORMAT}; COMMIT;"
                    )
                elif version != _FORMAT:
                    raise FileError(
                        path, f"is of format {version}, not {_FORMAT}: use another folder"
                    )
                undo.pop_all()
        except sqlite3.Error as error:
            raise FileError(path, f"cannot be opened: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def add(self, jobs: Sequence[NewJob]) -> None:
        """Queue jobs: all of them or none."""
        now = time.time()
        rows = [(job.id, job.name, job.source, now, job.size) for job in jobs]
        self._change(
            "INSERT INTO jobs (id, name, source, created, bytes) VALUES "
            + ", ".join(["(?, ?, ?, ?, ?)"] * len(rows)),
            *(value for row in rows for value in row),
        )

    def get(self, job: str) -> Job | None:
        """A job by its id."""
        rows = self._rows("SELECT * FROM jobs WHERE id = ?", job)
        return _job(rows[0]) if rows else None

    def source(self, job: str) -> str | None:
        """The path on this machine that a job is of; None for an upload."""
        rows = self._rows("SELECT source FROM jobs WHERE id = ?", job)
        return rows[0][0] if rows else None

    def find(self, search: str, limit: int, offset: int = 0) -> tuple[list[Job], int]:
        """The jobs whose name has `search` in it, and how many there are.

        First what runs, then what waits, in order; then what has ended, the newest first.

        Args:
            search: any text; upper and lower case are the same.
            limit: jobs at most; -1 for all of them.
            offset: jobs to pass over.
        """
        where = "FROM jobs WHERE instr(lower(name), lower(?))"
        [[count]] = self._rows(f"SELECT count(*) {where}", search)
        rows = self._rows(
            f"SELECT * {where} ORDER BY status = 'running' DESC, status = 'queued' DESC, "
            "CASE status WHEN 'queued' THEN number ELSE -number END LIMIT ? OFFSET ?",
            search, limit, offset,
        )  # fmt: skip
        return [_job(row) for row in rows], count

    def delete(self, job: str) -> bool:
        """Forget a job; False if there is none. Who runs it learns so from `renew`."""
        return self._change("DELETE FROM jobs WHERE id = ?", job)

    def claim(self, lease: float) -> Task | None:
        """Take the oldest job that waits, for `lease` seconds."""
        rows = self._rows(
            "UPDATE jobs SET status = 'running', attempts = attempts + 1, started = ?, lease = ? "
            "WHERE id = (SELECT id FROM jobs WHERE status = 'queued' ORDER BY number LIMIT 1) "
            "RETURNING id, attempts, deaths, name, source",
            time.time(), time.time() + lease,
        )  # fmt: skip
        return Task(*rows[0]) if rows else None

    def renew(self, task: Task, progress: Progress | None, lease: float) -> bool:
        """Keep a task for `lease` seconds more; False if it is no longer the caller's."""
        said = documents.to_json(progress, None) if progress is not None else None
        return self._change_held(task, "lease = ?, progress = ?", time.time() + lease, said)

    def finish(self, task: Task, outcome: Outcome) -> bool:
        """A task has its result."""
        columns = ", ".join(f"{field.name} = ?" for field in fields(Outcome))
        return self._change_held(
            task,
            f"status = 'done', finished = ?, progress = NULL, {columns}",
            time.time(),
            *astuple(outcome),
        )

    def fail(self, task: Task, reason: str) -> bool:
        """A task has come to nothing."""
        return self._change_held(
            task,
            "status = 'failed', finished = ?, progress = NULL, reason = ?",
            time.time(),
            reason,
        )

    def retry(self, task: Task, reason: str) -> bool:
        """A task has cost its worker: once more from the queue, or it has failed."""
        if task.deaths + 1 >= DEATHS:
            return self.fail(task, f"{reason}, {DEATHS} times")
        return self._requeue(task, ", deaths = deaths + 1")

    def release(self, task: Task) -> bool:
        """Back to the queue through no fault of the task's."""
        return self._requeue(task)

    def recover(self, before: float | None = None) -> None:
        """Queue again what runs without anybody who holds it, or fail it after ATTEMPTS.

        Args:
            before: leases that ended by then, in seconds since 1970; None for all of them.
        """
        rows = self._rows(
            "SELECT id, attempts, deaths, name, source FROM jobs WHERE status = 'running' "
            "AND (? IS NULL OR lease < ?)",
            before, before,
        )  # fmt: skip
        for task in (Task(*row) for row in rows):
            if task.attempt >= ATTEMPTS:
                self.fail(task, f"was interrupted, {task.attempt} times")
            else:
                self._requeue(task)

    def resize(self, job: str, size: int) -> None:
        """What a job takes of the disk now, in bytes."""
        self._change("UPDATE jobs SET bytes = ? WHERE id = ?", size, job)

    def finished(self, before: float) -> list[str]:
        """Ids of jobs that ended before a time in seconds since 1970."""
        rows = self._rows("SELECT id FROM jobs WHERE finished < ?", before)
        return [row[0] for row in rows]

    def ids(self) -> set[str]:
        """Of all jobs."""
        return {row[0] for row in self._rows("SELECT id FROM jobs")}

    def counts(self) -> dict[Status, int]:
        """Jobs by status."""
        found = {
            row[0]: row[1] for row in self._rows("SELECT status, count(*) FROM jobs GROUP BY 1")
        }
        return {status: found.get(status, 0) for status in get_args(Status)}

    def bytes(self) -> int:
        """What all jobs take of the disk."""
        [[total]] = self._rows("SELECT coalesce(sum(bytes), 0) FROM jobs")
        return int(total)

    def _requeue(self, task: Task, also: str = "") -> bool:
        return self._change_held(task, f"status = 'queued', progress = NULL, lease = NULL{also}")

    def _change_held(self, task: Task, change: str, *values: object) -> bool:
        held = "id = ? AND attempts = ? AND status = 'running'"
        return self._change(
            f"UPDATE jobs SET {change} WHERE {held}", *values, task.id, task.attempt
        )

    def _change(self, statement: str, *values: object) -> bool:
        with self._lock, closing(self._db.execute(statement, values)) as cursor:
            return cursor.rowcount > 0

    def _rows(self, statement: str, *values: object) -> list[sqlite3.Row]:
        with self._lock, closing(self._db.execute(statement, values)) as cursor:
            return cursor.fetchall()


def _job(row: sqlite3.Row) -> Job:
    values = {name: row[name] for name in Job.__dataclass_fields__}
    if values["progress"] is not None:
        values["progress"] = documents.parse(Progress, values["progress"], "progress", FileError)
    return Job(**values)


def as_event(job: Job) -> str:
    """A job as a server-sent event."""
    return f"event: job\ndata: {documents.to_json(job, None)}\n"
