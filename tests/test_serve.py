"""unmask serve over HTTP: what it answers, and what it refuses."""

import csv
import io
import json
import re
import socket
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from conftest import Unmask
from hypothesis import strategies as st
from pretender import RESULT_OF, clip_that
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from serving import ended, hand_in, serving, wait_for

from unmask.errors import UsageError
from unmask.serve import security, service, uploads
from unmask.serve.export import as_csv
from unmask.serve.jobs import Job, JobStore
from unmask.serve.security import Rate
from unmask.serve.settings import Settings

TOKEN = "correct horse battery staple"
STATIC = Path(service.__file__).with_name("static")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose files may be named."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "local.mp4").write_bytes(clip_that())
    return folder


@pytest.fixture(scope="module")
def running(data: Path, videos: Path) -> Iterator[httpx.Client]:
    """A server for all tests that leave it as it was."""
    settings = Settings(data, port=0, max_upload=2**20, allow_path=(videos,), allow_host=("box",))
    with pytest.MonkeyPatch.context() as patch:
        # What one client may ask is a test of its own.
        patch.setattr(security, "Rate", partial(Rate, burst=1e9))
        with serving(settings) as client:
            patch.undo()
            yield client


@pytest.fixture
def client(running: httpx.Client, data: Path) -> Iterator[httpx.Client]:
    """The same, without what the test before has left."""
    yield running
    for job in running.get("/api/jobs", params={"limit": 200}).json()["jobs"]:
        running.delete(f"/api/jobs/{job['id']}")
    wait_for(lambda: not list((data / "jobs").iterdir()))


def test_a_video_becomes_a_result(client: httpx.Client, data: Path, tmp_path: Path) -> None:
    job = hand_in(client, f"hold {tmp_path / 'go'}")
    wait_for(lambda: client.get(f"/api/jobs/{job}").json()["progress"])
    found = client.get(f"/api/jobs/{job}").json()
    assert found["status"] == "running"
    assert found["progress"]["fps"] == 12.5
    assert client.get(f"/api/jobs/{job}/result").status_code == 409
    with client.stream("GET", f"/api/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        (tmp_path / "go").touch()
        said = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    assert said[0]["status"] == "running"
    assert said[-1]["status"] == "done"
    assert said[-1] == client.get(f"/api/jobs/{job}").json()
    assert client.get(f"/api/jobs/{job}/result").json() == RESULT_OF
    assert "a report" in client.get(f"/api/jobs/{job}/report").text
    assert client.delete(f"/api/jobs/{job}").status_code == 204
    for part in ("", "/result", "/report", "/video", "/events"):
        assert client.get(f"/api/jobs/{job}{part}").status_code == 404
    assert not (data / "jobs" / job).exists()


def test_a_stream_of_events_ends_with_its_job(client: httpx.Client, tmp_path: Path) -> None:
    job = hand_in(client, f"hold {tmp_path / 'go'}")
    with client.stream("GET", f"/api/jobs/{job}/events") as answer:
        client.delete(f"/api/jobs/{job}")
        assert answer.read().decode().endswith("event: deleted\ndata: {}\n\n")


def test_a_form_has_several_videos(client: httpx.Client, data: Path) -> None:
    files = [("file", (f"{name}.mp4", clip_that(name * 3))) for name in "ab"]
    answer = client.post("/api/jobs", files=files, data={"other": "field"})
    assert answer.status_code == 202
    ids = answer.json()["ids"]
    assert answer.json()["id"] == ids[0]
    for job, name in zip(ids, "ab", strict=True):
        assert ended(client, job)["name"] == f"{name}.mp4"
        assert (data / "jobs" / job / "video").read_bytes() == clip_that(name * 3)


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (400, b"--x\r\n\r\n", "multipart/form-data"),
        (400, b"nothing of the kind", "multipart/form-data; boundary=x"),
        (400, b"--x--\r\n", "multipart/form-data; boundary=x"),
        (400, b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n', None),
        (400, b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n\r\n--x--\r\n', None),
        (400, b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + clip_that(), None),
        (400, b"--x\r\n" + b"A: b\r\n" * 50 + b"\r\n--x--\r\n", None),
        (400, b"--x\r\nA: " + b"b" * 9000 + b"\r\n\r\n--x--\r\n", None),
        (413, b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"b" * 70000, None),
        (415, b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--x--', None),
        (400, b"", "video/mp4"),
        (415, b"MZ\x90\x00", "video/mp4"),
        (415, b"#EXTM3U\nhttp://127.0.0.1/", "video/mp4"),
        (413, clip_that() + bytes(2**20), "video/mp4"),
        (400, b"{", "application/json"),
        (400, b'{"path": 1}', "application/json"),
        (400, b'{"path": "a", "more": 1}', "application/json"),
        (413, b"[" * 70000, "application/json"),
    ],
)
def test_what_is_no_video_is_refused_and_leaves_nothing(
    client: httpx.Client, data: Path, status: int, content: bytes, kind: str | None
) -> None:
    headers = {"Content-Type": kind or "multipart/form-data; boundary=x"}
    answer = client.post("/api/jobs", content=content, headers=headers)
    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True)
    assert not list((data / "jobs").iterdir())


def test_of_a_form_all_is_queued_or_nothing(client: httpx.Client, data: Path) -> None:
    files = [("file", ("a.mp4", clip_that())), ("file", ("b.mp4", b"text"))]
    assert client.post("/api/jobs", files=files).status_code == 415
    assert client.get("/api/jobs").json()["total"] == 0
    assert not list((data / "jobs").iterdir())


def test_a_body_without_a_length_has_the_same_limit(client: httpx.Client, data: Path) -> None:
    def endless() -> Iterator[bytes]:
        yield clip_that()
        for _ in range(40):
            yield bytes(2**16)

    form = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
    for start, kind in ((b"", "video/mp4"), (form, "multipart/form-data; boundary=x")):
        content = (start + part if not n else part for n, part in enumerate(endless()))
        answer = client.post("/api/jobs", content=content, headers={"Content-Type": kind})
        assert answer.status_code == 413
    assert not list((data / "jobs").iterdir())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\x.mp4", "x.mp4"),
        ("//", "video"),
        ("..", ".."),
        ("<script>alert(1)<script>.mp4", "<script>alert(1)<script>.mp4"),
        ("invoice\u202e4pm.exe", "invoice4pm.exe"),
        ("a\x00b\r\nSet-Cookie: c", "abSet-Cookie: c"),
        ("é" * 999, "é" * 200),
    ],
)
def test_a_name_is_text_and_never_a_path(
    client: httpx.Client, data: Path, name: str, shown: str
) -> None:
    job = hand_in(client, name=name)
    assert ended(client, job)["name"] == shown
    assert [path.name for path in (data / "jobs").iterdir()] == [job]
    assert {path.name for path in (data / "jobs" / job).iterdir()} <= {
        "video", "report.html", "report.json",
    }  # fmt: skip
    for path in ("result", "report", "video"):
        assert name not in str(client.get(f"/api/jobs/{job}/{path}").headers.multi_items())


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd", "/..%2f..%2fetc/passwd", "/app.js/../../app.py", "/static/app.js",
        "/api/jobs/..%2f..%2fjobs.sqlite3/video", "/api/jobs/lock/video", "/api/jobs/%00/video",
    ],
)  # fmt: skip
def test_no_path_leads_to_another_file(client: httpx.Client, path: str) -> None:
    # httpx would tidy the path: it goes by hand
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as wire:
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: wire.recv(65536), b""))
    assert re.match(rb"HTTP/1.1 (404|422) ", answer)


def test_local_files_are_those_below_the_folders_that_are_allowed(
    client: httpx.Client, videos: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(clip_that())
    (videos / "link.mp4").symlink_to(outside)
    paths = (outside, videos / "link.mp4", videos, videos / ".." / "x", "/dev/zero", "\0", "")
    refused = {client.post("/api/jobs", json={"path": str(path)}).text for path in paths}
    assert len(refused) == 1  # which tells nothing of what exists
    assert "--allow-path" in refused.pop()
    job = client.post("/api/jobs", json={"path": str(videos / "local.mp4")}).json()["id"]
    assert ended(client, job)["status"] == "done"
    assert client.get(f"/api/jobs/{job}/video").content == clip_that()
    client.delete(f"/api/jobs/{job}")
    assert (videos / "local.mp4").exists()


def test_the_video_is_kept_and_read_in_ranges(client: httpx.Client, data: Path) -> None:
    job = hand_in(client, "some text")
    ended(client, job)
    address = f"/api/jobs/{job}/video"
    whole = client.get(address)
    assert whole.content == clip_that("some text")
    assert whole.headers["content-type"] == "video/mp4"
    part = client.get(address, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert client.get(address, headers={"Range": "bytes=900-"}).status_code == 416
    failed = hand_in(client, "fail")
    assert ended(client, failed)["reason"] == "no face found in 3 sampled frames"
    wait_for(lambda: client.get(f"/api/jobs/{failed}/video").status_code == 404)
    assert "no face found" in client.get(f"/api/jobs/{failed}/result").json()["detail"]
    kept = sum(path.stat().st_size for path in (data / "jobs" / job).iterdir())
    assert f"unmask_disk_bytes {kept}" in client.get("/metrics").text


def test_the_history_is_searched_and_exported(client: httpx.Client) -> None:
    jobs = [hand_in(client, says, name) for says, name in
            (("", "Party.mp4"), ("fail", "=cmd.mp4"), ("fake", "speech.mp4"))]  # fmt: skip
    for job in jobs:
        ended(client, job)
    found = client.get("/api/jobs").json()
    assert [job["name"] for job in found["jobs"]] == ["speech.mp4", "=cmd.mp4", "Party.mp4"]
    assert client.get("/api/jobs", params={"limit": 1, "offset": 1}).json()["total"] == 3
    for text, count in (("PARTY", 1), (".mp4", 3), ("%", 0), ("_", 0), ("' OR 1=1", 0)):
        assert client.get("/api/jobs", params={"search": text}).json()["total"] == count
    table = client.get("/api/export", params={"format": "csv"})
    assert table.headers["content-disposition"] == 'attachment; filename="unmask.csv"'
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["evidence"] for row in rows] == ["strong", "", "inconclusive"]
    assert rows[1]["name"] == "'=cmd.mp4"  # a spreadsheet computes nothing
    everything = client.get("/api/export").json()
    assert [job["result"] for job in everything] == [RESULT_OF, None, RESULT_OF]
    assert client.get("/api/export", params={"search": "party"}).json()[0]["id"] == jobs[0]
    assert client.get("/api/export", params={"search": "nothing"}).json() == []


def test_what_runs_and_waits_comes_first(client: httpx.Client, tmp_path: Path) -> None:
    ended(client, hand_in(client, name="1"))
    hand_in(client, f"hold {tmp_path / 'go'}", "2")
    wait_for(lambda: client.get("/api/jobs").json()["jobs"][0]["status"] == "running")
    for name in "34":
        hand_in(client, name=name)
    assert [job["name"] for job in client.get("/api/jobs").json()["jobs"]] == ["2", "3", "4", "1"]


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_a_table_holds_no_formula(start: str) -> None:
    job = Job("a", start, "queued", 0, 0.0, None, None, None, None, None, None, None, None, None,
              None)  # fmt: skip
    (_, row) = csv.reader(io.StringIO("".join(as_csv([job]))))
    assert row[0] == f"'{start}"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_change_nothing(client: httpx.Client, headers: dict[str, str]) -> None:
    job = hand_in(client)
    for method, path in (("POST", "/api/jobs"), ("DELETE", f"/api/jobs/{job}")):
        answer = client.request(method, path, content=clip_that(), headers=headers)
        assert answer.status_code == 403
    assert client.get("/api/jobs").json()["total"] == 1


def test_the_page_itself_may_change_things(client: httpx.Client) -> None:
    origin = str(client.base_url).rstrip("/")
    headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    answer = client.post("/api/jobs", content=clip_that(), headers=headers)
    assert answer.status_code == 202


@pytest.mark.parametrize(("host", "status"), [("evil.example", 400), ("BOX:80", 200), ("", 400)])
def test_the_server_answers_to_its_names_only(client: httpx.Client, host: str, status: int) -> None:
    assert client.get("/api/about", headers={"Host": host}).status_code == status


def test_every_answer_tells_browsers_what_they_may(client: httpx.Client) -> None:
    job = hand_in(client)
    ended(client, job)
    paths = ("/", "/app.js", "/style.css", "/api/jobs", "/nothing", f"/api/jobs/{job}/report")
    for path in paths:
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in policy  # of the report


def test_the_page_has_nothing_inline() -> None:
    html, script = ((STATIC / name).read_text() for name in ("index.html", "app.js"))
    assert not re.search(r"<style|\bstyle=|\bon\w+=", html)
    assert html.count("<script") == html.count('<script src="app.js" defer></script>') == 1
    assert script.startswith('"use strict";')
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", script)


def test_the_policy_of_a_report_lets_its_own_scripts_run_and_no_others() -> None:
    policy = security.report_policy("<script>a()</script><style>b {}</style>")
    assert "script-src 'sha256-" in policy
    assert "style-src 'sha256-" in policy
    assert "script-src 'none'" in security.report_policy("<p>")


def test_without_the_token_there_is_only_the_page(tmp_path: Path) -> None:
    with serving(Settings(tmp_path, port=0, token=TOKEN)) as client:
        job = hand_in(client)
        ended(client, job)
        page = httpx.Client(base_url=client.base_url)
        with page:
            assert page.get("/").status_code == page.get("/healthz").status_code == 200
            for path in ("/api/jobs", f"/api/jobs/{job}/video", "/metrics", "/api/openapi.json"):
                assert page.get(path).status_code == 401
            for given in ("Bearer", "Bearer wrong", f"Basic {TOKEN}", "Bearer \xe9"):
                headers = {b"Authorization": given.encode("latin-1")}
                assert page.get("/api/jobs", headers=headers).status_code == 401
            cookie = page.post("/api/session", headers={"Authorization": f"Bearer {TOKEN}"})
            assert cookie.headers["set-cookie"].endswith("; HttpOnly; Path=/; SameSite=strict")
            assert TOKEN not in cookie.headers["set-cookie"]
            assert page.get("/api/jobs").json()["total"] == 1
            page.cookies.clear()
            key = security.key_of(TOKEN, job)
            assert page.get(f"/api/jobs/{job}/video?key={key}").status_code == 200
            assert page.get(f"/api/jobs/{job}/result?key={key}").status_code == 401
            assert page.get(f"/api/jobs/{'0' * 32}/video?key={key}").status_code == 401
            guesses = [page.get("/api/jobs", headers={"Authorization": f"Bearer {n}"})
                       for n in range(30)]  # fmt: skip
    assert guesses[-1].status_code == 429
    assert guesses[-1].headers["Retry-After"]


def test_a_proxy_is_believed_if_that_is_wanted(tmp_path: Path) -> None:
    for believed in (True, False):
        settings = Settings(tmp_path / str(believed), port=0, token=TOKEN, behind_proxy=believed)
        with serving(settings) as client:
            cookie = client.post("/api/session", headers={"X-Forwarded-Proto": "https"})
            assert ("; Secure" in cookie.headers["set-cookie"]) == believed


def test_a_client_may_ask_so_often() -> None:
    rate = Rate(burst=2, rate=0)
    assert [rate.take("a") for _ in range(3)] == [True, True, False]
    assert rate.take("b")


def test_a_public_address_needs_a_token(tmp_path: Path) -> None:
    Settings(tmp_path, host="::1").check()
    Settings(tmp_path, host="0.0.0.0", force_public=True).check()
    Settings(tmp_path, host="192.0.2.1", token=TOKEN).check()
    for host, token in (("0.0.0.0", None), ("example.org", None), ("127.0.0.1", "short")):
        with pytest.raises(UsageError, match="token"):
            Settings(tmp_path, host=host, token=token).check()


def test_the_command_refuses_what_makes_no_sense(unmask: Unmask, tmp_path: Path) -> None:
    done = unmask("serve", "--host", "0.0.0.0", "--data", tmp_path)
    assert (done.returncode, "--force-public" in done.stderr) == (2, True)
    assert "no number with one of the units" in unmask("serve", "--keep", "7").stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = unmask("serve", "--port", taken.getsockname()[1], "--data", tmp_path)
    assert (done.returncode, "in use" in done.stderr) == (2, True)


def test_a_slow_upload_is_given_up(
    client: httpx.Client, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"POST /api/jobs HTTP/1.1\r\nHost: box\r\nContent-Length: 100\r\n\r\n" + clip_that()
    address = (client.base_url.host, client.base_url.port or 0)
    with socket.create_connection(address) as wire:
        wire.sendall(head)
    wait_for(lambda: not list((data / "jobs").iterdir()))  # broken off
    monkeypatch.setattr(uploads, "_PATIENCE", 0.1)
    monkeypatch.setattr(uploads, "_LINGER", 0.1)
    with socket.create_connection(address) as wire:
        wire.sendall(head)
        assert wire.recv(65536).startswith(b"HTTP/1.1 408 ")
    monkeypatch.setattr(uploads, "_SLOWEST", 2**40)  # bytes come, but never enough of them
    monkeypatch.setattr(uploads, "_PATIENCE", 0)
    assert client.post("/api/jobs", content=clip_that()).status_code == 408
    assert client.get("/api/jobs").json()["total"] == 0
    assert not list((data / "jobs").iterdir())


def test_of_200_uploads_what_is_accepted_is_done(tmp_path: Path) -> None:
    with serving(Settings(tmp_path / "data", port=0, queue=60)) as client:
        hand_in(client, f"hold {tmp_path / 'go'}")

        def upload(number: int) -> httpx.Response:
            return client.post("/api/jobs", content=clip_that(), params={"name": str(number)})

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(upload, range(200)))
        accepted = [answer.json()["id"] for answer in answers if answer.status_code == 202]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 59 <= len(accepted) <= 61  # the first one may still have waited
        assert len(accepted) + len(refused) == 200
        assert all(int(answer.headers["Retry-After"]) for answer in refused)
        (tmp_path / "go").touch()
        wait_for(lambda: 'status="queued"} 0\n' in client.get("/metrics").text, 0.2)
        assert all(ended(client, job)["status"] == "done" for job in accepted)


def test_a_form_takes_all_the_places_that_it_needs_or_none(tmp_path: Path) -> None:
    with serving(Settings(tmp_path / "data", port=0, queue=2)) as client:
        job = hand_in(client, f"hold {tmp_path / 'go'}")
        wait_for(lambda: client.get(f"/api/jobs/{job}").json()["progress"], 0.1)
        files = [("file", (f"{number}.mp4", clip_that())) for number in range(3)]
        assert client.post("/api/jobs", files=files).status_code == 429
        assert client.post("/api/jobs", files=files[:2]).status_code == 202
        (tmp_path / "go").touch()


def test_a_table_that_cannot_be_used_is_no_traceback(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "claim", full)
        patch.setattr(JobStore, "get", full)
        job = hand_in(client)
        answer = client.get(f"/api/jobs/{job}")
        assert (answer.status_code, "not now" in answer.json()["detail"]) == (503, True)
    assert ended(client, job)["status"] == "done"  # when there is room again


def test_a_full_disk_takes_no_more(tmp_path: Path) -> None:
    with serving(Settings(tmp_path, port=0, max_disk=200)) as client:
        job = hand_in(client, "x" * 50)
        ended(client, job)
        answer = client.post("/api/jobs", content=clip_that("y" * 90))
        assert (answer.status_code, "delete" in answer.json()["detail"]) == (507, True)
        client.delete(f"/api/jobs/{job}")
        hand_in(client, "y" * 90)


def test_no_request_that_the_description_allows_breaks_the_server(client: httpx.Client) -> None:
    schema = schemathesis.openapi.from_dict(client.get("/api/openapi.json").json())
    job = hand_in(client)
    ended(client, job)
    tried = []
    for operation in schema.get_all_operations():
        assert isinstance(operation, Ok)
        api = operation.ok()
        strategies = [api.as_strategy(generation_mode=mode) for mode in GenerationMode]

        @hypothesis.settings(max_examples=20, deadline=None, derandomize=True, database=None)
        @hypothesis.given(case=st.one_of(strategies), known=st.booleans())
        def check(case: schemathesis.Case[Any], known: bool) -> None:
            if known and "job" in case.path_parameters:
                case.path_parameters["job"] = job
            answer = case.call(base_url=str(client.base_url))
            assert answer.status_code < 500, answer.text

        check()
        tried.append(api.label)
    assert "POST /api/jobs" in tried
    assert len(tried) >= 12
