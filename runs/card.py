"""From trained networks to a bundle that says how good it is; steps of runs/weights.sh.

    card.py calibrate PARTS.csv FINAL SYNTH FOLD... --out FILE   scores -> calibration.json
    card.py ship RUN CALIBRATION OUT                   weights, configuration, calibration
    card.py figures BUNDLE PARTS.csv SYNTH WORK        what is reported -> figures.json, card.md

Scores are kept in files and taken from there when a step is run again.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from weights import FOLDS, read

from unmask.atomic import write_text
from unmask.corpora import VideoRecord, read_corpus
from unmask.corpora.table import CATEGORIES
from unmask.detection.detector import Detector
from unmask.detection.scoring import score_videos
from unmask.evaluation import ScoredVideo, read_scores
from unmask.evaluation.fitting import fit_platt
from unmask.evaluation.levels import levels
from unmask.evaluation.localisation import localise
from unmask.evaluation.scores import arrays, detailed_row
from unmask.models import Bundle, Calibration, Decision, load_bundle, save_bundle
from unmask.models.bundle import CARD
from unmask.video.corruption import CLEAN, Corruption

DECISION = Decision(people="all", smoothing=1, frame_smoothing=3, aggregate="logit")
FALSE_ALARMS, MISSES = 0.05, 0.10  # of the cross-fitted reals and fakes; see docs/synthesis.md
# Corruptions under which reals must stay reals: the nearest level of the grid, or the next worse.
WORLD = (("jpeg", 4), ("h264", 5), ("resize", 2), ("blur", 3), ("noise", 2), ("brightness", 3))
CHANCE = 0.6  # an AUC whose interval reaches below is no finding

log = logging.getLogger("card")


def records(clips: list[dict[str, str]]) -> list[VideoRecord]:
    return [
        VideoRecord(
            Path(clip["path"]), int(clip["label"] == "fake"), clip["label"], (clip["identity"],),
            Path(clip["path"]).stem, clip["method"] or None,
        )
        for clip in clips
    ]  # fmt: skip


def scored(
    detector: Detector, videos: list[VideoRecord], file: Path, corruption: Corruption = CLEAN
) -> list[ScoredVideo]:
    """The videos' scores, from the file if they are this model's."""
    calibration = detector.bundle.calibration
    scale = (calibration.temperature, calibration.offset) if calibration else (1.0, 0.0)
    model = " ".join(map(str, (detector.model.sha256, *scale)))
    try:
        if json.loads(file.read_text())["model"] == model:
            return read_scores(file)
    except (OSError, ValueError, KeyError):
        pass
    log.info("scoring %d videos for %s", len(videos), file.stem)
    found = score_videos(detector, videos, corruption)
    rows = [detailed_row(video, 0.5) for video in found]
    content = {"model": model, "per_video_predictions": rows}
    write_text(file, json.dumps(content) + "\n")
    return read_scores(file)


def calibrate(parts: Path, final: Path, synth: Path, runs: list[Path], out: Path) -> None:
    """Every fold's network scores what it has never seen; all of that together is fitted on.

    The final network scores fakes of people that it has never seen, family by family. While it
    cannot tell a family from recordings, it must not call anything real.
    """
    clips = read(parts)

    def crossfitted(calibration: Calibration, name: str) -> list[ScoredVideo]:
        videos = []
        for number, run in enumerate(runs):
            held = [c for c in clips if c["fold"] == str(number) and c["part"] in ("train", "val")]
            bundle = replace(load_bundle(run), decision=DECISION, calibration=calibration)
            file = out.with_name(f"crossfitted_{name}_{number}.json")
            videos += scored(Detector(bundle), records(held), file)
        return videos

    temperature, offset = fit_platt(*arrays(crossfitted(Calibration(1, 0, 0.5, 0.5, 0.5), "raw")))
    plain = Calibration(temperature, offset, 0.5, 0.5, 0.5)
    videos = crossfitted(plain, "calibrated")
    labels, scores = arrays(videos)
    frames = np.array([frame.score for v in videos if not v.label for frame in v.frames])
    area = levels(videos)["video"].measures["auc_roc"]
    detector, missed = Detector(replace(load_bundle(final), decision=DECISION)), []
    for folder in sorted(synth.iterdir()):
        file = out.with_name(f"val_{folder.name}.json")
        found = levels(scored(detector, list(read_corpus(folder)), file))["video"]
        if (found.measures["auc_roc"].low or 0) < CHANCE:
            missed.append(folder.name.replace("_", " "))
    calibration = replace(
        plain,
        real_below=0.0 if missed else min(0.5, 1 - _upper(1 - scores[labels == 1], MISSES)),
        fake_above=max(0.5, _upper(scores[labels == 0], FALSE_ALARMS)),
        segment_above=max(0.5, _upper(frames, FALSE_ALARMS)),
        basis={
            "reals": int((labels == 0).sum()),
            "fakes": int((labels == 1).sum()),
            "scores": "of networks that had seen neither the people nor the generators",
            "auc_roc": [area.value, area.low, area.high],
            "fake_above": f"at most {FALSE_ALARMS:.0%} of the reals lie above",
            "real_below": f"never: {', '.join(missed)} of people held out cannot be told from them"
            if missed
            else f"at most {MISSES:.0%} of the fakes lie below",
            "segment_above": f"at most {FALSE_ALARMS:.0%} of the reals' faces lie above",
        },
    )
    write_text(out, json.dumps(asdict(calibration), indent=2) + "\n")
    log.info("%s", calibration)


def _upper(scores: "np.ndarray[Any, Any]", share: float) -> float:
    """A threshold above which lies at most this share of the scores."""
    return float(np.sort(scores)[::-1][int(share * len(scores))])


def ship(run: Path, calibration: Path, out: Path) -> None:
    bundle = load_bundle(run)
    settings = bundle.training["settings"]
    settings["redrawers"] = Path(settings["redrawers"]).name  # no path of this machine
    bundle = Bundle(
        out.name, bundle.net, bundle.spec, DECISION, bundle.training,
        calibration=Calibration(**json.loads(calibration.read_text())),
    )  # fmt: skip
    save_bundle(out, bundle, half=True)


def figures(model: Path, parts: Path, synth: Path, work: Path) -> None:
    """Score what no training saw, and write figures.json and the bundle's card.md."""
    detector, clips = Detector.from_pretrained(model), read(parts)
    decision = detector.bundle.decision
    dev = scored(detector, records([c for c in clips if c["part"] == "dev"]), work / "dev.json")
    held = [c for c in clips if c["part"] == "test"]
    reals = scored(detector, records(held), work / "held_out.json")
    reals += [video for video in dev if not video.label]
    fakes = [video for video in dev if video.label]
    rows = [_row("all true deepfakes", reals + fakes)]
    for method in sorted({str(video.method) for video in fakes}):
        rows.append(_row(method, reals + [v for v in fakes if v.method == method]))
    families = []
    for folder in sorted(synth.iterdir()):
        videos = scored(detector, list(read_corpus(folder)), work / f"synth_{folder.name}.json")
        families.append(_row(folder.name.replace("_", " "), videos))
    real_records = records([c for c in clips if c["part"] in ("dev", "test")])
    real_records = [record for record in real_records if not record.label]
    world = [{"corruption": "none", **_verdicts(reals, decision)}]
    for kind, level in WORLD:
        corruption = Corruption(kind, level)
        videos = scored(detector, real_records, work / f"real_{kind}_{level}.json", corruption)
        world.append(
            {"corruption": f"{kind}, {corruption.parameter}", **_verdicts(videos, decision)}
        )
    trained = [c for c in clips if c["part"] == "train"]
    found = {
        "model": asdict(detector.model),
        "trained_on": {label: sum(c["label"] == label for c in trained) for label in CATEGORIES},
        "true_deepfakes": rows,
        "synthetic": families,
        "reals": world,
        "fakes": _verdicts(fakes, decision),
        "calibration": asdict(detector.bundle.calibration or Calibration(1, 0, 0.5, 0.5, 0.5)),
    }
    write_text(work / "figures.json", json.dumps(found, indent=2) + "\n")
    write_text(model / CARD, card(found, detector.bundle))


def _row(title: str, videos: list[ScoredVideo]) -> dict[str, Any]:
    video = levels(videos)["video"]
    names = ("auc_roc", "average_precision", "eer", "tpr_at_fpr_1_percent", "ece")
    known = any(v.label and v.truth for v in videos)
    return {
        "name": title,
        "real": video.items - video.fakes,
        "fake": video.fakes,
        "failed": sum(v.score is None for v in videos),
        "segment_ap": localise(videos).average_precision[0.5] if known else None,
        **{
            key: list(asdict(video.measures[key]).values())
            for key in names
            if key in video.measures
        },
    }


def _verdicts(videos: Sequence[ScoredVideo], decision: Decision) -> dict[str, int]:
    scores = [video.score for video in videos if video.score is not None]
    fake = sum(score > decision.fake_above for score in scores)
    real = sum(score <= decision.real_below for score in scores)
    return {
        "videos": len(videos), "fake": fake, "real": real,
        "inconclusive": len(scores) - fake - real, "failed": len(videos) - len(scores),
    }  # fmt: skip


def _said(verdicts: dict[str, int]) -> str:
    names = ("fake", "inconclusive", "real", "failed")
    return ", ".join(f"{verdicts[name]} *{name}*" for name in names if verdicts[name])


def _number(estimate: Sequence[float | None] | None) -> str:
    if not estimate or estimate[0] is None:
        return "-"
    value, low, high = estimate
    return f"{value:.2f}" + ("" if low is None or high is None else f" ({low:.2f}-{high:.2f})")


def _table(rows: list[dict[str, Any]]) -> str:
    head = "| | real | fake | AUC | AP | EER | TPR at 1 % FPR | ECE | segment AP@0.5 |\n"
    lines = [head + "|---|---|---|---|---|---|---|---|---|"]
    keys = ("auc_roc", "average_precision", "eer", "tpr_at_fpr_1_percent", "ece")
    for row in rows:
        cells = [row["name"], row["real"], row["fake"], *(_number(row.get(key)) for key in keys)]
        cells.append("-" if row["segment_ap"] is None else f"{row['segment_ap']:.2f}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def card(found: dict[str, Any], bundle: Bundle) -> str:
    """The model card, Markdown."""
    rows = found["true_deepfakes"]
    told = [*rows[1:], *found["synthetic"]]
    weak = [row["name"] for row in told if (row["auc_roc"][1] or 0) < CHANCE]
    basis, decision = found["calibration"]["basis"], bundle.decision
    total, clean = rows[0], found["reals"][0]
    fakes = found["fakes"]
    spec = bundle.spec
    families = bundle.training["settings"]["synth"].replace(",", ", ")
    warning = (
        f"**Not told from real videos with any certainty: {'; '.join(weak)}.**\n"
        + (
            "So it never calls a clip *real*: what it does not call *fake* is *inconclusive*.\n"
            if not decision.real_below
            else "Some are called *real*: no verdict of this model is proof.\n"
        )
        if weak
        else ""
    )
    world = "\n".join(
        f"| {row['corruption']} | {row['videos']} | {row['fake']} | {row['inconclusive']} | "
        f"{row['real']} | {row['failed']} |"
        for row in found["reals"]
    )
    return f"""# {bundle.name}

{warning}
A small network for manipulated faces in video. True deepfakes of generators and people that it
never saw: AUC {_number(total["auc_roc"])} on {total["fake"]} fakes and {total["real"]} recordings
(in brackets 95 % intervals).

- Of these fakes it calls {_said(fakes)}.
- Of the recordings it calls {_said(clean)}.

- Network: {bundle.net.config.backbone} on every frame, {bundle.net.config.temporal} over time.
- Weights: float16, SHA-256 `{found["model"]["sha256"]}`.
- Faces: {spec.target_fps:g} a second, {spec.image_size} px ({spec.margin} of them around the box).
- Recordings it was trained on: {found["trained_on"]["real"]}, by `runs/weights.sh`.
- True deepfakes it was trained on: {found["trained_on"]["fake"]}, of eight generators.
- Fakes made of the recordings while training: {families}.
- *fake* above {decision.fake_above:.2f}: {basis["fake_above"]}.
- *real* up to {decision.real_below:.2f}: {basis["real_below"]}.
- A segment above {decision.segment_threshold:.2f}: {basis["segment_above"]}.
- Fitted on {basis["reals"]} recordings and {basis["fakes"]} fakes, scored by networks that had seen
  neither the people nor the generators: AUC {_number(basis["auc_roc"])}.

## True deepfakes

{_table(rows)}

## Synthetic fakes of people that it never saw

It was trained on {families} (of other people); the other families it has never seen.

{_table(found["synthetic"])}

## Recordings, as the world treats them

| | recordings | fake | inconclusive | real | failed |
|---|---|---|---|---|---|
{world}

## What it is not for

It looks at faces only, not at sound, text or backgrounds. It was trained on few people and few
generators. A low score is no proof that a clip is genuine, and a high one none that it is not: it
is a reason to look closer. The clips it was trained on stay with their owners; none is part of
this package.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps: Any = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("calibrate")
    for place in ("parts", "final", "synth"):
        step.add_argument(place, type=Path)
    step.add_argument("runs", type=Path, nargs=len(FOLDS))
    step.add_argument("--out", type=Path, required=True)
    for name, places in (
        ("ship", ("run", "calibration", "out")),
        ("figures", ("model", "parts", "synth", "work")),
    ):
        step = steps.add_parser(name)
        for place in places:
            step.add_argument(place, type=Path)
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    if args.step == "calibrate":
        calibrate(args.parts, args.final, args.synth, args.runs, args.out)
    elif args.step == "ship":
        ship(args.run, args.calibration, args.out)
    else:
        figures(args.model, args.parts, args.synth, args.work)


if __name__ == "__main__":
    main()
