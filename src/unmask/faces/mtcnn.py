"""MTCNN: Zhang et al. 2016, "Joint Face Detection and Alignment using Multitask Cascaded
Convolutional Networks" (IEEE SPL 23/10), batched over frames.

Three networks look at ever fewer, ever larger candidates: P-Net slides over an image pyramid,
R-Net refines 24 px patches, O-Net decides on 48 px patches and places five landmarks. The
weights are facenet-pytorch's (see NOTICE); with the same settings the results are its results.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

# Where a head may be in the next frame: so far around its box, in sides of the box, and found
# by cells of these sizes.
_AROUND = 0.75
_SMALLER, _LARGER = 0.4, 1.25
WEIGHTS = Path(__file__).with_name("mtcnn.safetensors")


@dataclass(frozen=True, eq=False)
class Face:
    """A detected face.

    Attributes:
        box: (4,) float32, x0, y0, x1, y1 in pixels; may reach outside the frame.
        score: O-Net's probability that this is a face, 0 to 1.
        landmarks: (5, 2) float32 x, y in pixels: the person's right eye (left in the picture),
            left eye, nose, right and left corner of the mouth.
    """

    box: NDArray[np.float32]
    score: float
    landmarks: NDArray[np.float32]

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


@dataclass(frozen=True)
class _Spot:
    """A part of one level of the pyramid of some frames, in pixels of the level."""

    frames: slice
    scale: float
    y: slice
    x: slice


class PNet(nn.Module):
    """Proposals: (B, 3, H, W) -> face probability (B, h, w) and box shifts (B, 4, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 10, 3),
            nn.PReLU(10),
            _MaxPool2(),
            nn.Conv2d(10, 16, 3),
            nn.PReLU(16),
            nn.Conv2d(16, 32, 3),
            nn.PReLU(32),
        )
        self.face = nn.Conv2d(32, 2, 1)
        self.shift = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        x = self.features(x)
        return self.face(x).softmax(dim=1)[:, 1], self.shift(x)


class _MaxPool2(nn.Module):
    """`nn.MaxPool2d(2, 2, ceil_mode=True)`, several times faster where channels come last."""

    def forward(self, x: Tensor) -> Tensor:
        odd = (0, x.shape[3] % 2, 0, x.shape[2] % 2)
        if any(odd):
            x = F.pad(x, odd, value=float("-inf"))
        x = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
        return torch.maximum(x[..., ::2], x[..., 1::2])


class RNet(nn.Module):
    """Refinement: (N, 3, 24, 24) -> face probability (N,) and box shifts (N, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 28, 3),
            nn.PReLU(28),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(28, 48, 3),
            nn.PReLU(48),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(48, 64, 2),
            nn.PReLU(64),
            nn.Flatten(),
            nn.Linear(576, 128),
            nn.PReLU(128),
        )
        self.face = nn.Linear(128, 2)
        self.shift = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        x = self.features(x)
        return self.face(x).softmax(dim=1)[:, 1], self.shift(x)


class ONet(nn.Module):
    """Output: (N, 3, 48, 48) -> face probability (N,), box shifts (N, 4), landmarks (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3),
            nn.PReLU(32),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(32, 64, 3),
            nn.PReLU(64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(64, 64, 3),
            nn.PReLU(64),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            nn.Conv2d(64, 128, 2),
            nn.PReLU(128),
            nn.Flatten(),
            nn.Linear(1152, 256),
            nn.PReLU(256),
        )
        self.face = nn.Linear(256, 2)
        self.shift = nn.Linear(256, 4)
        self.landmarks = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        x = self.features(x)
        return self.face(x).softmax(dim=1)[:, 1], self.shift(x), self.landmarks(x)


class _Picture:
    """A frame as sums over all rectangles from its corner (an integral image): the mean of any
    rectangle takes four reads, so a resized copy takes time by its own size only.
    """

    def __init__(self, rgb: NDArray[np.uint8]) -> None:
        self.height, self.width = rgb.shape[:2]
        self._sums = torch.from_numpy(cv2.integral(rgb, sdepth=cv2.CV_32S)).view(-1, 3)

    def means(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Means of areas, normalised as the networks want them: (N, h, w, 3) float32.

        Args:
            rows: (2, N, h) int64, first rows and those after the last.
            columns: (2, N, w) int64, likewise.
        """
        (top, bottom), (left, right) = rows[..., None], columns[:, :, None]
        total = (self._at(bottom, right) - self._at(top, right)) - (
            self._at(bottom, left) - self._at(top, left)
        )
        area = (bottom - top) * (right - left)
        means: Tensor = total / area[..., None]
        return means.sub_(127.5).div_(128)

    def _at(self, row: Tensor, column: Tensor) -> Tensor:
        where = row * (self.width + 1) + column
        return self._sums.index_select(0, where.flatten()).view(*where.shape, 3)


def _bins(sides: Tensor, count: int) -> Tensor:
    """First and last-but-one pixel of `count` bins over `sides` (N,): (2, N, count).

    The bins are those of adaptive average pooling.
    """
    steps = torch.arange(count)
    return torch.stack([steps * sides[:, None] // count, -(-(steps + 1) * sides[:, None] // count)])


class MTCNN:
    """The face detector.

    Args:
        min_face_size: smallest face looked for, in pixels of the frame.
        thresholds: face probability that P-, R- and O-Net ask for.
        factor: ratio between two levels of the pyramid.
        device: where the networks run.
    """

    def __init__(
        self,
        min_face_size: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
        device: str | torch.device = "cpu",
    ) -> None:
        self.min_face_size = min_face_size
        self.thresholds = thresholds
        self.factor = factor
        self.device = torch.device(device)
        # Maps that stay in the cache beat large batches on a CPU, by a factor of three.
        self._pixels_at_once = 400_000 if self.device.type == "cpu" else 16_000_000
        self._pnet, self._rnet, self._onet = PNet(), RNet(), ONet()
        tensors = load_file(WEIGHTS)
        for name, net in (("pnet.", self._pnet), ("rnet.", self._rnet), ("onet.", self._onet)):
            net.load_state_dict(
                {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}
            )
            net.requires_grad_(False).eval()
            net.to(self.device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def detect(
        self, frames: Sequence[NDArray[np.uint8]], min_face_size: int | None = None
    ) -> list[list[Face]]:
        """Find the faces in frames of one size.

        Args:
            frames: (H, W, 3) uint8 RGB each.
            min_face_size: leave out the levels of the pyramid for faces smaller than that.

        Returns:
            For each frame its faces, largest first.
        """
        if not frames:
            return []
        pictures = [_Picture(frame) for frame in frames]
        height, width = frames[0].shape[:2]
        spots = [
            _Spot(slice(None), scale, slice(int(height * scale + 1)), slice(int(width * scale + 1)))
            for scale in self._scales(min(height, width))
            if 12 / scale >= 0.99 * (min_face_size or 0)
        ]
        return self._decide(pictures, *self._propose(pictures, spots))

    @torch.inference_mode()
    def detect_near(
        self,
        frames: Sequence[NDArray[np.uint8]],
        boxes: Sequence[Sequence[NDArray[np.float32]]],
    ) -> list[list[Face]]:
        """Find the faces around boxes and of about their size, as `detect` would.

        Args:
            frames: (H, W, 3) uint8 RGB each, of one size.
            boxes: for each frame (4,) x0, y0, x1, y1 in pixels of faces in a neighbouring frame.

        Returns:
            For each frame the faces found there, largest first; neither as many nor in the order
            of `boxes`.
        """
        height, width = frames[0].shape[:2]
        spots = []
        for number, near in enumerate(boxes):
            for box in near:
                side = float(max(box[2] - box[0], box[3] - box[1]))
                for scale in self._scales(min(height, width)):
                    if not _SMALLER * side <= 12 / scale <= _LARGER * side:
                        continue
                    (x0, y0), (x1, y1) = (
                        (point * scale).round().astype(int)
                        for point in (box[:2] - _AROUND * side, box[2:] + _AROUND * side)
                    )
                    # P-Net looks at 12 pixels at least, also where a face leaves the frame.
                    y1 = max(12, min(y1, int(height * scale + 1)))
                    x1 = max(12, min(x1, int(width * scale + 1)))
                    # P-Net moves by two pixels.
                    y0, x0 = max(0, min(y0, y1 - 12)) & ~1, max(0, min(x0, x1 - 12)) & ~1
                    own = slice(number, number + 1)
                    spots.append(_Spot(own, scale, slice(y0, y1), slice(x0, x1)))
        if not spots:
            return [[] for _ in frames]
        pictures = [_Picture(frame) for frame in frames]
        return self._decide(pictures, *self._propose(pictures, spots))

    def _decide(self, pictures: list[_Picture], owner: Tensor, boxes: Tensor) -> list[list[Face]]:
        """R- and O-Net over proposals: frame index (N,) int64, square boxes (N, 4)."""
        patches = self._patches(pictures, owner, boxes, 24)
        score, shift = _in_chunks(self._rnet, patches)
        keep = score > self.thresholds[1]
        owner, boxes, score, shift = owner[keep], boxes[keep], score[keep], shift[keep]
        keep = _suppress(boxes, score, owner, 0.7)
        owner, boxes = owner[keep], _square(_shifted(boxes[keep], shift[keep]))

        patches = self._patches(pictures, owner, boxes, 48)
        score, shift, points = _in_chunks(self._onet, patches)
        keep = score > self.thresholds[2]
        owner, boxes, score = owner[keep], boxes[keep], score[keep]
        side = (boxes[:, 2:] - boxes[:, :2] + 1)[:, None]
        landmarks = points[keep].view(-1, 2, 5).mT * side + boxes[:, None, :2] - 1
        boxes = _shifted(boxes, shift[keep])
        return _gather(len(pictures), owner, boxes, score, landmarks)

    def _propose(self, pictures: list[_Picture], spots: list[_Spot]) -> tuple[Tensor, Tensor]:
        """P-Net over parts of the pyramid -> (frame index (N,) int64, square boxes (N, 4))."""
        owners, boxes, scores, shifts = [], [], [], []
        for spot in spots:
            scale = spot.scale
            rows = _bins(torch.tensor([pictures[0].height]), int(pictures[0].height * scale + 1))
            columns = _bins(torch.tensor([pictures[0].width]), int(pictures[0].width * scale + 1))
            level = (
                torch.cat(
                    [
                        p.means(rows[..., spot.y], columns[..., spot.x])
                        for p in pictures[spot.frames]
                    ]
                )
                .permute(0, 3, 1, 2)
                .to(self.device)
            )
            size = level.shape[2:]
            chunk = max(1, self._pixels_at_once // (size[0] * size[1]))
            maps = [self._pnet(part) for part in level.split(chunk)]
            face, shift = (torch.cat(parts) for parts in zip(*maps, strict=True))
            where = (face >= self.thresholds[0]).nonzero()
            owner, cell = where[:, 0] + (spot.frames.start or 0), where[:, 1:].flip(1)
            # P-Net's cell is 12 px wide and moves by 2 px.
            cell = 2 * cell + torch.tensor(
                [spot.x.start or 0, spot.y.start or 0], device=cell.device
            )
            corners = torch.cat([cell + 1, cell + 12], dim=1)
            found = (corners / scale).floor()
            score = face[tuple(where.T)]
            keep = _suppress(found, score, owner, 0.5)
            owners.append(owner[keep])
            boxes.append(found[keep])
            scores.append(score[keep])
            shifts.append(shift.permute(0, 2, 3, 1)[tuple(where.T)][keep])
        if not boxes:  # smaller than the smallest face
            return torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4)
        owner, box, score, shift = (torch.cat(t).cpu() for t in (owners, boxes, scores, shifts))
        keep = _suppress(box, score, owner, 0.7)
        box, shift = box[keep], shift[keep]
        sides = (box[:, 2:] - box[:, :2]).repeat(1, 2)
        return owner[keep], _square(box + shift * sides)

    def _scales(self, side: int) -> list[float]:
        scale = 12.0 / self.min_face_size
        scales = []
        while side * scale >= 12:
            scales.append(scale)
            scale *= self.factor
        return scales

    def _patches(self, pictures: list[_Picture], owner: Tensor, boxes: Tensor, size: int) -> Tensor:
        """Normalised (N, 3, size, size) patches, all boxes of a frame at once."""
        patches = torch.empty(len(boxes), size, size, 3)
        for index, picture in enumerate(pictures):
            mine = owner == index
            # Inclusive corners counted from 1, as the networks were trained.
            limit = torch.tensor([picture.width, picture.height] * 2)
            corners = torch.minimum(boxes[mine].long().clamp(min=1), limit).unbind(1)
            left, top = corners[0] - 1, corners[1] - 1
            width = torch.maximum(corners[2] - left, torch.ones(()).long())
            height = torch.maximum(corners[3] - top, torch.ones(()).long())
            rows = _bins(height, size) + top[:, None]
            columns = _bins(width, size) + left[:, None]
            patches[mine] = picture.means(rows, columns)
        return patches.permute(0, 3, 1, 2).to(self.device)


def _in_chunks(net: nn.Module, patches: Tensor) -> tuple[Tensor, ...]:
    """Run `net` over patches in bounded batches; an empty input is one empty batch."""
    results = [net(chunk) for chunk in patches.split(512)]
    return tuple(torch.cat(parts).float().cpu() for parts in zip(*results, strict=True))


def _suppress(boxes: Tensor, score: Tensor, owner: Tensor, overlap: float) -> Tensor:
    """Non-maximum suppression within each frame: indices of the boxes that stay, best first.

    Not torchvision's: its import takes as long as torch's own.
    """
    corner, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    kept = cv2.dnn.NMSBoxesBatched(
        torch.cat([corner, size], dim=1).double().cpu().numpy(),  # type: ignore[arg-type]
        score.cpu().numpy(),  # type: ignore[arg-type]
        owner.cpu().numpy(),  # type: ignore[arg-type]
        0.0,
        overlap,
    )
    return torch.as_tensor(kept, dtype=torch.int64, device=boxes.device)


def _shifted(boxes: Tensor, shift: Tensor) -> Tensor:
    size = (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)
    return boxes + shift * size


def _square(boxes: Tensor) -> Tensor:
    """Grow the shorter side about the centre."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.amax(dim=1, keepdim=True)
    corner = boxes[:, :2] + size * 0.5 - side * 0.5
    return torch.cat([corner, corner + side], dim=1)


def _gather(
    count: int, owner: Tensor, boxes: Tensor, score: Tensor, landmarks: Tensor
) -> list[list[Face]]:
    found: list[list[Face]] = [[] for _ in range(count)]
    for row in score.argsort(descending=True, stable=True).tolist():
        face = Face(boxes[row].numpy(), float(score[row]), landmarks[row].numpy())
        kept = found[int(owner[row])]
        # The last suppression measures overlap by the smaller box: a face inside a face goes.
        if all(_overlap_of_smaller(face.box, other.box) <= 0.7 for other in kept):
            kept.append(face)
    return [sorted(faces, key=lambda face: face.area, reverse=True) for faces in found]


def _overlap_of_smaller(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Intersection over the smaller of two boxes whose corners are inclusive pixels."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inter = float(np.prod(np.maximum(high - low + 1, 0)))
    smaller = min(float(np.prod(box[2:] - box[:2] + 1)) for box in (a, b))
    return inter / smaller if smaller > 0 else 1.0
