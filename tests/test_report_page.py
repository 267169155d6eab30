"""Reports as a reader meets them: in a browser, from a file, with hostile names."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import browser as browser
from browser import needs_chromium
from conftest import Image, filmed
from playwright.sync_api import Browser, Page
from reports import movie as movie
from reports import predicted
from reports import reporter as reporter
from reports import written as written

from unmask.detection.detector import Detector
from unmask.errors import FileError
from unmask.report import write
from unmask.report.credentials import Credentials
from unmask.report.document import read_document
from unmask.report.index import ReportFolder, write_index
from unmask.report.write import write_report
from unmask.video.encoder import encode

HOSTILE = "\"'><script>window.hacked=1</script><!-- & %2F ?#"


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens pages from their files; any error in them, and any request elsewhere, is a failure."""
    context = browser.new_context(viewport={"width": 1000, "height": 800})
    wrong: list[str] = []

    def look(path: Path, expected: str = "nothing") -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console",
            lambda m: (
                wrong.append(m.text) if m.type == "error" and expected not in m.text else None
            ),
        )
        page.on(
            "request",
            lambda r: (
                None if r.url.startswith(("file:", "data:", "blob:")) else wrong.append(r.url)
            ),
        )
        page.goto(path.absolute().as_uri())
        return page

    yield look
    context.close()
    assert wrong == []


def now(page: Page) -> float:
    return float(page.evaluate("document.getElementById('video').currentTime"))


def until(page: Page, expression: str) -> None:
    """Wait for it to hold; a page's policy lets Playwright itself wait for nothing like that."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never: {expression}")


def shown_json(page: Page) -> str:
    page.get_by_text("Show as JSON").click()
    page.locator("#json-text:not(:empty)").wait_for()
    return page.inner_text("#json-text")


def ready(page: Page) -> Page:
    until(page, "document.getElementById('video').readyState >= 2")
    return page


@needs_chromium
def test_a_page_needs_nothing_but_itself(written: Path, opened: Open) -> None:
    page = ready(opened(written))
    policy = page.get_attribute("meta[http-equiv=Content-Security-Policy]", "content") or ""
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.title() == "clip.mp4: Strong evidence of manipulation"
    said = page.inner_text("main")
    assert "Absence of evidence is not evidence of absence" in said
    assert "The error rates of this model are not known." in said
    assert "0.91" in said
    assert "encoded again" in said
    assert "authentic" not in page.content().lower()
    assert page.locator(".lane .uplot").count() == 2
    assert page.get_attribute("video", "src") == "../clip.mp4"


@needs_chromium
def test_a_click_goes_there_and_the_player_moves_the_cursor(written: Path, opened: Open) -> None:
    page = ready(opened(written))
    page.get_by_role("button", name="0:01.0 – 0:02.0").click()
    assert now(page) == 1.0
    until(page, "document.querySelector('.segments button').ariaCurrent === 'true'")
    page.locator(".faces button").last.click()
    assert now(page) != 1.0

    over = page.locator(".lane .u-over").first
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    heads = "[...document.querySelectorAll('.playhead')].map(head => parseFloat(head.style.left))"
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    middle = now(page)
    assert middle == pytest.approx(1.5, abs=0.05)  # of 3 s
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    page.mouse.up()
    assert now(page) == pytest.approx(middle / 2, abs=0.05)
    page.mouse.move(box["x"] + 5, box["y"] + 20)  # not held any more
    assert now(page) == pytest.approx(middle / 2, abs=0.05)
    # The player on its own moves all cursors.
    page.evaluate("document.getElementById('video').currentTime = 2.5")
    until(page, f"{heads}.every(left => Math.abs(left / {box['width']} - 0.83) < 0.04)")


@needs_chromium
def test_keys(written: Path, opened: Open) -> None:
    page = ready(opened(written))

    def frame() -> int:
        return int(now(page) * 10)  # frames a second

    page.keyboard.press("ArrowRight")
    assert frame() == 1
    page.keyboard.press("Shift+ArrowRight")
    assert frame() == 11
    page.keyboard.press("ArrowLeft")
    assert frame() == 10
    page.keyboard.press("n")
    assert now(page) == 2.25
    page.keyboard.press("p")
    assert now(page) == 1.0
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    assert now(page) == pytest.approx(0, abs=1e-3)
    page.locator("video").focus()  # whose own keys would do something else
    page.keyboard.press("ArrowRight")
    assert frame() == 1
    page.keyboard.press("Space")
    until(page, "!document.getElementById('video').paused")
    page.keyboard.press("Space")
    until(page, "document.getElementById('video').paused")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()


@needs_chromium
def test_heatmaps_are_off_until_they_are_asked_for(written: Path, opened: Open) -> None:
    page = opened(written)
    assert page.get_by_text("where the model looked, not proof").is_visible()
    heat, plain = page.locator(".faces .heat").first, page.locator(".faces .original").first
    assert (heat.is_visible(), plain.is_visible()) == (False, True)
    assert page.locator(".faces button").count() == 12
    page.get_by_label("Show heatmaps").check()
    assert (heat.is_visible(), plain.is_visible()) == (True, False)
    page.keyboard.press("?")  # keys work wherever the focus is
    assert page.get_by_role("dialog").is_visible()
    page.get_by_role("button", name="Close").click()
    page.get_by_label("Show heatmaps").focus()
    page.keyboard.press("Space")  # its own
    assert (heat.is_visible(), plain.is_visible()) == (False, True)


@needs_chromium
def test_light_dark_narrow_and_printed(written: Path, opened: Open) -> None:
    page = opened(written)
    paper = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(paper)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(paper) != light
    page.set_viewport_size({"width": 360, "height": 700})
    until(page, "document.documentElement.scrollWidth <= 360")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(paper) == light  # ink costs
    assert not page.locator("video").is_visible()
    assert page.locator(".lane .uplot").first.is_visible()
    assert page.pdf().startswith(b"%PDF")


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_in_the_way_of_screen_readers(
    written: Path, opened: Open, scheme: str, tmp_path: Path
) -> None:
    page = opened(written)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.get_by_text("Show as JSON").click()
    shutil.copy(written, tmp_path)
    for shown in (page, opened(write_index(tmp_path))):
        shown.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = Axe().run(shown).response["violations"]
        serious = [v for v in found if v["impact"] in ("serious", "critical")]
        assert serious == [], json.dumps(serious, indent=1)[:3000]


@needs_chromium
def test_hostile_names_are_text(
    movie: Path, reporter: Detector, tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "signed by </script><script>window.hacked=1</script>"
    monkeypatch.setattr(write, "read_credentials", lambda path: Credentials("valid", said))
    name = HOSTILE.replace("/", "∕") + "x" * 90
    video = Path(shutil.copy(movie, tmp_path / f"{name}.mp4"))
    prediction = predicted(video=str(video), reason=HOSTILE)
    path = write_report(prediction, reporter, tmp_path / "out", name=f"{HOSTILE}</title>.mp4")
    page = ready(opened(path))  # the video is found
    assert page.evaluate("window.hacked") is None
    assert page.inner_text("h1") == f"{HOSTILE}</title>.mp4"
    assert said in page.inner_text("aside")
    assert said in shown_json(page)
    page.set_viewport_size({"width": 360, "height": 700})
    until(page, "document.documentElement.scrollWidth <= 360")
    assert read_document(path).name == f"{HOSTILE}</title>.mp4"
    index = opened(write_index(tmp_path / "out"))
    assert index.evaluate("window.hacked") is None
    index.get_by_role("link").click()
    assert index.inner_text("h1") == f"{HOSTILE}</title>.mp4"


@needs_chromium
def test_the_json_of_the_page_is_that_of_the_prediction(
    written: Path, opened: Open, tmp_path: Path
) -> None:
    page = opened(written)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as JSON").click()
    assert download.value.suggested_filename == "clip.mp4.json"
    file = tmp_path / "report.json"
    download.value.save_as(file)
    document = read_document(written)
    assert read_document(file) == document
    assert document.prediction == json.loads(predicted().to_json())
    assert document.file is not None
    assert document.container is not None
    assert (document.container.width, document.container.codec) == (160, "h264")
    assert str(written.parent) not in written.read_text()  # no path of this machine
    assert json.loads(shown_json(page)) == json.loads(file.read_text())


@needs_chromium
def test_the_sentence_can_be_copied(written: Path, opened: Open) -> None:
    page = opened(written)
    page.get_by_role("button", name="Copy the sentence").click()
    page.get_by_text(re.compile("Copied|Selected")).wait_for()
    sentence = page.inner_text("#sentence")
    assert sentence.startswith("An automated analysis of the video file “clip.mp4” (SHA-256")
    assert "strong evidence" in sentence


@needs_chromium
def test_a_video_that_browsers_do_not_play_gets_a_copy(
    photo: Image, reporter: Detector, tmp_path: Path, opened: Open
) -> None:
    video = tmp_path / "old.mkv"
    encode(video, filmed(photo, 30), Fraction(10), 30, "libx265")
    path = write_report(predicted(video=str(video)), reporter, tmp_path / "out")
    assert path.with_suffix(".preview.mp4").is_file()
    page = ready(opened(path))
    assert page.evaluate("document.getElementById('video').duration") == pytest.approx(3, abs=0.1)
    assert "small copy without sound" in page.inner_text("main")


@needs_chromium
def test_what_failed_is_not_analysed(reporter: Detector, tmp_path: Path, opened: Open) -> None:
    prediction = reporter.fail("gone.mp4", FileError("gone.mp4", "no such file"))
    page = opened(write_report(prediction, reporter, tmp_path))
    assert page.title() == "gone.mp4: Not analysed"
    assert page.get_by_text("No such file").is_visible()
    assert page.locator(".lane, video, .scale").count() == 0
    assert json.loads(shown_json(page))["prediction"]["verdict"] == "failed"


@needs_chromium
def test_a_video_that_is_gone_leaves_the_curves(
    movie: Path, reporter: Detector, tmp_path: Path, opened: Open
) -> None:
    video = Path(shutil.copy(movie, tmp_path / "gone.mp4"))
    path = write_report(predicted(video=str(video)), reporter, tmp_path)
    video.unlink()
    page = opened(path, expected="FILE_NOT_FOUND")
    page.get_by_text("The video cannot be played here").wait_for()
    assert page.locator(".lane .uplot").count() == 2


@pytest.fixture
def folder(movie: Path, reporter: Detector, tmp_path: Path) -> Path:
    """Reports of clip10, clip2 and broken, with their index."""
    wrong: list[FileError] = []
    with ReportFolder(tmp_path / "out", reporter, wrong.append) as reports:
        for name, score in (("clip10", 0.91), ("clip2", 0.1)):
            video = Path(shutil.copy(movie, tmp_path / f"{name}.mp4"))
            verdict = "fake" if score > 0.5 else "real"
            reports.add(predicted(video=str(video), confidence=score, verdict=verdict), name)
        reports.add(
            reporter.fail(tmp_path / "gone.mp4", FileError("gone.mp4", "no such file")), "gone"
        )
    assert wrong == []
    return tmp_path / "out"


@needs_chromium
def test_the_index_is_sorted_and_filtered(folder: Path, opened: Open) -> None:
    page = opened(folder / "index.html")
    names = page.locator("tbody tr:visible .name")
    assert names.all_inner_texts() == ["clip10.mp4", "clip2.mp4", "gone.mp4"]  # by evidence
    page.get_by_role("button", name="Video").click()
    assert names.all_inner_texts() == ["clip2.mp4", "clip10.mp4", "gone.mp4"]  # 2 before 10
    page.get_by_role("button", name="Score").click()
    assert names.all_inner_texts() == ["gone.mp4", "clip2.mp4", "clip10.mp4"]
    page.get_by_role("button", name="Score").click()
    assert names.all_inner_texts() == ["clip10.mp4", "clip2.mp4", "gone.mp4"]
    page.get_by_label("Name").fill("CLIP")
    assert names.count() == 2
    assert page.get_by_text("2 of 3 shown").is_visible()
    page.get_by_label("Finding").select_option("Weak or no evidence of manipulation")
    assert names.all_inner_texts() == ["clip2.mp4"]
    assert page.locator("tbody img").count() == 2
    page.set_viewport_size({"width": 360, "height": 700})
    until(page, "document.documentElement.scrollWidth <= 360")
    page.get_by_role("link", name="clip2.mp4").click()
    assert page.inner_text("h1") == "clip2.mp4"
