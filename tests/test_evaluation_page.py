"""The page of an evaluation in a browser: what moves, what is told, and what never happens."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import browser, needs_chromium  # noqa: F401
from playwright.sync_api import Browser, Locator, Page
from sklearn.metrics import accuracy_score, precision_recall_curve, precision_score, roc_curve

from unmask.evaluation import ScoredVideo, make_report, write_evaluation
from unmask.evaluation.robustness import summarise
from unmask.evaluation.steps import steps

HOSTILE = "<img src=x onerror=document.title='hit'>'\"&amp;</script><script>document.title='hit'"
LONG = "W" * 90


def videos(count: int = 80, seed: int = 0) -> list[ScoredVideo]:
    """Scores with two digits, so that many are equal."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 2)
    scores = np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1).round(2)
    methods = (None, LONG, None, "swap by a method whose name goes on and on " * 2)
    return [
        ScoredVideo(
            f"video {k}", int(y), float(s), category=("Celeb-real", HOSTILE)[y],
            method=methods[y + 2 * (k % 3 == 0)], file=f"test/{k}",
        )
        for k, (y, s) in enumerate(zip(labels, scores, strict=True))
    ]  # fmt: skip


def arrays(rows: list[ScoredVideo]) -> tuple[Any, Any]:
    return np.array([v.label for v in rows]), np.array([v.score for v in rows])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything that a name can be in."""
    folder = tmp_path_factory.mktemp("evaluation")
    rows = [
        *videos(),
        ScoredVideo(HOSTILE, 0, 1.0),
        ScoredVideo(LONG, 0, None, reason=HOSTILE),
        ScoredVideo("bytes \udcff", 0, 0.99, category="中文 \x01 \udcff"),
    ]
    cells = [summarise(kind, k, LONG, rows, 0.5, 20) for k, kind in enumerate(("none", HOSTILE))]
    report = make_report(rows, robustness=cells, against=videos(), protocol="celeb-df-v2")
    write_evaluation(folder, rows, report, lambda video: [np.zeros((96, 96, 3), np.uint8)])
    return folder / "report.html"


Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture
def open_page(browser: Browser) -> Open:  # noqa: F811
    """Opens a page from disk; at the end nothing was asked of a network, and nothing went wrong."""

    @contextmanager
    def open_page(path: Path, width: int = 1200, **options: Any) -> Iterator[Page]:
        viewport: Any = {"width": width, "height": 800}
        context = browser.new_context(viewport=viewport, **options)
        page = context.new_page()
        asked: list[str] = []
        wrong: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.as_uri())
        yield page
        assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}
        assert wrong == []
        context.close()

    return open_page


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    write_evaluation(folder, videos())
    return folder / "report.html"


@pytest.fixture
def page(open_page: Open, plain: Path) -> Iterator[Page]:
    """The page of `videos()`, at its threshold of 0.5."""
    with open_page(plain) as page:
        yield page


def told(page: Page) -> dict[str, str]:
    """Every number that follows the slider."""
    cells = page.locator("#explore [data-show]").all()
    return {cell.get_attribute("data-show") or "": cell.inner_text() for cell in cells}


def counted(threshold: float) -> dict[str, str]:
    labels, scores = arrays(videos())
    called = (scores > threshold).astype(int)
    return {
        "tn": str(((called == 0) & (labels == 0)).sum()),
        "fp": str(((called == 1) & (labels == 0)).sum()),
        "fn": str(((called == 0) & (labels == 1)).sum()),
        "tp": str(((called == 1) & (labels == 1)).sum()),
        "accuracy": f"{accuracy_score(labels, called):.3f}",
        "precision": f"{precision_score(labels, called, zero_division=0):.3f}",
        "recall": f"{called[labels == 1].mean():.3f}",
        "alarms": f"{called[labels == 0].mean():.3f}",
    }


@needs_chromium
def test_the_numbers_follow_the_slider(page: Page) -> None:
    slider = page.locator("#slider")
    seen = []
    for key in ("Home", *["PageUp"] * 8, "ArrowLeft", "ArrowUp", "ArrowRight", "End"):
        slider.press(key)
        now = told(page)
        text = now.pop("threshold")
        threshold = -1.0 if text == "below every score" else float(text)
        assert now == counted(threshold)
        assert f"{now['tp']} of 40 fakes" in (slider.get_attribute("aria-valuetext") or "")
        seen.append(threshold)
    assert seen[0] == -1.0
    assert seen[:9] == sorted(set(seen[:9]))  # to the right the threshold rises
    assert seen[-1] == max(v.score or 0 for v in videos())
    assert len(set(seen)) >= 11


@needs_chromium
def test_reset_gives_the_numbers_of_the_report(open_page: Open, tmp_path: Path) -> None:
    """To the digit: nine of sixteen are 0.562 here and 0.563 to a browser."""
    rows = [ScoredVideo(f"v{k}", int(k < 8), 0.9 if k < 8 else 0.1) for k in range(9)]
    rows += [ScoredVideo(f"w{k}", 0, 0.8) for k in range(7)]
    report = write_evaluation(tmp_path, rows, make_report(rows, 0.3))
    with open_page(tmp_path / "report.html") as page:
        start = told(page)
        page.locator("#slider").press("End")
        assert told(page)["accuracy"] == "0.500"
        page.get_by_role("button", name="Reset to 0.300").click()
        assert told(page) == start
    (tn, fp), (fn, tp) = report.metrics.confusion_matrix
    assert start == {
        "threshold": "0.300", "tn": str(tn), "fp": str(fp), "fn": str(fn), "tp": str(tp),
        "accuracy": f"{report.metrics.accuracy:.3f}", "alarms": "0.875",
        "precision": f"{report.metrics.precision:.3f}", "recall": "1.000",
    }  # fmt: skip


def place(figure: Locator, frame: Locator, x: float, y: float) -> tuple[float, float]:
    """Where a point of 0 to 1 lies on the screen; `frame` spans the axes of a like figure."""
    box, own = frame.bounding_box(), figure.locator("svg").bounding_box()
    other = frame.locator("xpath=ancestor::*[local-name()='svg']").bounding_box()
    assert box
    assert own
    assert other
    left, top = own["x"] + box["x"] - other["x"], own["y"] + box["y"] - other["y"]
    return left + x * box["width"], top + (1 - y) * box["height"]


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"\d+(?:\.\d+)?", text)]


@needs_chromium
def test_hovering_tells_the_points_of_the_curves(page: Page) -> None:
    labels, scores = arrays(videos())
    frame = page.locator("#roc .chance")
    page.locator("#explore").scroll_into_view_if_needed()
    figure = page.locator("#roc")
    rows = list(zip(*roc_curve(labels, scores, drop_intermediate=False), strict=True))
    for fpr, tpr, threshold in rows[1::5]:
        page.mouse.move(*place(figure, frame, fpr, tpr))
        text = figure.locator(".read").inner_text()
        assert numbers(text) == [threshold, round(tpr, 3), round(fpr, 3)]
    page.mouse.move(*place(figure, frame, 0, 0))
    assert figure.locator(".read").inner_text().startswith("Above every score")
    figure = page.locator("#pr")
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    for k in range(0, len(thresholds), 5):
        page.mouse.move(*place(figure, frame, recall[k], precision[k]))
        text = figure.locator(".read").inner_text()
        assert numbers(text) == [thresholds[k], round(precision[k], 3), round(recall[k], 3)]
    page.mouse.move(0, 0)  # back to the point of the threshold
    lowest = scores[scores > 0.5].min()
    assert numbers(figure.locator(".read").inner_text())[0] == lowest


@needs_chromium
def test_the_histogram_tells_its_bins_and_a_click_moves_the_threshold(page: Page) -> None:
    labels, scores = arrays(videos())
    edges = np.linspace(0, 1, 21)
    real, fake = (np.histogram(scores[labels == label], edges)[0] for label in (0, 1))
    frame, figure = page.locator("#roc .chance"), page.locator("#histogram")
    page.locator("#explore").scroll_into_view_if_needed()
    for k in range(20):
        page.mouse.move(*place(figure, frame, (k + 0.5) / 20, 0.5))
        low, high, reals, fakes = numbers(figure.locator(".read").inner_text())
        assert (low, high) == pytest.approx((edges[k], edges[k + 1]))
        assert (reals, fakes) == (real[k], fake[k])
    page.mouse.click(*place(figure, frame, 0.7049, 0.5))
    now = told(page)
    assert abs(float(now.pop("threshold")) - 0.7049) < 0.02
    assert now == counted(0.7049)
    rates = list(zip(*roc_curve(labels, scores, drop_intermediate=False), strict=True))
    fpr, tpr, threshold = rates[len(rates) // 3]
    page.mouse.click(*place(page.locator("#roc"), frame, fpr, tpr))
    now = told(page)
    assert float(now.pop("threshold")) < threshold
    assert now == counted(threshold - 1e-9)


@needs_chromium
def test_without_a_script_and_on_paper_the_pictures_stay(open_page: Open, written: Path) -> None:
    with open_page(written) as page:
        still, live = page.locator(".static img").first, page.locator(".live")
        assert (still.is_visible(), live.is_visible()) == (False, True)
        page.emulate_media(media="print")
        assert (still.is_visible(), live.is_visible()) == (True, False)
    with open_page(written, java_script_enabled=False) as page:
        assert page.locator(".static img").count() == 4
        assert all(picture.is_visible() for picture in page.locator(".static img").all())
        assert not page.locator(".live").is_visible()


@needs_chromium
def test_nothing_but_the_pages_own_script_runs(
    open_page: Open,
    browser: Browser,  # noqa: F811
    written: Path,
) -> None:
    with open_page(written) as page:
        assert page.title() == "unmask: evaluation"
        for text in (HOSTILE, LONG):
            assert page.get_by_text(text).first.is_visible()
        policy = page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
        assert policy is not None
        assert "unsafe" not in policy
        sizes = page.locator("img").evaluate_all("all => all.map(i => i.naturalWidth)")
        assert len(sizes) > 8
        assert all(sizes)
    again = browser.new_page()
    again.goto(written.as_uri())
    again.evaluate(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'document.title = 1'}))"
    )
    again.evaluate("document.body.setAttribute('onclick', 'document.title = 2')")
    again.evaluate("document.body.click()")
    assert again.title() == "unmask: evaluation"
    again.close()


@needs_chromium
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_for_every_reader(open_page: Open, written: Path, width: int, scheme: str) -> None:
    with open_page(written, width, color_scheme=scheme) as page:
        across = page.evaluate("document.documentElement.scrollWidth")
        assert across == width
        roomy = page.locator(".scroll").evaluate_all(
            "all => all.every(e => e.scrollWidth <= e.clientWidth)"
        )
        assert roomy == (width == 1200)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        found = Axe().run(page)
        assert found.response["passes"]
        assert [v["id"] for v in found.response["violations"]] == []


def test_errors_lead_to_the_clips_reports_or_say_where_the_video_is(tmp_path: Path) -> None:
    rows = [
        ScoredVideo("50% #1", 0, 0.99, file="test/x"),
        ScoredVideo("none", 0, 0.98, file="test/none"),
        ScoredVideo("twice", 0, 0.97, path=Path("a") / "twice.mp4"),
        ScoredVideo("twice", 0, 0.96, path=Path("b") / "twice.mp4"),
        ScoredVideo("../outside", 0, 0.95),
        ScoredVideo("index", 0, 0.94),  # that of the folder
        ScoredVideo("fake", 1, 0.9),
    ]
    for name in ("50% #1", "twice", "unrelated", "index"):
        (tmp_path / "out" / "reports").mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / "reports" / f"{name}.html").write_text("")
    (tmp_path / "out" / "outside.html").write_text("")
    write_evaluation(tmp_path / "out", rows)
    text = (tmp_path / "out" / "report.html").read_text()
    assert re.findall(r'href="([^"]*)"', text) == ["reports/50%25%20%231.html"]
    for place in ("test/none", "a/twice.mp4", "b/twice.mp4"):
        assert f">{place}<" in text
    assert ">test/x<" not in text


@pytest.mark.parametrize("threshold", [0.5, 0.123456, -1.0, 2.0])
@pytest.mark.parametrize("digits", [2, 12])
def test_steps_are_exact_even_where_some_are_left_out(threshold: float, digits: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 3000)
    scores = rng.beta(0.2, 0.2, 3000).round(digits)
    found = steps(labels, scores, threshold, most=200)
    assert len(found.level) <= 203
    assert found.threshold[found.start] == threshold or found.start == len(found.level) - 1
    for limit, real, fake, level in zip(
        found.threshold, found.false_alarms, found.found, found.level, strict=True
    ):
        called = scores > (-np.inf if limit is None else limit)
        assert (real, fake) == (called[labels == 0].sum(), called[labels == 1].sum())
        assert level == (scores[called].min() if called.any() else None)
    counts = scores > threshold
    start = (found.false_alarms[found.start], found.found[found.start])
    assert start == (counts[labels == 0].sum(), counts[labels == 1].sum())
    assert (found.false_alarms[0], found.found[0]) == (0, 0)
    assert (found.false_alarms[-1], found.found[-1]) == (found.reals, found.fakes)


def test_scores_of_any_size_have_steps() -> None:
    scores = np.array([-1e300, -3.0, 0.1, np.nextafter(0.1, 1), 5e-324, 0.0, 1e300])
    found = steps(np.array([0, 1, 0, 1, 0, 1, 1]), scores, 0.5)
    limits = [limit for limit in found.threshold if limit is not None]
    assert [int((scores > limit).sum()) for limit in limits] == list(range(7))


@pytest.mark.slow
@needs_chromium
def test_ten_thousand_videos_make_a_page_of_the_same_size(open_page: Open, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 10_000)
    scores = 1 / (1 + np.exp(-(rng.normal(0, 1.5, 10_000) + 2 * (labels - 0.5))))
    rows = [
        ScoredVideo(f"video {k}", int(y), float(s), category="all")
        for k, (y, s) in enumerate(zip(labels, scores, strict=True))
    ]
    rows += [replace(row, score=None, reason="no face") for row in rows[:500]]
    write_evaluation(tmp_path, rows)
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
    with open_page(tmp_path / "report.html") as page:
        assert int(page.locator("#slider").get_attribute("max") or "") <= 2001
        page.locator("#slider").press("PageUp")
        now = told(page)
        called = scores > float(now["threshold"])
        assert now["tp"] == str(called[labels == 1].sum())
        assert now["fp"] == str(called[labels == 0].sum())


@needs_chromium
def test_videos_of_one_class_have_a_slider_and_no_curves(open_page: Open, tmp_path: Path) -> None:
    write_evaluation(tmp_path, [ScoredVideo(f"v{k}", 1, 0.1 * k) for k in range(9)])
    with open_page(tmp_path / "report.html") as page:
        assert page.locator("#roc").count() == 0
        page.locator("#slider").press("End")
        assert (told(page)["fn"], told(page)["alarms"]) == ("9", "0.000")
