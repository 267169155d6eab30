"""Places: of this machine, in memory, and on a server that speaks S3; what is read, kept, said."""

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import MakeClip, Unmask, pack, random_video

from unmask import DeepfakeWindowDataset, create_dataloaders, storage
from unmask.corpora import VideoRecord, read_table, write_table
from unmask.data import pt_file
from unmask.data.preprocessor import VideoPreprocessor
from unmask.data.tree import SETTINGS, preprocess_tree
from unmask.detection.batch import find_inputs
from unmask.errors import CorpusError, StorageError, UsageError

moto_server = pytest.importorskip("moto.server")
pytest.importorskip("s3fs")

KINDS = ["file", "memory", "s3"]
Make = Callable[[str], str]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of an S3 server; this process and those that it starts use it."""
    running = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UNMASK_ALLOW", "")
    return tmp_path / "cache"


@pytest.fixture
def bucket(server: str) -> str:
    name = f"b{uuid.uuid4().hex}"
    storage.address.opened("s3://x")[0].mkdir(name)
    return f"s3://{name}"


@pytest.fixture(params=KINDS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty folder."""
    if request.param == "file":
        return f"file://{tmp_path}/root"
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    bucket: str = request.getfixturevalue("bucket")
    return f"{bucket}/root"


def put(address: str, content: bytes) -> str:
    with storage.published(address) as path:
        path.write_bytes(content)
    return address


def get(address: str) -> bytes:
    with storage.fetched(address) as path:
        return path.read_bytes()


def kept(cache: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in cache.glob("*/content/*"))


# The same everywhere


def test_what_is_published_is_found_and_fetched(root: str) -> None:
    names = ["a.mp4", "b [1] ä?#.MKV", "deep/er/c.mp4"]
    for name in (*names, ".hidden.mp4", "notes.txt"):
        put(f"{root}/{name}", name.encode())
    suffixes = {".mp4", ".mkv"}
    assert storage.files_in(root, suffixes) == sorted(names)
    assert storage.files_in(root + "/", suffixes, recursive=False) == names[:2]
    for name in names:
        with storage.fetched(f"{root}/{name}") as path:
            assert path.name == name.rpartition("/")[2]
            assert path.read_bytes() == name.encode()
    found = [storage.name_of(address) for address in storage.matching(f"{root}/*.mp4")]
    assert found == ["a.mp4"]
    assert len(storage.matching(f"{root}/**/*.mp4")) == 2
    assert storage.is_folder(root)
    assert not storage.is_folder(f"{root}/a.mp4")
    assert not storage.exists(f"{root}/none.mp4")


def test_inputs_may_be_files_folders_and_patterns(root: str) -> None:
    for name in ("a.mp4", "x/b.pt", "x/y/c.mp4", "x/d.txt"):
        put(f"{root}/{name}", b"x")
    inside = [f"{root}/x/b.pt", f"{root}/x/y/c.mp4"]
    assert find_inputs([f"{root}/none.mp4", f"{root}/x"]) == [f"{root}/none.mp4", *inside]
    assert find_inputs([f"{root}/x"], recursive=False) == inside[:1]
    (matched,) = find_inputs([f"{root}/*.mp4"])
    assert storage.name_of(matched) == "a.mp4"
    with pytest.raises(CorpusError, match="matches no file"):
        find_inputs([f"{root}/*.avi"])


def test_a_block_that_fails_publishes_nothing(root: str) -> None:
    put(f"{root}/a", b"before")

    def fail() -> None:
        with storage.published(f"{root}/a") as path:
            path.write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert get(f"{root}/a") == b"before"
    assert storage.files_in(root, {"", ".tmp"}) == ["a"]


def test_what_is_not_there_is_said_with_its_address(root: str) -> None:
    put(f"{root}/folder/a", b"x")
    if not root.startswith("file"):  # there the reader says it
        for name, cause in (("none.mp4", "no such file"), ("folder", "is a folder")):
            with pytest.raises(StorageError, match=cause) as raised:
                get(f"{root}/{name}")
            assert str(raised.value).startswith(f"{root}/{name}: ")


# The cache


@pytest.mark.parametrize("root", ["memory", "s3"], indirect=True)
def test_a_file_that_changed_is_fetched_anew_and_others_are_not(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = storage.address.opened(root)[0]
    fetch, asked = files.get_file, []

    def counted(remote: str, *rest: object, **more: object) -> None:
        asked.append(remote.rpartition("/")[2])
        fetch(remote, *rest, **more)

    monkeypatch.setattr(files, "get_file", counted)
    put(f"{root}/a", b"one")
    put(f"{root}/b", b"two")
    assert [get(f"{root}/{name}") for name in "abab"] == [b"one", b"two"] * 2
    put(f"{root}/a", b"eno")  # of the same size
    assert [get(f"{root}/{name}") for name in "aabb"] == [b"eno"] * 2 + [b"two"] * 2
    assert asked == ["a", "b", "a"]


def test_the_cache_keeps_what_was_used_last_within_its_bound(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_CACHE_SIZE", "30")
    addresses = {name: put(f"memory://cache/{name}", name.encode() * 10) for name in "abcde"}
    contents = {name: name.encode() * 10 for name in addresses}
    for name, there in zip("abcad", ("a", "ab", "abc", "abc", "acd"), strict=True):
        assert get(addresses[name]) == contents[name]
        assert kept(cache) == [contents[key] for key in there]
    with storage.fetched(addresses["c"]) as used:
        for name in "bebe":
            get(addresses[name])
            assert sum(map(len, kept(cache))) <= 30
        assert used.read_bytes() == contents["c"]
    with pytest.raises(StorageError, match="31 bytes, more than the cache"):
        get(put("memory://cache/large", bytes(31)))
    monkeypatch.setenv("UNMASK_CACHE_SIZE", "much")
    with pytest.raises(UsageError, match="500M"):
        get(addresses["a"])


def test_what_is_used_stays_though_the_cache_is_full(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_CACHE_SIZE", "10")
    a, b = (put(f"memory://full/{name}", name.encode() * 10) for name in "ab")
    with storage.fetched(a) as first, storage.fetched(b) as second:
        assert first.read_bytes() + second.read_bytes() == b"a" * 10 + b"b" * 10
    get(put("memory://full/c", b"c" * 10))
    assert kept(cache) == [b"c" * 10]


FETCH = """
import hashlib, sys, time
from unmask import storage
for _ in range(20):
    with storage.fetched(sys.argv[1]) as path:
        print(hashlib.sha256(path.read_bytes()).hexdigest(), flush=True)
        if sys.argv[2] == "stay":
            time.sleep(600)
"""


def started(address: str, what: str) -> "subprocess.Popen[str]":
    paths = os.pathsep.join([str(Path(storage.__file__).parents[2]), *sys.path])
    command = [sys.executable, "-c", FETCH, address, what]
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_processes_share_the_cache(bucket: str, cache: Path) -> None:
    content = os.urandom(3_000_000)
    address = put(f"{bucket}/a.bin", content)
    processes = [started(address, "go on") for _ in range(2)]
    checksum = hashlib.sha256(content).hexdigest()
    for process in processes:
        assert process.communicate()[0].split() == [checksum] * 20
    assert kept(cache) == [content]


def test_what_another_process_uses_stays_until_it_is_killed(
    bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_CACHE_SIZE", "10")
    a, b = (put(f"{bucket}/{name}", name.encode() * 10) for name in "ab")
    with started(a, "stay") as process:
        assert process.stdout
        process.stdout.readline()
        assert get(b) == b"b" * 10
        assert kept(cache) == [b"a" * 10, b"b" * 10]
        process.kill()
    get(put(f"{bucket}/c", b"c" * 10))
    assert kept(cache) == [b"c" * 10]


# What is refused, and how that is said


def test_credentials_are_in_no_message(bucket: str, server: str) -> None:
    address = put(f"{bucket}/a.mp4", b"x")
    request = partial(
        urllib.request.Request,
        f"{server}/moto-api/reset-auth",
        headers={"Content-Type": "text/plain"},
    )
    urllib.request.urlopen(request(data=b"0")).close()  # from now on the server asks for accounts
    try:
        with pytest.raises(StorageError, match="no permission") as raised:
            get(address)
    finally:
        urllib.request.urlopen(request(data=b"inf")).close()
    with pytest.raises(StorageError, match="may not carry a password") as carried:
        get("s3://key:SECRET@bucket/a.mp4")
    with pytest.raises(StorageError, match="--allow https") as signed:
        get("https://127.0.0.1/a.mp4?signature=SECRET")
    for error in (raised, carried, signed):
        assert "SECRET" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("s3://no-such-bucket/a.mp4", "no such file"),
        ("nonsense://a/b.mp4", "--allow nonsense"),
        ("zip://a.mp4::https://127.0.0.1/b.zip", "--allow zip"),
        ("s3://bucket/a\0.mp4", "no address"),
    ],
)
def test_what_cannot_be_opened(address: str, cause: str, server: str) -> None:
    with pytest.raises(StorageError, match=cause):
        get(address)


def test_a_library_that_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(scheme: str) -> None:
        raise ImportError("Install gcsfs to access Google Storage")

    monkeypatch.setattr("fsspec.get_filesystem_class", lacking)
    with pytest.raises(StorageError, match=r"pip install 'unmask\[gs\]'"):
        get("gs://bucket/a.mp4")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A web server on the folder `site`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "site").mkdir()
    handler = partial(Quiet, directory=tmp_path / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_http_only_where_it_is_allowed(
    site: str, tmp_path: Path, unmask: Unmask, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pt_file.write(tmp_path / "site/a.pt", random_video([9]))
    how = ("predict", f"{site}/a.pt?key=SECRET", "--model", model, "--format", "json")
    refused = unmask(*how)
    assert refused.returncode == 1
    assert "--allow http" in refused.stderr
    assert "SECRET" not in refused.stderr
    done = unmask(*how, "--allow", "http")
    assert json.loads(done.stdout)["verdict"] != "failed"
    with pytest.raises(StorageError, match="no such file"):
        get(f"{site}/none.pt")


# The verbs


@pytest.fixture
def clips(root: str, tmp_path: Path, make_clip: MakeClip) -> str:
    """A remote folder of two clips and what is none, with a table; also in tmp_path/clips."""
    here = tmp_path / "clips"
    paths = [make_clip(here / f"test/real/{n}.mp4", 2, start=9 * n) for n in range(2)]
    (here / "test/real/bad.mp4").write_text("no video")
    write_table(here / "videos.jsonl", [VideoRecord(path, 0, "real") for path in paths])
    for path in filter(Path.is_file, here.rglob("*")):
        put(f"{root}/clips/{path.relative_to(here).as_posix()}", path.read_bytes())
    return f"{root}/clips"


def test_videos_elsewhere_are_judged_as_here(
    root: str, clips: str, tmp_path: Path, unmask: Unmask, model: Path
) -> None:
    out = f"{root}/out.jsonl"
    how = ("--model", model, "--format", "jsonl", "-o")
    assert unmask("predict", tmp_path / "clips", *how, tmp_path / "here").returncode == 1
    done = unmask("predict", clips, *how, out)
    assert done.returncode == 1
    assert "3 videos: 2 scored" in done.stderr
    here, there = (
        [json.loads(line) for line in text.splitlines()]
        for text in ((tmp_path / "here").read_text(), get(out).decode())
    )
    for a, b in zip(here, there, strict=True):
        assert a.pop("video").removeprefix(str(tmp_path)) == b.pop("video").removeprefix(root)
        assert a.pop("key") != b.pop("key")
        assert a == b
    again = unmask("predict", clips, *how, out, "--resume")
    assert "3 of them before" in again.stderr
    assert len(get(out).splitlines()) == 3
    put(f"{clips}/test/real/0.mp4", (tmp_path / "clips/test/real/1.mp4").read_bytes())
    changed = unmask("predict", clips, *how, out, "--resume")
    assert "2 of them before" in changed.stderr
    assert len(get(out).splitlines()) == 4


def test_a_tree_elsewhere_becomes_the_same_tree(
    root: str, clips: str, tmp_path: Path, preprocessor: VideoPreprocessor
) -> None:
    here, far, back = tmp_path / "here", f"{root}/processed", tmp_path / "back"
    preprocess_tree(tmp_path / "clips", here, preprocessor)
    names = [f"test/real/{n}.pt" for n in range(2)]
    report = preprocess_tree(clips, far, preprocessor)
    assert [storage.name_of(place) for place in report.done] == ["0.pt", "1.pt"]
    (failed,) = report.failed
    assert "bad.mp4: " in str(failed)
    assert "cache" not in str(failed)
    preprocess_tree(clips, back, preprocessor)
    for name in (*names, "videos.jsonl"):
        assert get(f"{far}/{name}") == (back / name).read_bytes() == (here / name).read_bytes()
    assert len(read_table(back / "videos.jsonl")) == 2
    again = preprocess_tree(tmp_path / "clips", far, preprocessor)
    assert (len(again.done), len(again.skipped)) == (0, 2)


@pytest.mark.parametrize("root", ["memory", "s3"], indirect=True)
def test_a_tree_elsewhere_has_one_kind_of_settings(
    root: str, tmp_path: Path, clip: Path, preprocessor: VideoPreprocessor
) -> None:
    for name, content in (("a", SETTINGS), ("b", "")):
        preprocess_tree(clip.parent, f"{root}/{name}", preprocessor)
        if not content:
            files, path = storage.address.opened(f"{root}/{name}/{SETTINGS}")
            files.rm_file(path)
        other = VideoPreprocessor(8, 4, 48, overlap=2, min_face_size=40)
        with pytest.raises(CorpusError, match=f"{SETTINGS}.*name another folder"):
            preprocess_tree(clip.parent, f"{root}/{name}", other)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "ray"])
def test_workers_fetch_and_publish(kind: str, bucket: str, tmp_path: Path, clip: Path) -> None:
    if kind == "ray":
        pytest.importorskip("ray")
    for name in ("a", "b"):
        put(f"{bucket}/raw/{name}.mp4", clip.read_bytes())
        shutil.copyfile(clip, tmp_path / f"{name}.mp4")
    # A process of its own, whose cluster knows the way to the bucket.
    command = (sys.executable, "-m", "unmask", "preprocess", f"{bucket}/raw", f"{bucket}/out")
    subprocess.run([*command, "--engine", kind, "--workers", "2"], check=True, timeout=300)
    for name in ("a", "b"):
        VideoPreprocessor(faces="all").save_video(tmp_path / f"{name}.mp4", tmp_path / "here.pt")
        assert get(f"{bucket}/out/{name}.pt") == (tmp_path / "here.pt").read_bytes()


def test_a_verb_that_reads_this_machine_only_says_so(unmask: Unmask) -> None:
    done = unmask("synth", "s3://b/a", "out")
    assert done.returncode == 2
    assert "is an address: name a path of this machine" in done.stderr


@pytest.mark.parametrize("workers", [0, 1])
def test_windows_come_out_of_shards_without_fetching_these(
    root: str, workers: int, tmp_path: Path, cache: Path
) -> None:
    tree = tmp_path / "tree"
    for number, category in enumerate(("real", "fake")):
        pt_file.write(tree / "train" / category / "a.pt", random_video([20], number))
    dataset = DeepfakeWindowDataset(tree, "train")
    expected = [dataset[k][0] for k in range(len(dataset))]
    for path in pack(tree).glob("*.*"):
        put(f"{root}/{path.name}", path.read_bytes())
    if root.startswith("memory:") and workers:
        pytest.skip("memory is not shared with workers that are started anew")
    loaders = create_dataloaders(root, 1, workers)
    assert loaders.train is not None
    found = torch.cat([window for window, _ in loaders.train])
    assert sorted(map(torch.sum, found)) == sorted(map(torch.sum, expected))
    assert {path.suffix for path in cache.rglob("*") if path.is_file()} <= {".json", "", ".lock"}
    with pytest.raises(CorpusError, match="no such folder"):
        DeepfakeWindowDataset(root, "val")


def test_results_that_could_not_be_written_are_kept(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> None:
        with storage.Mirror("s3://no-such-bucket/out.jsonl") as mirror:
            mirror.path.write_text("1\n")

    with pytest.raises(StorageError, match="is kept as") as raised:
        write()
    assert Path(str(raised.value).rpartition(" ")[2]).read_text() == "1\n"
