"""Models by name, from the network, and what their logits are made into."""

import json
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import random_video
from servers import COMMIT, Files, Hub, served, use_hub
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
    others = [stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "bundle").iterdir()]
    assert len(set(others)) == 1  # whoever may read one may read all
    return tmp_path / "bundle"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".cache" / "unmask"


def kept(cache: Path) -> list[str]:
    """What is left in the cache, locks apart."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


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


def test_the_checksum_is_that_of_sha256sum(saved: Path) -> None:
    command = "sha256sum calibration.json card.md config.json model.safetensors | sha256sum"
    done = subprocess.run(command, shell=True, cwd=saved, capture_output=True, text=True)
    assert registry.bundle_sha256(saved) == done.stdout.split()[0]
    (saved / "notes.txt").write_text("not of the bundle")
    assert registry.bundle_sha256(saved) == done.stdout.split()[0]
    (saved / "config.json").unlink()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        registry.bundle_sha256(saved)


@pytest.mark.parametrize("kind", [Files, SimpleHTTPRequestHandler])
def test_by_url_with_a_checksum(
    saved: Path, cache: Path, kind: type[SimpleHTTPRequestHandler]
) -> None:
    sha256 = registry.bundle_sha256(saved)
    with served(saved, kind) as url:
        found = registry.find_model(f"{url}/#sha256={sha256}")
        assert load_bundle(found).card == "# A card\n"
        with pytest.raises(ModelError, match="checksum " + sha256):
            registry.find_model(f"{url}#sha256={'0' * 64}")
    assert kept(cache) == [sha256]
    # From now on without a network.
    assert registry.find_model(f"{url}#sha256={sha256}") == found


@pytest.mark.parametrize("name", ["calibration.json", "card.md", "config.json"])
def test_the_checksum_covers_every_file(saved: Path, cache: Path, name: str) -> None:
    sha256, whole = registry.bundle_sha256(saved), (saved / name).read_text()
    for changed in (whole.replace("0.9", "0.8") + " ", None):
        if changed is None:
            (saved / name).unlink()
        else:
            (saved / name).write_text(changed)
        with served(saved) as url, pytest.raises(ModelError, match=r"checksum|config\.json.*404"):
            registry.find_model(f"{url}#sha256={sha256}")
    (saved / name).write_text(whole)
    with served(saved) as url:
        assert load_bundle(registry.find_model(f"{url}#sha256={sha256}")).calibration
    assert kept(cache) == [sha256]


def test_what_breaks_off_goes_on_where_it_was(saved: Path, cache: Path) -> None:
    address = f"#sha256={registry.bundle_sha256(saved)}"
    with (
        served(saved, cut=1000) as url,
        pytest.raises(ModelError, match="breaks off"),
    ):
        registry.find_model(url + address)
    asked: list[tuple[str, str | None]] = []
    with served(saved, asked=asked) as url:
        assert load_bundle(registry.find_model(url + address)).card
    assert ("model.safetensors", "bytes=1000-") in asked
    assert "calibration.json" not in dict(asked)  # which was whole
    assert kept(cache) == [registry.bundle_sha256(saved)]


def test_another_file_than_has_begun_to_come_is_fetched_anew(saved: Path) -> None:
    """Shorter, or longer and of other content: neither is mixed with what came before."""
    address = f"#sha256={registry.bundle_sha256(saved)}"
    whole = (saved / "model.safetensors").read_bytes()
    for begun in (whole * 2, b"x" * 2000):
        (saved / "model.safetensors").write_bytes(begun)
        cut = len(begun) - 100
        with served(saved, cut=cut) as url, pytest.raises(ModelError, match="breaks off"):
            registry.find_model(url + address)
        (saved / "model.safetensors").write_bytes(whole)
        with served(saved) as url:
            with pytest.raises(ModelError, match=r"416|checksum"):
                registry.find_model(url + address)
            found = registry.find_model(url + address)
        assert (found / "model.safetensors").read_bytes() == whole
        shutil.rmtree(found)


def test_a_bundle_has_a_largest_size(saved: Path, cache: Path) -> None:
    sha256 = registry.bundle_sha256(saved)
    with served(saved, length=2**32) as url, pytest.raises(ModelError, match="larger than 2 GiB"):
        registry.find_model(f"{url}#sha256={sha256}")
    assert kept(cache) == []


def test_what_cannot_be_used_is_not_kept(saved: Path, cache: Path) -> None:
    (saved / "config.json").write_text("{")
    sha256 = registry.bundle_sha256(saved)
    with served(saved) as url, pytest.raises(ModelError, match=r"not used: config\.json"):
        registry.find_model(f"{url}#sha256={sha256}")
    assert kept(cache) == []


def test_from_the_hub_by_commit(saved: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (saved / "card.md").unlink()
    (saved / "other.bin").write_bytes(b"not of the bundle")
    sha256 = registry.bundle_sha256(saved)
    asked: list[tuple[str, str | None]] = []
    with served(saved, Hub, asked=asked) as url:
        use_hub(url, cache, monkeypatch)
        with pytest.raises(ModelError, match="checksum " + sha256):
            registry.find_model(f"someone/faces@{COMMIT}#sha256={'0' * 64}")
        assert kept(cache) == []
        found = registry.find_model(f"someone/faces@{COMMIT}#sha256={sha256}")
    names = {"calibration.json", "config.json", "model.safetensors"}
    assert {path.name for path in found.iterdir()} == names
    assert kept(cache) == [sha256]
    assert registry.find_model(f"someone/faces@{COMMIT}#sha256={sha256}") == found
    assert not any("other.bin" in path for path, _ in asked)


def test_too_much_on_the_hub_is_not_fetched(
    saved: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.truncate(saved / "card.md", 2**31)  # a hole, which takes no room
    asked: list[tuple[str, str | None]] = []
    with served(saved, Hub, asked=asked) as url:
        use_hub(url, cache, monkeypatch)
        with pytest.raises(ModelError, match="larger than 2 GiB"):
            registry.find_model(f"someone/faces@{COMMIT}#sha256={'0' * 64}")
    assert len(asked) == 1
    assert kept(cache) == []


def test_a_later_format_is_refused(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"format": 3}))
    with pytest.raises(ModelError, match="format: should be 2, not 3"):
        load_bundle(saved)


def test_without_a_network_it_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub("http://127.0.0.1:9", cache, monkeypatch)
    for address in (f"someone/faces@{COMMIT}", "http://127.0.0.1:9/faces"):
        with pytest.raises(ModelError, match=r"cannot be fetched: .*refused"):
            registry.find_model(f"{address}#sha256={'0' * 64}")


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        (f"someone/faces@{COMMIT}", "needs the checksum"),
        (f"someone/faces@v1#sha256={'0' * 64}", "needs its commit: someone/faces@<40"),
        ("someone/faces", "needs its commit"),
        ("https://example.org/faces#md5=0", "needs the checksum"),
        (f"http://example.org/faces#sha256={'0' * 64}", r"^http://example\.org/faces#.*by https"),
        (f"https://[faces#sha256={'0' * 64}", "no address"),
    ],
)
def test_an_address_is_pinned(address: str, cause: str) -> None:
    with pytest.raises(ModelError, match=cause):
        registry.find_model(address)


def test_a_name_is_a_name_and_a_path_a_path(
    saved: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(saved.parent)
    saved.rename("small")
    shipped = load_bundle(registry.find_model("small"))
    assert shipped.name == "small"
    assert "the one here is ./small" in caplog.text
    for path in ("./small", "small/", str(Path.cwd() / "small"), Path("small")):
        assert load_bundle(registry.find_model(path)).name == "tiny"
    Path("small").rename("model")  # not the name of one that comes along
    assert load_bundle(registry.find_model("model")).name == "tiny"


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
