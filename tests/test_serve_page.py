"""The page of unmask serve, in a browser: from the drop of a video to its result."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import browser, needs_chromium  # noqa: F401
from playwright.sync_api import Browser, Dialog, FilePayload, Page, expect
from pretender import RESULT_OF, clip_that
from serving import ended, hand_in, serving, wait_for

from unmask.models import Bundle
from unmask.models.bundle import save_bundle
from unmask.serve.settings import Settings
from unmask.serve.supervisor import load_and_work

pytestmark = needs_chromium
expect.set_options(timeout=60_000)  # the workers of a busy machine start late
HOSTILE = "<img src=x onerror=alert(1)>.mp4"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def running(data: Path) -> Iterator[httpx.Client]:
    (data / "local.mp4").write_bytes(clip_that())
    with serving(Settings(data, port=0, max_upload=2**20, allow_path=(data,))) as client:
        yield client


@pytest.fixture
def client(running: httpx.Client) -> httpx.Client:
    """A server with an empty history."""
    for job in running.get("/api/jobs", params={"limit": 200}).json()["jobs"]:
        running.delete(f"/api/jobs/{job['id']}")
    return running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:  # noqa: F811
    """A page in which no script fails and nothing is blocked."""
    wrong: list[str] = []
    page = browser.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    yield page
    page.close()
    # A server that refuses, or is away, is part of some tests.
    assert [text for text in wrong if "Failed to load resource" not in text] == []


def choose(page: Page, *files: tuple[str, bytes]) -> None:
    """Hand in files as a visitor does."""
    page.locator("#files").set_input_files(
        [FilePayload(name=name, mimeType="video/mp4", buffer=content) for name, content in files]
    )


def row(page: Page, name: str) -> Any:
    """Of a video in the list."""
    return page.locator("#jobs > li").filter(has_text=name)


def open_home(page: Page, client: httpx.Client) -> None:
    page.goto(str(client.base_url))
    expect(page.locator("#home")).to_be_visible()


def test_the_verdict_shows_while_copies_are_judged(
    page: Page, client: httpx.Client, tmp_path: Path
) -> None:
    open_home(page, client)
    choose(page, ("one.mp4", clip_that(f"judged {tmp_path / 'go'}")))
    expect(row(page, "one.mp4")).to_contain_text(
        "Judging altered copies · so far: Moderate evidence of manipulation · 30 frames"
    )
    (tmp_path / "go").touch()
    expect(row(page, "one.mp4")).to_contain_text("Inconclusive")


def test_a_video_is_judged_before_ones_eyes(
    page: Page, client: httpx.Client, tmp_path: Path
) -> None:
    open_home(page, client)
    expect(page.locator("#limits")).to_contain_text("Up to 1 MB each")
    choose(page, ("one.mp4", clip_that(f"hold {tmp_path / 'go'}")))
    expect(row(page, "one.mp4")).to_contain_text(
        "Judging the faces · 30 frames · 12.5 frames/s · about 2 s left"
    )
    choose(page, ("two.mp4", clip_that("fail")))
    expect(row(page, "one.mp4").get_by_role("progressbar")).to_have_js_property("value", 0.5)
    expect(row(page, "two.mp4")).to_contain_text("Waiting")
    (tmp_path / "go").touch()
    expect(row(page, "one.mp4")).to_contain_text("Inconclusive")
    expect(row(page, "two.mp4")).to_contain_text("Not analysed no face found")
    expect(page.get_by_role("status")).to_contain_text("two.mp4: Not analysed")
    row(page, "one.mp4").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("one.mp4")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    for text in ("The model cannot tell. This is no sign that the video is real.", "00:00:06"):
        expect(page.locator("#view")).to_contain_text(text)
    expect(page.get_by_role("img")).to_have_count(1)
    assert page.locator("polyline").count() == len(RESULT_OF["tracks"])  # type: ignore[arg-type]
    with page.expect_popup() as popup:
        page.get_by_role("link", name="Full report").click()
    expect(popup.value.get_by_text("a report")).to_be_visible()
    page.get_by_role("link", name="All videos").click()
    expect(row(page, "one.mp4")).to_be_visible()


def test_what_is_dropped_is_handed_in(page: Page, client: httpx.Client) -> None:
    open_home(page, client)
    page.evaluate(
        """text => {
            const data = new DataTransfer();
            data.items.add(new File([text], "dropped.mp4"));
            document.body.dispatchEvent(
                new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        clip_that().decode(),
    )
    expect(row(page, "dropped.mp4")).to_contain_text("Inconclusive")


def test_a_file_that_is_no_video_is_refused_with_a_reason(page: Page, client: httpx.Client) -> None:
    open_home(page, client)
    choose(page, ("text.mp4", b"text"), ("large.mp4", clip_that() + bytes(2**20)))
    uploads = page.locator("#uploads > li")
    expect(uploads.nth(0)).to_contain_text("Not uploaded: not a video of a format that is known")
    expect(uploads.nth(1)).to_contain_text("Not uploaded: larger than 1 MB")
    page.get_by_role("button", name="Remove the upload of text.mp4").click()
    expect(uploads).to_have_count(1)
    assert client.get("/api/jobs").json()["total"] == 0


def test_a_name_is_never_markup(page: Page, client: httpx.Client) -> None:
    dialogs: list[Dialog] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog))
    job = hand_in(client, "fake", HOSTILE)
    ended(client, job)
    open_home(page, client)
    expect(row(page, HOSTILE)).to_contain_text("Strong evidence of manipulation")
    choose(page, (HOSTILE, b"text"))
    expect(page.locator("#uploads")).to_contain_text(HOSTILE)
    page.goto(f"{client.base_url}#job/{job}")
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    assert page.locator("img").count() == 0
    assert dialogs == []


def test_a_file_on_the_server_can_be_named(page: Page, client: httpx.Client, data: Path) -> None:
    open_home(page, client)
    path = page.get_by_label("Or a file on the server")
    path.fill("/etc/passwd")
    path.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("no file below a folder that is allowed")
    path.fill(str(data / "local.mp4"))
    page.get_by_role("button", name="Judge").click()
    expect(row(page, "local.mp4")).to_contain_text("Inconclusive")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_the_history_is_searched_and_leafed_through(page: Page, client: httpx.Client) -> None:
    for number in range(25):
        last = hand_in(client, name=f"clip {number}.mp4")
    ended(client, last)
    open_home(page, client)
    rows = page.locator("#jobs > li")
    expect(rows).to_have_count(20)
    expect(page.locator("#where")).to_have_text("1 to 20 of 25")
    page.get_by_role("button", name="Older").click()
    expect(rows).to_have_count(5)
    expect(page.get_by_role("button", name="Older")).to_be_hidden()
    page.get_by_role("searchbox").fill("CLIP 7")
    expect(rows).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export JSON").click()
    assert [job["name"] for job in json.loads(download.value.path().read_text())] == ["clip 7.mp4"]
    page.get_by_role("searchbox").fill("nothing of the kind")
    expect(page.locator("#none")).to_have_text("No video has a name like that.")


def test_two_results_stand_side_by_side(page: Page, client: httpx.Client) -> None:
    for says, name in (("", "a.mp4"), ("fake", "b.mp4"), ("other", "c.mp4")):
        ended(client, hand_in(client, says, name))
    cases = {
        "ab": "The same file, judged twice by the same model: “Inconclusive” and",
        "ac": "the models disagree: “Inconclusive” and “Strong evidence of manipulation”",
        "bc": "the two models agree",
    }
    for names, said in cases.items():
        open_home(page, client)
        compare = page.get_by_role("button", name="Compare two")
        expect(compare).to_be_disabled()
        for name in names:
            page.get_by_role("checkbox", name=f"Compare {name}.mp4").check()
        compare.click()
        expect(page.locator("#comparison")).to_contain_text(said)
        expect(page.locator("#view article")).to_have_count(2)


def test_a_video_is_deleted_once_that_is_confirmed(page: Page, client: httpx.Client) -> None:
    ended(client, hand_in(client, name="a.mp4"))
    open_home(page, client)
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Delete a.mp4").click()
    assert client.get("/api/jobs").json()["total"] == 1
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete a.mp4").click()
    expect(page.locator("#none")).to_have_text("None yet.")
    expect(page.get_by_role("heading", name="Videos")).to_be_focused()
    assert client.get("/api/jobs").json()["total"] == 0


def test_the_page_goes_on_after_a_restart(page: Page, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = Settings(tmp_path / "data", port=port)
    with serving(settings) as client:
        open_home(page, client)
        choose(page, ("clip.mp4", clip_that(f"hold {tmp_path / 'go'}")))
        expect(row(page, "clip.mp4")).to_contain_text("Judging the faces")
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    (tmp_path / "go").touch()
    with serving(settings):
        expect(row(page, "clip.mp4")).to_contain_text("Inconclusive")
        expect(page.get_by_role("alert")).to_be_hidden()


def test_a_full_queue_is_waited_for(page: Page, tmp_path: Path) -> None:
    with serving(Settings(tmp_path / "data", port=0, queue=1)) as client:
        job = hand_in(client, f"hold {tmp_path / 'go'}")
        wait_for(lambda: client.get(f"/api/jobs/{job}").json()["status"] == "running", 0.1)
        hand_in(client)
        open_home(page, client)
        choose(page, ("late.mp4", clip_that()))
        expect(page.locator("#uploads")).to_contain_text("The server is busy")
        (tmp_path / "go").touch()
        ended(client, job)
        wait_for(lambda: 'status="queued"} 0\n' in client.get("/metrics").text, 0.1)
        page.get_by_role("button", name="Try again").click()
        expect(row(page, "late.mp4")).to_contain_text("Inconclusive")


@pytest.mark.slow
def test_a_real_video_is_judged_behind_a_token(
    page: Page, tmp_path: Path, clip: Path, bundle: Bundle
) -> None:
    save_bundle(tmp_path / "model", bundle)
    token = "correct horse battery staple"
    settings = Settings(tmp_path / "data", str(tmp_path / "model"), port=0, token=token)
    with serving(settings, load_and_work) as client:
        page.goto(str(client.base_url))
        page.get_by_label("Token of this server").fill("wrong")
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("alert")).to_contain_text("token is missing or wrong")
        page.get_by_label("Token of this server").fill(token)
        page.get_by_role("button", name="Open").click()
        expect(page.locator("#home")).to_be_visible()
        page.locator("#files").set_input_files(clip)
        expect(row(page, "clip.mp4").locator(".evidence")).to_be_visible()
        row(page, "clip.mp4").get_by_role("link").click()
        expect(page.locator("#view dl")).to_contain_text("tiny")
        with page.expect_popup() as popup:
            page.get_by_role("link", name="Full report").click()
        report = popup.value
        # It lies in a sandbox and has no cookie; the key of its video is in the address.
        length = report.locator("video").evaluate(
            """video => new Promise(say => {
                const told = () => say(video.duration);
                if (video.readyState) told(); else video.onloadedmetadata = told;
                video.onerror = () => say(0);
            })"""
        )
        assert length > 2
        assert report.evaluate("fetch('/api/jobs').then(() => 'open', () => 'shut')") == "shut"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_everybody_can_read_it(
    width: int, scheme: str, page: Page, client: httpx.Client, tmp_path: Path
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for says, name in (("fail", "no face.mp4"), ("fake", "w" * 120 + ".mp4"), ("", "b.mp4")):
        last = hand_in(client, says, name)
    ended(client, last)
    jobs = [job["id"] for job in client.get("/api/jobs").json()["jobs"]]
    hand_in(client, f"hold {tmp_path / 'go'}", "running.mp4")
    hand_in(client, name="waiting.mp4")
    views = {"home": "", "job": f"#job/{jobs[1]}", "compare": f"#compare/{jobs[0]}/{jobs[1]}"}
    for name, address in views.items():
        page.goto(f"{client.base_url}{address}")
        page.reload()  # another hash alone loads nothing
        shown = "#jobs > li" if name == "home" else "#view article"
        expect(page.locator(shown).first).to_be_visible()
        if folder := os.environ.get("UNMASK_SHOTS"):  # to look at
            page.screenshot(path=f"{folder}/{name}-{width}-{scheme}.png", full_page=True)
        wrong = Axe().run(page).response["violations"]
        assert [f"{v['id']}: {v['nodes'][0]['html']}" for v in wrong
                if v["impact"] in ("serious", "critical")] == []  # fmt: skip
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_keyboard_does(page: Page, client: httpx.Client) -> None:
    ended(client, hand_in(client, name="a.mp4"))
    open_home(page, client)
    expect(row(page, "a.mp4")).to_be_visible()
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(
            "document.activeElement.id || document.activeElement.textContent"
            " || document.activeElement.ariaLabel"
        ))  # fmt: skip
    for place in ("files", "path", "search", "as-csv", "a.mp4", "Compare a.mp4", "Delete"):
        assert place in reached
    row(page, "a.mp4").get_by_role("link").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("a.mp4")
    page.go_back()
    expect(row(page, "a.mp4")).to_be_visible()
