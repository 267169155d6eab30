"""Jobs of unmask serve: they outlive workers and servers, and keep within their limits."""

import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from pretender import OUTCOME, clip_that, late, never_ready, often_killed
from serving import ended, hand_in, server_process, serving, wait_for

from unmask.detection.detector import Detector
from unmask.detection.prediction import Prediction
from unmask.errors import FileError, WorkerError
from unmask.models import Bundle
from unmask.serve import service, supervisor
from unmask.serve.jobs import ATTEMPTS, JobStore, NewJob, Outcome, Progress
from unmask.serve.reporting import PAGE, RESULT
from unmask.serve.server import serve
from unmask.serve.service import Service
from unmask.serve.settings import Settings
from unmask.serve.sniffing import HEAD, media_type
from unmask.serve.supervisor import Failed, Order
from unmask.serve.worker import judge

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads the memory in /proc")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "data", port=0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path / "jobs.sqlite3")
    yield store
    store.close()


def is_running(client: httpx.Client, job: str) -> bool:
    """Whether the worker has begun with it."""
    return bool(client.get(f"/api/jobs/{job}").json()["progress"])


def test_a_job_that_kills_its_worker_twice_has_failed(settings: Settings) -> None:
    with serving(settings) as client:
        bad, good = hand_in(client, "crash"), hand_in(client)
        failed = ended(client, bad)
        assert (failed["status"], failed["attempts"]) == ("failed", 2)
        assert failed["reason"] == "the worker process died (out of memory, or a crash?), 2 times"
        assert ended(client, good)["status"] == "done"
        wait_for(lambda: "unmask_worker_starts_total 3" in client.get("/metrics").text, 0.1)


def test_a_worker_that_is_killed_once_costs_no_job(settings: Settings, tmp_path: Path) -> None:
    with serving(settings) as client:
        job = hand_in(client, f"hold {tmp_path / 'go'}")
        wait_for(lambda: is_running(client, job), 0.1)
        for worker in multiprocessing.active_children():
            worker.kill()
        (tmp_path / "go").touch()
        found = ended(client, job)
    assert (found["status"], found["attempts"]) == ("done", 2)


def test_a_job_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    with serving(Settings(tmp_path, port=0, timeout=0.2)) as client:
        job = hand_in(client, "hang")
        assert ended(client, job)["reason"] == "took longer than 0.2 s and was stopped"
        assert ended(client, hand_in(client))["status"] == "done"


@linux
def test_a_job_that_needs_too_much_memory_is_stopped(tmp_path: Path) -> None:
    with serving(Settings(tmp_path, port=0, max_memory=250 * 2**20)) as client:
        reason = ended(client, hand_in(client, "grow"))["reason"]
        assert reason == "needed more than 250 MB of memory and was stopped"
        assert ended(client, hand_in(client))["status"] == "done"


def test_a_job_that_runs_can_be_deleted(settings: Settings) -> None:
    with serving(settings) as client:
        job = hand_in(client, "hang")
        wait_for(lambda: is_running(client, job), 0.1)
        assert client.delete(f"/api/jobs/{job}").status_code == 204
        assert ended(client, hand_in(client))["status"] == "done"
        wait_for(lambda: not (settings.data / "jobs" / job).exists())


def test_a_restart_loses_nothing(settings: Settings, tmp_path: Path) -> None:
    with serving(settings) as client:
        done = hand_in(client)
        ended(client, done)
        open_ = hand_in(client, f"hold {tmp_path / 'go'}")
        wait_for(lambda: is_running(client, open_), 0.1)
        waiting = hand_in(client)
    (settings.data / "jobs" / "left").mkdir()  # by an upload that was broken off
    with serving(settings) as client:
        assert client.get(f"/api/jobs/{done}/report").status_code == 200
        assert not (settings.data / "jobs" / "left").exists()
        (tmp_path / "go").touch()
        for job in (open_, waiting):
            assert ended(client, job)["status"] == "done"


@pytest.mark.slow
def test_a_server_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    done: dict[str, Any] = {}
    job = ""
    for number in range(4):
        with server_process(tmp_path / "data") as (process, address):
            with httpx.Client(base_url=address) as client:
                if not number:
                    done = ended(client, hand_in(client))
                    job = hand_in(client, f"hold {tmp_path / 'go'}")
                wait_for(partial(is_running, client, job), 0.1)
            process.kill()
    (tmp_path / "go").touch()
    with server_process(tmp_path / "data") as (process, address):
        with httpx.Client(base_url=address) as client:
            assert client.get(f"/api/jobs/{done['id']}").json() == done
            assert client.get(f"/api/jobs/{done['id']}/result").status_code == 200
            assert ended(client, job)["status"] == "done"
        process.send_signal(signal.SIGTERM)
        process.wait()


@linux
def test_a_worker_ends_with_its_server(tmp_path: Path) -> None:
    with server_process(tmp_path / "data") as (process, address):
        with httpx.Client(base_url=address) as client:
            job = hand_in(client, "hang")
            wait_for(lambda: is_running(client, job), 0.1)
        children = subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(process.pid)])
        process.kill()
    pids = [int(pid) for pid in children.split()]
    assert pids
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_a_server_whose_worker_cannot_start_says_so(settings: Settings) -> None:
    # In a thread: where a browser was driven before, the main thread has an event loop of its own.
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(WorkerError, match=r"died .* while it loaded"),
    ):
        pool.submit(serve, settings, never_ready).result()


def test_a_worker_that_was_ready_once_is_started_again_for_as_long_as_it_takes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_PAUSE", 0.01)
    with serving(settings, often_killed) as client:
        assert ended(client, hand_in(client, "crash"))["status"] == "failed"
        assert ended(client, hand_in(client))["status"] == "done"


def test_a_server_is_ready_when_a_model_is_loaded(settings: Settings) -> None:
    with serving(settings, late) as client:
        assert client.get("/healthz").text == "ok\n"
        assert client.get("/readyz").status_code == 503
        assert client.get("/api/about").json()["model"] is None
        job = hand_in(client)  # which waits for it
        settings.data.with_name("go").touch()
        assert ended(client, job)["status"] == "done"
        assert client.get("/readyz").status_code == 200
        assert client.get("/api/about").json()["model"] == "pretender"


def test_two_servers_do_not_share_a_folder(settings: Settings) -> None:
    with serving(settings), pytest.raises(FileError, match="in use by another server"):
        Service(settings)


def test_what_is_too_old_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_SWEEP", 0.05)
    with serving(Settings(tmp_path / "data", port=0, keep=0)) as client:
        waiting = hand_in(client, f"hold {tmp_path / 'go'}")
        wait_for(lambda: is_running(client, waiting), 0.1)
        (tmp_path / "go").touch()
        wait_for(lambda: client.get("/api/jobs").json()["total"] == 0, 0.1)
        wait_for(lambda: not list((tmp_path / "data" / "jobs").iterdir()))


def test_only_the_latest_attempt_counts(store: JobStore) -> None:
    store.add([NewJob("a", "a.mp4")])
    first = store.claim(60)
    assert first
    assert store.claim(60) is None
    assert store.renew(first, Progress("scoring", 1), 60)
    store.recover(0)  # its lease holds
    assert store.renew(first, None, 60)
    store.recover(2**40)  # it does not any more
    second = store.claim(60)
    assert second
    assert not store.renew(first, None, 60)
    assert not store.finish(first, OUTCOME)
    assert not store.retry(first, "died")
    assert store.finish(second, OUTCOME)
    found = store.get("a")
    assert found
    assert (found.status, found.model, found.progress) == ("done", "pretender", None)


def test_a_job_is_not_tried_for_ever(store: JobStore) -> None:
    store.add([NewJob("a", "a.mp4")])
    for _ in range(ATTEMPTS):
        assert store.claim(60)
        store.recover()
    found = store.get("a")
    assert found
    assert found.reason == f"was interrupted, {ATTEMPTS} times"


def test_the_table_of_another_version_is_left_alone(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "a")
    store._db.execute("PRAGMA user_version=99")
    store.close()
    (tmp_path / "b").write_text("text " * 1000)
    for name, why in (("a", "is of format 99"), ("b", "cannot be opened")):
        with pytest.raises(FileError, match=why):
            JobStore(tmp_path / name)


def test_the_worker_judges_and_reports(bundle: Bundle, clip: Path, tmp_path: Path) -> None:
    said: list[Progress] = []
    folder = tmp_path / "job"
    hostile = "<script>alert(1)</script>.mp4"
    found = judge(Detector(bundle), Order(str(clip), folder, hostile), said.append)
    assert isinstance(found, Outcome)
    assert found.model == "tiny"
    assert len(found.sha256) == 64
    assert (said[0].stage, said[-1].stage) == ("opening", "reporting")
    known = (said[-1].verdict, said[-1].evidence, said[-1].confidence)
    assert known == (found.verdict, found.evidence, found.confidence)
    page = (folder / PAGE).read_text()
    assert hostile not in page
    assert "&lt;script&gt;" in page
    assert hostile in (folder / RESULT).read_text()


def test_the_verdict_is_said_before_copies_are_judged(
    bundle: Bundle, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Progress] = []
    detector = Detector(bundle, stability=True)
    alone = Detector(bundle).predict(clip)

    def tested(_: Detector, prediction: Prediction) -> Prediction:
        assert (said[-1].stage, said[-1].verdict) == ("copies", prediction.verdict)
        return replace(prediction, verdict="inconclusive")

    monkeypatch.setattr("unmask.serve.worker.tested", tested)
    found = judge(detector, Order(str(clip), tmp_path / "job", "x.mp4"), said.append)
    assert isinstance(found, Outcome)
    assert [p.verdict for p in said if p.verdict] == [alone.verdict, "inconclusive"]
    assert found.verdict == "inconclusive"


def test_the_worker_says_why_there_is_no_result(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(clip_that())
    found = judge(Detector(bundle), Order(str(tmp_path / "clip"), tmp_path, "x"), lambda _: None)
    assert isinstance(found, Failed)
    assert "not a video" in found.reason


def test_a_bug_of_ours_costs_one_video(
    bundle: Bundle, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unmask.serve.worker.make_report", None)
    found = judge(Detector(bundle), Order(str(clip), tmp_path, "x"), lambda _: None)
    assert isinstance(found, Failed)
    assert "a bug in unmask" in found.reason


@pytest.mark.parametrize(
    ("suffix", "codec", "kind"),
    [
        ("mp4", "mpeg4", "video/mp4"),
        ("mov", "mpeg4", "video/mp4"),
        ("mkv", "mpeg4", "video/x-matroska"),
        ("webm", "libvpx", "video/webm"),
        ("avi", "mpeg4", "video/x-msvideo"),
        ("ts", "mpeg2video", "video/mp2t"),
        ("m2ts", "mpeg2video", "video/mp2t"),
        ("mpg", "mpeg1video", "video/mpeg"),
        ("flv", "flv1", "video/x-flv"),
        ("wmv", "wmv2", "video/x-ms-asf"),
        ("ogv", "libvpx", "video/ogg"),
        ("gif", "gif", "image/gif"),
        ("mxf", "mpeg2video", "application/mxf"),
        ("h264", "libx264", "application/octet-stream"),
    ],
)
def test_a_video_is_known_by_its_first_bytes(
    suffix: str, codec: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"clip.{suffix}"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = 64, 64
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for _ in range(30):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
            out.mux(stream.encode(picture.reformat(format=stream.pix_fmt)))
        out.mux(stream.encode())
    with path.open("rb") as file:
        assert media_type(file.read(HEAD)) == kind


def test_what_is_no_video_is_known_too() -> None:
    for head in (b"", b"G", b"MZ", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"RIFF\0\0\0\0WAVE"):
        assert media_type(head) is None
