"""Carry out a Dockerfile's own lines where there is no container engine, and use what they make.

    sudo python tools/replay_dockerfile.py --work FOLDER --clip CLIP.mp4

Every stage gets an overlay on this machine's root, with nothing in it of the checkout, /home and
/root: a Python of the version that FROM names has to be installed here. The image of the last stage
is then mounted read-only, with a volume and /tmp beside it, in a network of its own that leads
nowhere. Its command runs there as its user, without capabilities, until its HEALTHCHECK passes; it
judges the clip and is stopped. Needs root and Linux. What is not replayed is the base image.
"""

import argparse
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dockerfile import Stage, Step, health, parse

ROOT = Path(__file__).parents[1]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HIDDEN = ("/home", "/root", "/srv", "/mnt")
SYSTEM = ("/proc", "/sys", "/dev")
# What the machine says of how its packages come, which is no part of the image.
PASSED = re.compile(r"(PIP_|SSL_|REQUESTS_)\w+|\w+_(proxy|PROXY)")


def call(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True)


@contextmanager
def mounted(upper: Path, volume: Path | None = None) -> Iterator[Path]:
    """A stage's root; read-only, with a volume and /tmp, if one is given."""
    root, scratch = upper.with_suffix(".root"), upper.with_suffix(".scratch")
    for folder in (root, scratch, upper):
        folder.mkdir(parents=True, exist_ok=True)
    layers = f"lowerdir=/,upperdir={upper},workdir={scratch}"
    call("mount", "-t", "overlay", "overlay", "-o", layers, root)
    try:
        for folder in sorted(
            {ROOT, *map(Path, HIDDEN)}, reverse=True
        ):  # what lies in another first
            if folder.is_dir():
                call("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", f"{root}{folder}")
        for name in SYSTEM:
            call("mount", "--rbind", name, f"{root}{name}")
        call("mount", "-t", "tmpfs", "tmpfs", root / "tmp")
        if volume:
            call("mount", "--bind", volume, root / "data")
            call("mount", "-o", "remount,ro", root)
        yield root
    finally:
        call("umount", "--lazy", root)  # and all that lies on it


def set_variables(step: Step, environment: dict[str, str]) -> None:
    """What ENV says, with what it refers to."""
    for name, value in re.findall(r"(\w+)=(\S+)", step.rest):
        environment[name] = re.sub(r"\$(\w+)", lambda found: environment.get(found[1], ""), value)


def build(stages: list[Stage], context: Path, work: Path, arguments: dict[str, str]) -> None:
    """Carry out every stage; what it changes lies in `work`."""
    done: dict[str, Path] = {}
    for number, stage in enumerate(stages):
        if stage.base != f"python:3.{sys.version_info.minor}-slim":
            raise SystemExit(f"FROM {stage.base}: run this with that version of Python")
        upper = work / f"stage{number}"
        done[stage.name] = upper
        environment, folder = {"PATH": PATH, "HOME": "/tmp"}, Path("/")
        with mounted(upper) as root:
            call("chroot", root, "python3", "-m", "venv", "/usr/local/base")
            environment["PATH"] = f"/usr/local/base/bin:{PATH}"
            for step in stage.steps:
                print(f"{stage.name or 'image'}: {step.instruction} {step.rest}", flush=True)
                folder = carry_out(step, root, context, done, environment, folder, arguments)


def carry_out(
    step: Step, root: Path, context: Path, done: dict[str, Path],
    environment: dict[str, str], folder: Path, arguments: dict[str, str],
) -> Path:  # fmt: skip
    """One instruction; returns the working folder after it."""
    if step.instruction == "ARG":
        name, _, default = step.rest.partition("=")
        environment[name] = arguments.get(name, default.strip('"'))
    elif step.instruction == "ENV":
        set_variables(step, environment)
    elif step.instruction == "WORKDIR":
        folder = Path(step.rest)
        Path(f"{root}{folder}").mkdir(parents=True, exist_ok=True)
    elif step.instruction == "COPY":
        copy(step, root, context, done, folder)
    elif step.instruction == "RUN":
        passed = {k: v for k, v in os.environ.items() if PASSED.fullmatch(k)}
        command = ["chroot", str(root), "sh", "-c", f"cd {folder} && {step.rest}"]
        subprocess.run(command, check=True, env={**passed, **environment})
    return folder


def copy(step: Step, root: Path, context: Path, done: dict[str, Path], folder: Path) -> None:
    *sources, target = step.words
    if sources[0].startswith("--from="):
        context = done[sources.pop(0).removeprefix("--from=")]
    place = Path(f"{root}{folder / target}")
    for name in sources:
        source = context / name.lstrip("/")
        if source.is_dir():
            unwanted = shutil.ignore_patterns("__pycache__") if context == ROOT else None
            shutil.copytree(source, place, symlinks=True, ignore=unwanted, dirs_exist_ok=True)
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)


def use(image: Stage, upper: Path, clip: Path, token: str) -> None:
    """Run the image's command in a read-only root until it is healthy, and hand it a clip."""
    loopback_up()
    volume = upper.with_suffix(".volume")
    shutil.copytree(upper / "data", volume)  # a new volume is what the image has there
    owner = (upper / "data").stat()
    os.chown(volume, owner.st_uid, owner.st_gid)
    uid, gid = map(int, image.last("USER").rest.split(":"))
    with mounted(upper, volume) as root:
        call("chmod", "1777", root / "tmp")
        environment = {"UNMASK_TOKEN": token, "PATH": PATH}
        for step in image.all("ENV"):
            set_variables(step, environment)
        inside = [
            "chroot", str(root), "setpriv", f"--reuid={uid}", f"--regid={gid}",
            "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all",
            "env", f"--chdir={image.last('WORKDIR').rest}",
        ]  # fmt: skip
        check_locked(inside, environment)
        command = [*inside, *image.last("ENTRYPOINT").words, *image.last("CMD").words]
        check = [*inside, *health(image.last("HEALTHCHECK"))]
        begun = time.monotonic()
        with subprocess.Popen(command, env=environment) as server:
            try:
                while subprocess.run(check, env=environment, stderr=subprocess.DEVNULL).returncode:
                    if server.poll() is not None or time.monotonic() - begun > 120:
                        raise SystemExit("the server is not healthy")
                    time.sleep(1)
                print(f"healthy after {time.monotonic() - begun:.0f} s", flush=True)
                print(json.dumps(judge(clip, token)))
            finally:
                server.send_signal(signal.SIGTERM)
            print(f"stopped with {server.wait(30)}")


def check_locked(inside: list[str], environment: dict[str, str]) -> None:
    """That the root is read-only, the volume is not, and the user is not root."""
    script = "test $(id -u) -ne 0 && ! touch /opt/x 2>/dev/null && touch /data/x && rm /data/x"
    subprocess.run([*inside, "sh", "-c", script], env=environment, check=True)
    root = [*inside[:2], "touch", "/opt/x"]
    assert subprocess.run(root, stderr=subprocess.DEVNULL).returncode, "root can write"


def judge(clip: Path, token: str) -> dict[str, object]:
    """Hand in a clip over HTTP; what became of it."""

    def ask(path: str, data: bytes | None = None) -> dict[str, object]:
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"http://127.0.0.1:8000{path}", data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, object] = json.load(answer)
        return found

    job = ask(f"/api/jobs?name={clip.name}", clip.read_bytes())["id"]
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        found = ask(f"/api/jobs/{job}")
        if found["status"] == "done":
            return {name: found[name] for name in ("status", "verdict", "confidence")}
        if found["status"] == "failed":
            raise SystemExit(f"the job failed: {found}")
        time.sleep(1)
    raise SystemExit("the job does not end")


def loopback_up() -> None:
    """A new network has a loopback that is down."""
    flags, interface = 0x1, b"lo"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", interface, flags))  # SIOCSIFFLAGS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for the stages; new")
    parser.add_argument("--clip", type=Path, required=True, help="a video to judge")
    parser.add_argument("--file", type=Path, default=ROOT / "Dockerfile")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--phase", choices=("build", "use"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    work, stages = args.work.resolve(), parse(args.file)
    if args.phase is None:  # each in mounts, the second in a network, that end with it
        if work.exists():
            raise SystemExit(f"{work} exists: name a new folder")
        for phase, private in (("build", ()), ("use", ("--net",))):
            again = [sys.executable, __file__, *sys.argv[1:], "--phase", phase]
            call("unshare", "--mount", *private, *again)
    elif args.phase == "build":
        build(stages, ROOT, work, dict(pair.split("=", 1) for pair in args.build_arg))
    else:
        use(stages[-1], work / f"stage{len(stages) - 1}", args.clip, secrets.token_urlsafe())


if __name__ == "__main__":
    main()
