from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import skimage.metrics
from numpy.typing import NDArray

from unmask.training.augment import Augmentation

Faces = NDArray[np.uint8]


@pytest.fixture(scope="module")
def faces(photo: Faces) -> Faces:
    """Six times the same face, (6, 3, 64, 64)."""
    face = photo[40:232:3, 130:322:3]
    return np.stack([face.transpose(2, 0, 1)] * 6)


def drawn(seed: int, kind: str = "web") -> Augmentation:
    return Augmentation.draw(kind, np.random.default_rng(seed))


def test_none_is_none_and_flip_is_a_mirror(faces: Faces) -> None:
    assert drawn(0, "none").apply(faces) is faces
    results = [drawn(seed, "flip").apply(faces) for seed in range(40)]
    mirrored = sum(bool((r == faces[..., ::-1]).all()) for r in results)
    assert sum(bool((r == faces).all()) for r in results) == 40 - mirrored
    assert 10 < mirrored < 30


def test_the_same_seed_gives_the_same_and_the_input_stays(faces: Faces) -> None:
    before = faces.copy()
    for seed in range(20):
        one, again = drawn(seed).apply(faces), drawn(seed).apply(faces)
        assert (one == again).all()
        assert one.shape == faces.shape
        assert one.dtype == np.uint8
    assert (faces == before).all()
    assert (drawn(1).apply(faces) != drawn(2).apply(faces)).any()


@pytest.mark.parametrize("codec", [None, "jpeg"])
def test_frames_that_are_equal_stay_equal(faces: Faces, codec: Literal["jpeg"] | None) -> None:
    for seed in range(20):
        change = replace(drawn(seed), noise=0.0, codec=codec, quality=50)
        result = change.apply(faces)
        assert (result == result[:1]).all()


def test_noise_is_new_in_every_frame(faces: Faces) -> None:
    result = Augmentation(noise=5).apply(faces).astype(float) - faces
    assert result.std() == pytest.approx(5, rel=0.1)
    assert abs(np.corrcoef(result[0].ravel(), result[1].ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
@pytest.mark.parametrize("size", [64, 33])
def test_codecs_cost_what_their_quality_says(faces: Faces, codec: str, size: int) -> None:
    faces = np.ascontiguousarray(faces[..., :size, :size])
    good, bad = (95, 20) if codec == "jpeg" else (15, 45)
    psnr = [
        skimage.metrics.peak_signal_noise_ratio(
            faces,
            Augmentation(codec=codec, quality=quality).apply(faces),  # type: ignore[arg-type]
        )
        for quality in (good, bad)
    ]
    assert psnr[0] > 33
    assert psnr[1] < psnr[0] - 5


def test_each_knob_does_what_it_says(faces: Faces) -> None:
    crop = Augmentation(crop=(0.25, 0.5, 0.5)).apply(faces)
    assert abs(crop[0, :, 32, 32].astype(int) - faces[0, :, 48, 32]).max() < 40
    grey = Augmentation(saturation=0).apply(faces).astype(int)
    assert abs(grey[:, 0] - grey[:, 1]).max() <= 1
    assert abs(grey[:, 0] - faces.mean(axis=1)).mean() < 10
    brighter = Augmentation(offset=20).apply(np.full_like(faces, 100))
    assert (brighter == 120).all()
    redder = Augmentation(gain=(1.5, 1, 1)).apply(np.full_like(faces, 100))
    assert redder[0, :, 0, 0].tolist() == [150, 100, 100]
    for knob in ({"blur": 1.5}, {"shrink": 0.4}):
        soft = Augmentation(**knob).apply(faces).astype(float)  # type: ignore[arg-type]
        assert np.abs(np.diff(soft)).mean() < 0.8 * np.abs(np.diff(faces.astype(float))).mean()
        assert soft.mean() == pytest.approx(faces.mean(), abs=1.5)
