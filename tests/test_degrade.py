"""Degradations: both halves of a pair alike, the same again, and only what footage does."""

import numpy as np
import pytest
from numpy.typing import NDArray

from unmask.synth.filters import Recolouring, draw_edit, draw_texture, equally_sharp
from unmask.training.degrade import Degradation

Faces = NDArray[np.uint8]


@pytest.fixture(scope="module")
def faces(photo: Faces) -> Faces:
    """Twice the same face, (2, 3, 96, 96)."""
    face = photo[40:232:2, 130:322:2]
    return np.stack([face.transpose(2, 0, 1)] * 2)


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_same_again_and_the_input_stays(faces: Faces, seed: int) -> None:
    before = faces.copy()
    one, again = (
        Degradation.draw(np.random.default_rng(seed), 64, 96).apply(faces) for _ in range(2)
    )
    assert one.shape == (2, 3, 64, 64)
    assert one.dtype == np.uint8
    assert (one == again).all()
    assert (faces == before).all()
    assert abs(int(one.mean()) - int(faces.mean())) < 100


def test_seeds_differ_and_a_face_stays_recognisable(faces: Faces) -> None:
    """Most results still go up and down with the picture: it is footage, not noise."""
    results, alike = set(), 0
    for seed in range(60):
        change = Degradation.draw(np.random.default_rng(seed), 0, 96)
        out = change.apply(faces)
        results.add(out.tobytes())
        x, y, side = change.crop
        left, top, kept = round(x * 96), round(y * 96), round(side * 96)
        part = faces[0, 1, top : top + kept, left : left + kept].astype(float)
        shown = out[0, 1, :, ::-1] if change.mirror else out[0, 1]
        small = shown[np.ix_(*[np.linspace(0, 95, kept).astype(int)] * 2)].astype(float)
        small = small[: part.shape[0], : part.shape[1]]
        alike += np.corrcoef(part.ravel(), small.ravel())[0, 1] > 0.8
    assert len(results) == 60
    assert alike > 50


def test_masks_move_as_the_picture_does(faces: Faces) -> None:
    mask = np.zeros((1, 96, 96), np.uint8)
    mask[0, 20:60, 30:50] = 255
    picture = np.repeat(mask[:, None], 3, axis=1)
    for seed in range(20):
        change = Degradation.draw(np.random.default_rng(seed), 80, 96)
        bare = Degradation(change.crop, (), change.size, change.mirror)
        assert np.abs(bare.apply(picture)[:, 0].astype(int) - bare.apply_to_masks(mask)).max() <= 1
    assert change.apply_to_masks(mask[:0]).shape[0] == 0
    assert change.apply(faces[:0]).shape[0] == 0


def test_filters_leave_flat_grey_flat_but_for_noise() -> None:
    grey = np.full((64, 64, 3), 120, np.float32)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        assert np.abs(draw_edit(rng)(grey) - 120).max() <= 2
        assert np.abs(draw_texture(rng)(grey) - 120).mean() <= 8
    assert Recolouring((1.0, 1.0, 1.0), (5.0, 0.0, -5.0), 1.0)(grey)[0, 0] == pytest.approx(
        [125, 120, 115], abs=0.01
    )


def test_equal_sharpness_leaves_the_duller_as_it_is(faces: Faces) -> None:
    sharp = [faces[0].transpose(1, 2, 0).astype(np.float32)]
    dull = [np.asarray(Recolouring((0.5, 0.5, 0.5), (60.0, 60.0, 60.0), 1.0)(sharp[0]))]
    for seed in range(20):
        one, other = equally_sharp(sharp, dull, np.random.default_rng(seed))
        assert one is sharp or other is dull
