"""What is done to a face: within its mask, reproducible, and right where the answer is known."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from unmask.data.windows import make_windows
from unmask.errors import ModelError, UsageError
from unmask.faces import MTCNN, FaceTrack
from unmask.synth import FAMILIES, Forger, SelfBlend, parse_families
from unmask.synth.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    Upsampling,
    load_autoencoder,
    save_autoencoder,
    train_autoencoder,
)
from unmask.synth.manipulation import Manipulation, Scene
from unmask.synth.masks import REGIONS, Mask
from unmask.synth.patch import Landmarks, Patch, Pixels
from unmask.synth.redrawers import load_redrawers
from unmask.synth.render import Generator, Remains
from unmask.synth.swap import FaceSwap, RegionReplacement, alignment

Image = NDArray[np.uint8]
NOWHERE = np.full((5, 2), np.nan, np.float32)


class Grey:
    """A network that draws every face grey."""

    def redraw(self, rgb: Pixels, seed: int) -> Pixels:
        return np.full_like(rgb, 128)


@pytest.fixture(scope="module")
def landmarks(photo: Image) -> Landmarks:
    return MTCNN().detect([photo])[0][0].landmarks


@pytest.fixture(scope="module")
def scene(photo: Image, landmarks: Landmarks) -> Scene:
    """The face as it is, and as its own mirror image in place of another person."""
    own = Patch.cut(photo, landmarks)
    turned = landmarks[[1, 0, 2, 4, 3]] * (-1, 1) + (photo.shape[1] - 1, 0)
    other = Patch.cut(np.ascontiguousarray(photo[:, ::-1]), turned.astype(np.float32))
    darker = Patch.cut((photo * 0.8).astype(np.uint8), landmarks)
    assert own
    assert other
    assert darker
    return Scene([own, darker], [other], [Grey()])


def drawn(family: type[Manipulation], scene: Scene, seed: int) -> Manipulation:
    return family.draw(np.random.default_rng(seed), scene)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_altered_lies_within_the_mask(
    name: str, photo: Image, landmarks: Landmarks, scene: Scene
) -> None:
    brighter, changed = np.clip(photo.astype(int) + 20, 0, 255).astype(np.uint8), 0
    for seed in range(12):
        fake = drawn(FAMILIES[name], scene, seed)
        fake.apply(photo, landmarks, 0.0)  # what came before, for families with a memory
        picture = brighter if name == "slow face" else photo
        before = picture.copy()
        rgb, mask = fake.apply(picture, landmarks, 0.01)
        assert (picture == before).all()
        assert (rgb == picture)[mask == 0].all()
        assert mask.shape == picture.shape[:2]
        assert mask.max() > 60  # where the least is replaced, a quarter
        changed += bool((rgb != picture).any())
    assert changed >= 8


@pytest.mark.parametrize("name", FAMILIES)
def test_a_seed_makes_the_same_fake_again(
    name: str, photo: Image, landmarks: Landmarks, scene: Scene
) -> None:
    one, again, other = (
        drawn(FAMILIES[name], scene, seed).apply(photo, landmarks, 0.5) for seed in (3, 3, 4)
    )
    assert (one.rgb == again.rgb).all()
    assert (one.mask != other.mask).any()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("place", [(-500, -500), (0, 0), (505, 505), None])
def test_a_face_at_the_edge_does_no_harm(
    name: str, place: tuple[int, int] | None, photo: Image, scene: Scene
) -> None:
    around = np.array([(-20, -20), (20, -20), (0, 0), (-15, 20), (15, 20)], np.float32)
    points = NOWHERE if place is None else (around + place).astype(np.float32)
    for seed in range(4):
        rgb, mask = drawn(FAMILIES[name], scene, seed).apply(photo, points, 0)
        assert rgb.shape == photo.shape
        if place in (None, (-500, -500)):
            assert (rgb == photo).all()
            assert not mask.any()


def test_a_region_comes_from_another_moment(scene: Scene) -> None:
    """From its first donor on, it would be replaced by itself."""
    for seed in range(20):
        fake = RegionReplacement.draw(np.random.default_rng(seed), scene)
        assert fake.donors[0] is not scene.own[0]


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_lies_where_its_name_says(region: str, photo: Image, landmarks: Landmarks) -> None:
    mask = replace(
        Mask.draw(np.random.default_rng(0), region),
        ripples=np.zeros((2, 4)), elastic=np.zeros((5, 5, 2)), softness=0.0, ratio=1.0, power=2.0,
    )  # fmt: skip
    patch = Patch.cut(photo, landmarks, mask.reach)
    assert patch
    rows, columns = np.nonzero(mask.render(patch) > 0.5)
    eyes, nose, mouth = (patch.landmarks[a:b].mean(axis=0) for a, b in ((0, 2), (2, 3), (3, 5)))
    near = {"mouth": mouth, "eyes": eyes, "nose": nose}.get(region)
    middle = np.array([columns.mean(), rows.mean()])
    if near is not None:
        assert np.linalg.norm(middle - near) < 0.45 * np.linalg.norm(eyes - mouth)
    elif region in ("left", "right"):
        assert (middle[0] < nose[0]) == (region == "left")
    elif region == "jaw":
        assert middle[1] > mouth[1]
    else:
        for point in patch.landmarks:
            assert mask.render(patch)[int(point[1]), int(point[0])] > 0.5


@pytest.mark.parametrize("seed", range(20))
def test_a_generator_leaves_a_trace_in_any_face(
    photo: Image, landmarks: Landmarks, scene: Scene, seed: int
) -> None:
    generator = Generator.draw(np.random.default_rng(seed), scene)
    mask = replace(generator.mask, softness=0.05)
    altered = replace(generator, mask=mask).apply(photo, landmarks, 0)
    assert np.abs(altered.rgb.astype(int) - photo)[altered.mask == 255].max() > 1


def test_what_remains_of_the_real_is_what_is_asked(photo: Image) -> None:
    real = photo.astype(np.float32)
    fake = 255 - real
    assert Remains("all", 1.0).mixed(fake, real) == pytest.approx(real, abs=1e-3)
    quarter = Remains("all", 0.25).mixed(fake, real)
    assert quarter == pytest.approx(0.25 * real + 0.75 * fake, abs=1e-3)
    off = cv2.GaussianBlur(real - fake, (0, 0), 3)
    assert Remains("low", 1.0, 3.0).mixed(fake, real) == pytest.approx(fake + off, abs=1e-2)
    assert Remains("high", 1.0, 3.0).mixed(fake, real) == pytest.approx(real - off, abs=1e-2)


def test_no_weight_no_change(photo: Image, landmarks: Landmarks, scene: Scene) -> None:
    blend = SelfBlend.draw(np.random.default_rng(0), scene)
    without = replace(blend, mask=replace(blend.mask, ratio=0.0))
    assert (without.apply(photo, landmarks, 0.5).rgb == photo).all()


def test_flicker_jumps_and_without_it_nothing_does(photo: Image, landmarks: Landmarks) -> None:
    blends = [SelfBlend.draw(np.random.default_rng(seed)) for seed in range(6)]
    for blend in blends:
        steps = []
        for flicker in (0.0, 1.0):
            fake = replace(blend, flicker=flicker)
            a, b = (fake.apply(photo, landmarks, t).rgb.astype(float) for t in (0.50, 0.52))
            steps.append(np.abs(a - b).mean())
        assert steps[0] < 0.25 * steps[1]


def test_a_face_swapped_with_itself_stays(photo: Image, landmarks: Landmarks) -> None:
    own = Patch.cut(photo, landmarks)
    assert own
    for seed in range(6):
        swap = FaceSwap.draw(np.random.default_rng(seed), Scene(other=[own]))
        swap = replace(swap, changes=())
        off = np.abs(swap.apply(photo, landmarks, 0.0).rgb.astype(int) - photo)
        assert off.max() <= 3


def test_alignment_against_opencv() -> None:
    """A similarity applied to points is found again; and what OpenCV finds for noisy ones."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (5, 2)).astype(np.float32)
    turn = 1.3 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    moved = (points @ turn.T + (5, -7)).astype(np.float32)
    expected = np.column_stack([turn, (5, -7)])
    assert alignment(points, moved) == pytest.approx(expected, abs=1e-3)
    found, _ = cv2.estimateAffinePartial2D(points, moved, method=cv2.LMEDS)
    assert alignment(points, moved) == pytest.approx(found, abs=1e-3)


def test_families_by_name() -> None:
    assert parse_families("all") == tuple(FAMILIES)
    assert parse_families("generator, slow face") == ("generator", "slow face")
    with pytest.raises(UsageError, match="no family 'x'; there are all, self-blending"):
        parse_families("x")


@pytest.fixture(scope="module")
def track(photo: Image, landmarks: Landmarks) -> FaceTrack:
    crop = np.ascontiguousarray(photo[0:240, 100:340])
    points = (landmarks - (100, 0)).astype(np.float32)
    count = 12
    return FaceTrack(
        0, np.arange(count) / 3, np.zeros((count, 4), np.float32), np.stack([crop] * count),
        np.stack([points] * count),
    )  # fmt: skip


def test_forged_frames_are_the_ones_that_differ(track: FaceTrack) -> None:
    forger = Forger(("self-blending", "generator", "face swap"))
    (window,) = make_windows(len(track), 12, 2)
    other = replace(track, crops=255 - track.crops)
    whole = edited = 0
    for seed in range(30):
        real, fake, masks = forger.forge(track, window, other, np.random.default_rng(seed))
        altered = masks.any(axis=(1, 2))
        edited += bool((real != track.crops.transpose(0, 3, 1, 2)).any())
        if (masks[0] == 255).all():  # the whole picture: either half may have been made duller
            continue
        differs = (fake != real).any(axis=(1, 2, 3))
        assert not (fake != real).any(axis=1)[masks == 0].any()
        assert altered.any()
        assert not differs[~altered].any()
        assert differs[altered].any()
        assert (np.diff(altered.astype(int)) == 1).sum() <= 1  # one stretch
        whole += bool(altered.all())
    assert 10 <= whole <= 28  # about 0.7 of 30
    assert 3 <= edited <= 15


def test_a_borrowed_fake_is_as_sharp_as_the_real(track: FaceTrack) -> None:
    """The sharper one is made duller, whichever it is."""
    real = track.crops[:2]
    soft = np.stack([cv2.GaussianBlur(rgb, (0, 0), 3) for rgb in real])
    apart = []
    for one, other in ((real, soft), (soft, real)):
        for seed in range(12):
            forged = Forger(["generator"]).borrow(one, other, np.random.default_rng(seed))
            assert forged.real.shape == forged.fake.shape == (2, 3, 240, 240)
            assert forged.masks.max() == 255
            detail = [
                float(np.abs(cv2.Laplacian(x[0].mean(axis=0), cv2.CV_64F)).mean())
                for x in (forged.real, forged.fake)
            ]
            apart.append(abs(np.log(detail[0] / detail[1])))
    before = [np.abs(cv2.Laplacian(x[0].mean(axis=2), cv2.CV_64F)).mean() for x in (real, soft)]
    assert np.median(apart) < 0.5 * abs(np.log(before[0] / before[1]))


def test_nothing_is_forged_where_no_landmarks_are(track: FaceTrack) -> None:
    (window,) = make_windows(len(track), 12, 2)
    rng = np.random.default_rng(0)
    forged = Forger(["generator"]).forge(replace(track, landmarks=None), window, None, rng)
    assert not forged.masks.any()
    assert (forged.fake == forged.real).all()
    with pytest.raises(UsageError, match="needs a folder of auto"):
        Forger(["face swap", "redrawn"]).forge(track, window, None, rng)
    with pytest.raises(UsageError, match="all frames of a video"):
        Forger(["slow face"]).forge(track, window, None, rng)


@pytest.mark.parametrize("kind", get_args(Upsampling))
def test_an_autoencoder_learns_its_faces(
    track: FaceTrack, kind: Upsampling, tmp_path: Path
) -> None:
    variational, people = kind == "bilinear", 2 if kind == "nearest" else 1
    config = AutoencoderConfig(64, 2, kind, 8, variational=variational, people=people)
    torch.manual_seed(0)
    rgb = track.crops[0].astype(np.float32)
    faces = torch.from_numpy(track.crops[:1]).permute(0, 3, 1, 2) / 255
    before = (Autoencoder(config).eval()(faces)[0] - faces).abs().mean()
    net = train_autoencoder(config, [track.crops, track.crops], 150)
    assert (net(faces)[0] - faces).abs().mean() < 0.5 * before
    learnt = net.redraw(rgb, 1)
    assert learnt.shape == rgb.shape
    assert np.abs(learnt - rgb).mean() < 40
    assert (learnt == net.redraw(rgb, 1)).all()
    assert (learnt != net.redraw(rgb, 2)).any()
    save_autoencoder(tmp_path / "a.safetensors", net)
    (again,) = load_redrawers(tmp_path)
    assert again.redraw(rgb, 1) == pytest.approx(learnt, abs=0.01)


@pytest.mark.parametrize("name", ["a.safetensors", "b.bin"])
def test_what_is_no_network_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no network"):
        load_redrawers(tmp_path)
    (tmp_path / name).write_bytes(b"\x00" * 5000)
    with pytest.raises(ModelError, match=name):
        load_redrawers(tmp_path)
    with pytest.raises(ModelError, match="missing"):
        load_autoencoder(tmp_path / "missing.safetensors")
