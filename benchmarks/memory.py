"""Peak memory and seconds of the command on long videos.

    python benchmarks/memory.py CLIP.mp4 --minutes 1 60 [--model FOLDER]

CLIP is repeated, without encoding it again, to each length; the command runs on it in a process
of its own. A line of JSON each, with the peak of its resident memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av


def repeat(source: Path, target: Path, seconds: float) -> None:
    """Write `source` again and again, packet by packet."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as out:
        stream = clip.streams.video[0]
        copy = out.add_stream_from_template(stream)
        packets = [packet for packet in clip.demux(stream) if packet.dts is not None]
        base = packets[0].time_base
        length = max(int((p.pts or 0) + (p.duration or 0)) for p in packets)
        for turn in range(round(seconds / float(length * base))):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.stream, again.time_base = copy, base
                again.pts = (packet.pts or 0) + turn * length
                again.dts = (packet.dts or 0) + turn * length
                again.duration, again.is_keyframe = packet.duration, packet.is_keyframe
                out.mux(again)


def measure(minutes: float, verb: str, *arguments: str) -> None:
    """Run a verb of the command; print its peak and its time."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "unmask", verb, *arguments], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"unmask {verb} {' '.join(arguments)} failed")
    row = {"verb": verb, "minutes": minutes, "mib": usage.ru_maxrss // 1024, "s": round(seconds)}
    print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--minutes", nargs="+", type=float, default=[1, 60])
    parser.add_argument("--model", help="also measure predict with this model")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for minutes in args.minutes:
            video = Path(name) / f"long{args.clip.suffix}"
            repeat(args.clip, video, 60 * minutes)
            out = Path(name) / "long.pt"
            measure(minutes, "preprocess", str(video), str(out))
            out.unlink()
            if args.model:
                options = ["--model", args.model, "-o", str(out), "--format", "json"]
                measure(minutes, "predict", str(video), *options)


if __name__ == "__main__":
    main()
