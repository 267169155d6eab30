"""Score a video with a model that `unmask export` wrote; onnxruntime, OpenCV and numpy alone.

    python examples/score_onnx.py MODEL.onnx CLIP.mp4 X0 Y0 X1 Y1

The box is that of the face in the first frame, in pixels, from any face detector. It is followed
by its looks. `unmask predict` finds faces itself, smooths their boxes, and finds segments.
"""

import json
import sys
from collections.abc import Iterator

import cv2
import numpy as np
import onnxruntime


def faces_of(path: str, box: list[int], fps: float, size: int, margin: int) -> Iterator[np.ndarray]:
    """The face in every sampled frame, (size, size, 3) uint8 RGB."""
    video = cv2.VideoCapture(path)
    step = max(1, round((video.get(cv2.CAP_PROP_FPS) or fps) / fps))
    x, y, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
    # `margin` pixels of the crop lie around the box, both sides together.
    wide, high = (int(margin / (size - margin) / 2 * side) for side in (width, height))
    looks, number = None, 0
    while video.grab():
        if number % step == 0:
            _, frame = video.retrieve()
            if looks is not None:  # where it looks most alike, not far from where it was
                top, left = max(0, y - height // 3), max(0, x - width // 3)
                near = frame[top : y + height * 4 // 3, left : x + width * 4 // 3]
                alike = cv2.matchTemplate(near, looks, cv2.TM_CCOEFF_NORMED)
                dx, dy = cv2.minMaxLoc(alike)[3]
                x, y = left + dx, top + dy
            looks = frame[y : y + height, x : x + width].copy()
            crop = frame[max(0, y - high) : y + height + high, max(0, x - wide) : x + width + wide]
            shrinks = crop.shape[0] > size
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            yield cv2.cvtColor(cv2.resize(crop, (size, size), interpolation=how), cv2.COLOR_BGR2RGB)
        number += 1


def main(model: str, clip: str, *box: str) -> None:
    """Print the probability that the clip is fake, and what the model's thresholds call it."""
    session = onnxruntime.InferenceSession(model)
    about = json.loads(session.get_modelmeta().custom_metadata_map["unmask"])
    spec = about["config"]["face_spec"]
    decision = about["config"]["decision"] | (about["calibration"] or {})
    corners = [max(0, int(value)) for value in box]
    sampling = spec["target_fps"], spec["image_size"], spec["margin"]
    faces = list(faces_of(clip, corners, *sampling))
    length, logits = spec["sequence_length"], []
    for start in range(0, max(1, len(faces) - length + 1), length - spec["overlap"]):
        window = np.stack(faces[start : start + length])[None]
        mask = np.ones(window.shape[:2], bool)
        logits.append(session.run(["window"], {"faces": window, "mask": mask})[0][0])
    logit = (np.mean(logits) + decision["offset"]) / decision["temperature"]
    probability = 1 / (1 + np.exp(-logit))
    fake, real = probability > decision["fake_above"], probability <= decision["real_below"]
    verdict = "fake" if fake else "real" if real else "inconclusive"
    print(f"{clip}: {verdict}, probability of fake {probability:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
