"""MTCNN: Zhang et al. 2016, "Joint Face Detection and Alignment using Multitask Cascaded
Convolutional Networks" (IEEE SPL 23/10), batched over frames.

Three networks look at ever fewer, ever larger candidates: P-Net slides over an image pyramid,
R-Net refines 24 px patches, O-Net decides on 48 px patches and places five landmarks. The
weights are facenet-pytorch's (see NOTICE); with the same settings the results are its results.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.backends import Backend
from unmask.faces.compiled import Compiled
from unmask.faces.networks import load_networks

# Where a head may be in the next frame: so far around its box, in sides of the box, and found
# by cells of these sizes.
_AROUND = 0.75
_SMALLER, _LARGER = 0.4, 1.25


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
class _Level:
    """Parts of one level of the pyramid, all of one size: P-Net looks at them in one batch.

    Attributes:
        scale: of the level.
        owner: (N,) int64, the frame of each part.
        corner: (N, 2) int64 x, y of its first pixel in the level, even: P-Net moves by two pixels.
        size: width and height of every part, in pixels of the level.
    """

    scale: float
    owner: NDArray[np.int64]
    corner: NDArray[np.int64]
    size: tuple[int, int]


class _Pictures:
    """Frames of one size as sums over all rectangles from a corner (integral images): the mean of
    any rectangle takes four reads, so a resized copy takes time by its own size only.

    Only the part of the frames that is looked at is summed.
    """

    def __init__(self, frames: Sequence[NDArray[np.uint8]]) -> None:
        self._frames = frames
        self.height, self.width = frames[0].shape[:2]
        self._top = self._left = self._bottom = self._right = 0

    def means(
        self, owner: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> Tensor:
        """Means of areas, normalised as the networks want them: (N, 3, h, w) float32.

        Args:
            owner: (N,) the frame of each.
            rows: (2, N, h) first rows and those after the last.
            columns: (2, N, w) likewise.
        """
        if not len(owner):
            return torch.empty(0, 3, rows.shape[2], columns.shape[2])
        self._cover(int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max()))
        first = (owner * (self._bottom - self._top + 1))[:, None]
        top, bottom = (rows - self._top + first) * (self._right - self._left + 1)
        left, right = columns - self._left
        total = self._at(bottom, right)
        total -= self._at(top, right)
        total -= self._at(bottom, left)
        total += self._at(top, left)
        heights, widths = rows[1] - rows[0], np.repeat(columns[1] - columns[0], 3, axis=1)
        means = total.reshape(*heights.shape, -1).astype(np.float32)
        means /= (heights[:, :, None] * widths[:, None]).astype(np.float32)
        means -= 127.5
        means /= 128
        return torch.from_numpy(means.reshape(total.shape)).permute(0, 3, 1, 2)

    def _at(self, row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.int32]:
        return self._sums.take(row[:, :, None] + column[:, None], axis=0)

    def _cover(self, top: int, bottom: int, left: int, right: int) -> None:
        """Sum a part, and some pixels around it, unless it lies within what has been summed."""
        if (
            self._top <= top
            and bottom <= self._bottom
            and self._left <= left
            and right <= self._right
        ):
            return
        around = max(bottom - top, right - left) // 8
        self._top, self._left = max(0, top - around), max(0, left - around)
        self._bottom = min(self.height, bottom + around)
        self._right = min(self.width, right + around)
        height, width = self._bottom - self._top, self._right - self._left
        sums = np.empty((len(self._frames), height + 1, width + 1, 3), np.int32)
        for rgb, own in zip(self._frames, sums, strict=True):
            part = rgb[self._top : self._bottom, self._left : self._right]
            cv2.integral(part, own, sdepth=cv2.CV_32S)
        self._sums = sums.reshape(-1, 3)


def _bins(
    numbers: NDArray[np.int64], count: int, side: int | NDArray[np.int64]
) -> NDArray[np.int64]:
    """First pixel and the one after the last of some of `count` bins over a side: (2, N, bins).

    The bins are those of adaptive average pooling.
    """
    return np.stack([numbers * side // count, -(-(numbers + 1) * side // count)])


class MTCNN:
    """The face detector.

    Args:
        min_face_size: smallest face looked for, in pixels of the frame.
        thresholds: face probability that P-, R- and O-Net ask for.
        factor: ratio between two levels of the pyramid.
        device: where the networks run, on torch.
        backend: "onnx" or "openvino" compute the networks on the CPU, whatever the device; "auto"
            is torch, because a short clip takes less time than the others take to begin.
    """

    def __init__(
        self,
        min_face_size: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
        device: str | torch.device = "cpu",
        backend: Backend = "auto",
    ) -> None:
        self.min_face_size = min_face_size
        self.thresholds = thresholds
        self.factor = factor
        on_torch = backend in ("auto", "torch")
        self.device = torch.device(device if on_torch else "cpu")
        # Maps that stay in the cache beat large batches on a CPU, by a factor of three.
        self._pixels_at_once = 400_000 if self.device.type == "cpu" else 16_000_000
        self._pnet, self._rnet, self._onet = (
            net.to(self.device) if on_torch else Compiled(net, backend, torch.get_num_threads())
            for net in load_networks()
        )

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
        height, width = frames[0].shape[:2]
        owner = np.arange(len(frames))
        levels = [
            _Level(scale, owner, np.zeros((len(frames), 2), np.int64), _size(width, height, scale))
            for scale in self._scales(min(height, width))
            if 12 / scale >= 0.99 * (min_face_size or 0)
        ]
        return self._find(frames, levels)

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
        owner = np.repeat(np.arange(len(frames)), [len(near) for near in boxes])
        if not len(owner):
            return [[] for _ in frames]
        near = np.concatenate([np.reshape(own, (-1, 4)) for own in boxes])
        side = (near[:, 2:] - near[:, :2]).max(axis=1)
        low, high = near[:, :2] - _AROUND * side[:, None], near[:, 2:] + _AROUND * side[:, None]
        height, width = frames[0].shape[:2]
        levels = []
        for scale in self._scales(min(height, width)):
            here = (_SMALLER * side <= 12 / scale) & (12 / scale <= _LARGER * side)
            if not here.any():
                continue
            whole = np.array(_size(width, height, scale))
            first = np.rint(low[here] * scale).astype(np.int64)
            after = np.rint(high[here] * scale).astype(np.int64)
            size = (np.minimum(after, whole) - np.maximum(first, 0) + 1).max(axis=0)
            # Of the parity of the level, so that the last part begins with an even pixel, too.
            size = np.clip(size, 12, whole)
            size += (whole - size) % 2
            corner = np.clip(first & ~1, 0, whole - size)
            levels.append(_Level(scale, owner[here], corner, (int(size[0]), int(size[1]))))
        return self._find(frames, levels)

    def _find(self, frames: Sequence[NDArray[np.uint8]], levels: list[_Level]) -> list[list[Face]]:
        if not levels:  # smaller than the smallest face
            return [[] for _ in frames]
        pictures = _Pictures(frames)
        owner, boxes = self._propose(pictures, levels)

        patches = self._patches(pictures, owner, boxes, 24)
        score, shift = _in_chunks(self._rnet, patches)
        keep = (score > self.thresholds[1]).nonzero()[0]
        owner, boxes, score, shift = owner[keep], boxes[keep], score[keep], shift[keep]
        keep = _suppress(boxes, score, owner, 0.7)
        owner, boxes = owner[keep], _square(_shifted(boxes[keep], shift[keep]))

        patches = self._patches(pictures, owner, boxes, 48)
        score, shift, points = _in_chunks(self._onet, patches)
        keep = (score > self.thresholds[2]).nonzero()[0]
        owner, boxes, score = owner[keep], boxes[keep], score[keep]
        side = (boxes[:, 2:] - boxes[:, :2] + 1)[:, None]
        landmarks = points[keep].reshape(-1, 2, 5).swapaxes(1, 2) * side + boxes[:, None, :2] - 1
        boxes = _shifted(boxes, shift[keep])
        return _gather(len(frames), owner, boxes, score, landmarks)

    def _propose(
        self, pictures: _Pictures, levels: list[_Level]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """P-Net over parts of the pyramid -> (frame index (N,), square boxes (N, 4))."""
        proposals = [self._propose_from(pictures, level) for level in levels]
        owner, box, score, shift = (np.concatenate(parts) for parts in zip(*proposals, strict=True))
        keep = _suppress(box, score, owner, 0.7)
        box, shift = box[keep], shift[keep]
        sides = np.tile(box[:, 2:] - box[:, :2], 2)
        return owner[keep], _square(box + shift * sides)

    def _propose_from(self, pictures: _Pictures, level: _Level) -> tuple[NDArray[Any], ...]:
        """Frame index, box, score and box shifts of what P-Net takes for a face in a level."""
        width, height = _size(pictures.width, pictures.height, level.scale)
        x, y = (level.corner[:, i, None] + np.arange(level.size[i]) for i in (0, 1))
        columns = _bins(x, width, pictures.width)
        rows = _bins(y, height, pictures.height)
        some = max(1, self._pixels_at_once // (level.size[0] * level.size[1]))
        maps = []
        for start in range(0, len(level.owner), some):
            part = slice(start, start + some)
            pixels = pictures.means(level.owner[part], rows[:, part], columns[:, part])
            maps.append(self._pnet(pixels.to(self.device)))
        face, shifts = (torch.cat(parts) for parts in zip(*maps, strict=True))
        where = (face >= self.thresholds[0]).nonzero()
        at = tuple(where.T)
        score, shift = face[at].cpu().numpy(), shifts.permute(0, 2, 3, 1)[at].cpu().numpy()
        number, row, column = where.cpu().numpy().T
        # P-Net's cell is 12 px wide and moves by 2 px.
        corner = level.corner[number] + 2 * np.stack([column, row], axis=1)
        corners = np.concatenate([corner + 1, corner + 12], axis=1).astype(np.float32)
        box = np.floor(corners / np.float32(level.scale))
        owner = level.owner[number]
        keep = _suppress(box, score, owner, 0.5)
        return owner[keep], box[keep], score[keep], shift[keep]

    def _scales(self, side: int) -> list[float]:
        scale = 12.0 / self.min_face_size
        scales = []
        while side * scale >= 12:
            scales.append(scale)
            scale *= self.factor
        return scales

    def _patches(
        self, pictures: _Pictures, owner: NDArray[np.int64], boxes: NDArray[np.float32], size: int
    ) -> Tensor:
        """Normalised (N, 3, size, size) patches."""
        # Inclusive corners counted from 1, as the networks were trained.
        limit = np.array([pictures.width, pictures.height] * 2)
        corners = np.clip(boxes.astype(np.int64), 1, limit)
        first, sides = corners[:, :2] - 1, np.maximum(corners[:, 2:] - corners[:, :2] + 1, 1)
        columns, rows = (
            _bins(np.arange(size), size, sides[:, i, None]) + first[:, i, None] for i in (0, 1)
        )
        return pictures.means(owner, rows, columns).to(self.device)


def _size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Of a level of the pyramid."""
    return int(width * scale + 1), int(height * scale + 1)


def _in_chunks(
    net: Callable[[Tensor], tuple[Tensor, ...]], patches: Tensor
) -> tuple[NDArray[np.float32], ...]:
    """Run `net` over patches in bounded batches; an empty input is one empty batch."""
    results = [net(chunk) for chunk in patches.split(512)]
    return tuple(torch.cat(parts).float().cpu().numpy() for parts in zip(*results, strict=True))


def _suppress(
    boxes: NDArray[np.float32],
    score: NDArray[np.float32],
    owner: NDArray[np.int64],
    overlap: float,
) -> NDArray[np.int64]:
    """Non-maximum suppression within each frame: indices of the boxes that stay, best first.

    Not torchvision's: its import takes as long as torch's own.
    """
    corner, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    areas = np.concatenate([corner, size], axis=1, dtype=np.float64)
    kept = cv2.dnn.NMSBoxesBatched(areas, score, owner, 0.0, overlap)  # type: ignore[arg-type]
    return np.asarray(kept, np.int64)


def _shifted(boxes: NDArray[np.float32], shift: NDArray[np.float32]) -> NDArray[np.float32]:
    return boxes + shift * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)


def _square(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Grow the shorter side about the centre."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + size * 0.5 - side * 0.5
    return np.concatenate([corner, corner + side], axis=1)


def _gather(
    count: int,
    owner: NDArray[np.int64],
    boxes: NDArray[np.float32],
    score: NDArray[np.float32],
    landmarks: NDArray[np.float32],
) -> list[list[Face]]:
    found: list[list[Face]] = [[] for _ in range(count)]
    for row in (-score).argsort(kind="stable"):
        face = Face(boxes[row], float(score[row]), landmarks[row])
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
