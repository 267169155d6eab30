"""Models by name, from the network, and what their logits are made into."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import random_video
from sklearn.linear_model import LogisticRegression

from unmask import Detector
from unmask.errors import ModelError
from unmask.evaluation.fitting import fit_platt
from unmask.models import Bundle, Calibration, load_bundle, registry, save_bundle
from unmask.models.calibration import Basis
from unmask.segments import aggregate

CALIBRATION = Calibration(2.0, -1.0, 0.2, 0.9, 0.8, Basis(5, 5, "a test", 0.7, "so", "so", "so"))


@pytest.fixture
def saved(tmp_path: Path, bundle: Bundle) -> Path:
    whole = replace(bundle, calibration=CALIBRATION, card="# A card\n")
    save_bundle(tmp_path / "bundle", whole, half=True)
    return tmp_path / "bundle"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(registry, "_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_bundle_keeps_its_calibration_and_card(saved: Path, bundle: Bundle) -> None:
    again = load_bundle(saved)
    assert (again.calibration, again.card) == (CALIBRATION, "# A card\n")
    assert (again.decision.real_below, again.decision.fake_above) == (0.2, 0.9)
    assert again.decision.segment_threshold == 0.8
    for key, value in bundle.net.state_dict().items():
        assert torch.equal(again.net.state_dict()[key], value.half().to(value.dtype))
    save_bundle(saved, bundle, half=True)  # which has none: those of the other are gone
    again = load_bundle(saved)
    assert (again.calibration, again.card) == (None, None)
    save_bundle(saved.parent / "float32", bundle)
    sizes = [f.joinpath("model.safetensors").stat().st_size for f in saved.parent.glob("*/")]
    assert min(sizes) < 0.75 * max(sizes)


def test_probabilities_follow_the_calibration(saved: Path) -> None:
    """By the formula, from the logits of a model without one."""
    video = random_video([12])
    calibrated = load_bundle(saved)
    plain = Detector(replace(calibrated, calibration=None), device="cpu").judge(video)
    scaled = Detector(calibrated, device="cpu").judge(video)
    for one, other in zip(plain.windows, scaled.windows, strict=True):
        logit = np.log(one.score / (1 - one.score))
        assert other.score == pytest.approx(1 / (1 + np.exp(-(logit - 1) / 2)), abs=1e-6)
    for face, moved in zip(plain.timeline, scaled.timeline, strict=True):
        assert moved.score != face.score


def test_other_weights_in_the_folder_are_not_calibrated(saved: Path, bundle: Bundle) -> None:
    torch.save(bundle.net.state_dict(), saved / "best_model.pth")
    assert load_bundle(saved / "best_model.pth").calibration is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 1}', '{"format": 3}'])
def test_what_is_no_calibration_is_an_error(saved: Path, text: str) -> None:
    (saved / "calibration.json").write_text(text)
    with pytest.raises(ModelError, match=r"calibration\.json"):
        load_bundle(saved)


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0}, {"temperature": "x"}, {"real_below": 0.95}, {"segment_threshold": 2},
     {"unknown": 1}],
)  # fmt: skip
def test_a_calibration_must_make_sense(saved: Path, change: dict[str, object]) -> None:
    content = json.loads((saved / "calibration.json").read_text())
    (saved / "calibration.json").write_text(json.dumps(content | change))
    with pytest.raises(ModelError, match=r"calibration\.json"):
        load_bundle(saved)


def test_the_mean_of_log_odds() -> None:
    assert aggregate(np.array([0.5, 0.5]), "logit") == pytest.approx(0.5)
    assert aggregate(np.array([0.1, 0.9]), "logit") == pytest.approx(0.5)
    # Odds of 8 in one window, and 1 in the window that is added: their geometric mean.
    assert aggregate(np.array([8 / 9]), "logit") == pytest.approx(np.sqrt(8) / (1 + np.sqrt(8)))
    assert aggregate(np.full(100, 0.9), "logit") == pytest.approx(0.9, abs=0.01)
    assert 0 < aggregate(np.array([0.0, 1.0, 1.0]), "logit") < 1
    assert aggregate(np.array([0.2, 0.8, 0.8]), "max") == 0.8
    assert aggregate(np.array([0.2, 0.8, 0.8]), "mean") == pytest.approx(0.6)


def test_platt_against_a_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(30_000) < 0.3).astype(int)
    logits = 3 * (labels + rng.normal(0, 1, 30_000)) + 2
    temperature, offset = fit_platt(labels, 1 / (1 + np.exp(-logits)))
    reference = LogisticRegression(C=1e9, class_weight="balanced").fit(logits[:, None], labels)
    assert 1 / temperature == pytest.approx(float(reference.coef_[0, 0]), rel=0.01)
    assert offset / temperature == pytest.approx(float(reference.intercept_[0]), rel=0.01)
    temperature, offset = fit_platt(1 - labels, 1 / (1 + np.exp(-logits)))  # inverted: unsure
    assert 1 / (1 + np.exp(-(logits + offset) / temperature)) == pytest.approx(0.5, abs=0.01)


def test_by_url_with_a_checksum(saved: Path, cache: Path) -> None:
    sha256 = load_bundle(saved).sha256
    with served(saved) as url:
        found = registry.find_model(f"{url}/#sha256={sha256}")
        assert load_bundle(found).card == "# A card\n"
        with pytest.raises(ModelError, match="checksum " + sha256):
            registry.find_model(f"{url}#sha256={'0' * 64}")
    assert [path.name for path in cache.iterdir()] == [sha256]
    # From now on without a network.
    assert registry.find_model(f"{url}#sha256={sha256}") == found


def test_what_is_optional_may_be_missing_and_nothing_else(saved: Path) -> None:
    sha256 = load_bundle(saved).sha256
    (saved / "card.md").unlink()
    shutil.move(saved / "config.json", saved / "c.json")
    with served(saved) as url:
        with pytest.raises(ModelError, match=r"config.json: HTTP Error 404"):
            registry.find_model(f"{url}#sha256={sha256}")
        shutil.move(saved / "c.json", saved / "config.json")
        assert load_bundle(registry.find_model(f"{url}#sha256={sha256}")).card is None


@pytest.mark.parametrize("name", ["config.json", "calibration.json"])
def test_what_breaks_off_is_not_kept(saved: Path, cache: Path, name: str) -> None:
    sha256, whole = load_bundle(saved).sha256, (saved / name).read_text()
    (saved / name).write_text(whole[:-20])
    with served(saved) as url:
        with pytest.raises(ModelError, match=name):
            registry.find_model(f"{url}#sha256={sha256}")
        assert list(cache.iterdir()) == []
        (saved / name).write_text(whole)
        assert load_bundle(registry.find_model(f"{url}#sha256={sha256}")).calibration


def test_an_answer_shorter_than_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    class Short(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"{}")

    with ThreadingHTTPServer(("127.0.0.1", 0), Short) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ModelError, match=r"config\.json breaks off"):
            registry.find_model(f"http://127.0.0.1:{server.server_port}#sha256={'0' * 64}")
        server.shutdown()


def test_a_later_format_is_refused(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"format": 3}))
    with pytest.raises(ModelError, match="format: should be 2, not 3"):
        load_bundle(saved)


def test_without_a_network_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match="has to be fetched from the network"):
        registry.find_model(f"someone/faces#sha256={'0' * 64}")
    with pytest.raises(ModelError, match="needs the checksum"):
        registry.find_model("someone/faces@v1")
    with pytest.raises(ModelError, match="needs the checksum"):
        registry.find_model("https://example.org/faces#md5=0")
    with pytest.raises(ModelError, match=r"^http://example\.org/faces#.* by https only"):
        registry.find_model(f"http://example.org/faces#sha256={'0' * 64}")
    with pytest.raises(ModelError, match="no address"):
        registry.find_model(f"https://[faces#sha256={'0' * 64}")


@pytest.mark.parametrize("name", ["nothing", "no/such/folder", "/no/such"])
def test_an_unknown_name_says_what_there_is(name: str) -> None:
    with pytest.raises(ModelError, match=r"comes along \(small\)"):
        registry.find_model(name)


def test_the_shipped_model_is_whole() -> None:
    assert registry.shipped_models() == ["small"]
    folder = registry.find_model("small")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 12 * 2**20
    bundle = load_bundle(folder)
    assert bundle.calibration
    assert bundle.card
    assert bundle.sha256 in bundle.card
    assert json.loads((folder / "config.json").read_text())["name"] == "small"
