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
from torchvision.ops import batched_nms

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


class PNet(nn.Module):
    """Proposals: (B, 3, H, W) -> face probability (B, h, w) and box shifts (B, 4, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 10, 3),
            nn.PReLU(10),
            nn.MaxPool2d(2, 2, ceil_mode=True),
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
            net.requires_grad_(False).eval().to(self.device)
        self._pnet.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        """Find the faces in frames of one size.

        Args:
            frames: (H, W, 3) uint8 RGB each.

        Returns:
            For each frame its faces, largest first.
        """
        if not frames:
            return []
        owner, boxes = self._propose(frames)
        integrals = [
            np.asarray(cv2.integral(frame, sdepth=cv2.CV_32S), np.int32) for frame in frames
        ]

        patches = self._patches(integrals, owner, boxes, 24)
        score, shift = _in_chunks(self._rnet, patches)
        keep = score > self.thresholds[1]
        owner, boxes, score, shift = owner[keep], boxes[keep], score[keep], shift[keep]
        keep = batched_nms(boxes, score, owner, 0.7)
        owner, boxes = owner[keep], _square(_shifted(boxes[keep], shift[keep]))

        patches = self._patches(integrals, owner, boxes, 48)
        score, shift, points = _in_chunks(self._onet, patches)
        keep = score > self.thresholds[2]
        owner, boxes, score = owner[keep], boxes[keep], score[keep]
        side = (boxes[:, 2:] - boxes[:, :2] + 1)[:, None]
        landmarks = points[keep].view(-1, 2, 5).mT * side + boxes[:, None, :2] - 1
        boxes = _shifted(boxes, shift[keep])
        return _gather(len(frames), owner, boxes, score, landmarks)

    def _propose(self, frames: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        """P-Net over the pyramid -> (frame index (N,) int64, square boxes (N, 4))."""
        height, width = frames[0].shape[:2]
        images = torch.from_numpy(np.stack(frames)).to(self.device).permute(0, 3, 1, 2).float()
        owners, boxes, scores, shifts = [], [], [], []
        for scale in self._scales(min(height, width)):
            size = (int(height * scale + 1), int(width * scale + 1))
            chunk = max(1, self._pixels_at_once // (size[0] * size[1]))
            maps = [
                self._pnet(_normalised(F.interpolate(part, size=size, mode="area")))
                for part in images.split(chunk)
            ]
            face, shift = (torch.cat(parts) for parts in zip(*maps, strict=True))
            where = (face >= self.thresholds[0]).nonzero()
            owner, cell = where[:, 0], where[:, 1:].flip(1)
            # P-Net's cell is 12 px wide and moves by 2 px.
            corners = torch.cat([2 * cell + 1, 2 * cell + 12], dim=1)
            found = (corners / scale).floor()
            score = face[tuple(where.T)]
            keep = batched_nms(found, score, owner, 0.5)
            owners.append(owner[keep])
            boxes.append(found[keep])
            scores.append(score[keep])
            shifts.append(shift.permute(0, 2, 3, 1)[tuple(where.T)][keep])
        if not boxes:  # smaller than the smallest face
            return torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4)
        owner, box, score, shift = (torch.cat(t).cpu() for t in (owners, boxes, scores, shifts))
        keep = batched_nms(box, score, owner, 0.7)
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

    def _patches(
        self, integrals: list[NDArray[np.int32]], owner: Tensor, boxes: Tensor, size: int
    ) -> Tensor:
        """Area-averaged (N, 3, size, size) patches, normalised, all boxes of a frame at once.

        An integral image gives the mean over any rectangle from its four corners, so the
        patches of boxes of all sizes come without a loop over them. The bins are those of
        adaptive average pooling.
        """
        corners = boxes.trunc().long().numpy()
        patches = np.empty((len(boxes), size, size, 3), dtype=np.float32)
        steps = np.arange(size)
        for index in np.unique(owner.numpy()):
            rows = np.flatnonzero(owner.numpy() == index)
            integral = integrals[index]
            height, width = integral.shape[0] - 1, integral.shape[1] - 1
            # Inclusive corners counted from 1, as the networks were trained.
            x0 = np.clip(corners[rows, 0], 1, width) - 1
            y0 = np.clip(corners[rows, 1], 1, height) - 1
            w = np.clip(corners[rows, 2], x0 + 1, width) - x0
            h = np.clip(corners[rows, 3], y0 + 1, height) - y0
            left = x0[:, None] + steps * w[:, None] // size
            right = x0[:, None] + -(-(steps + 1) * w[:, None] // size)
            top = y0[:, None] + steps * h[:, None] // size
            bottom = y0[:, None] + -(-(steps + 1) * h[:, None] // size)
            total = (
                integral[bottom[:, :, None], right[:, None, :]]
                - integral[top[:, :, None], right[:, None, :]]
                - integral[bottom[:, :, None], left[:, None, :]]
                + integral[top[:, :, None], left[:, None, :]]
            )
            area = (bottom - top)[:, :, None, None] * (right - left)[:, None, :, None]
            patches[rows] = total / area
        return _normalised(torch.from_numpy(patches).permute(0, 3, 1, 2).to(self.device))


def _normalised(pixels: Tensor) -> Tensor:
    return (pixels - 127.5) / 128


def _in_chunks(net: nn.Module, patches: Tensor) -> tuple[Tensor, ...]:
    """Run `net` over patches in bounded batches; an empty input is one empty batch."""
    results = [net(chunk) for chunk in patches.split(512)]
    return tuple(torch.cat(parts).float().cpu() for parts in zip(*results, strict=True))


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
