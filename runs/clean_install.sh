#!/usr/bin/env bash
# Install a wheel with all that it needs into a new environment and judge a clip without a network.
#     runs/clean_install.sh dist/unmask-*.whl [CLIP.mp4]
# Without a clip one is filmed, as the demo does. Needs Linux, for a network that leads nowhere.
set -euo pipefail
wheel=$(realpath "$1")
clip=${2:+$(realpath "$2")}
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "$wheel"
cd "$folder" # no source of ours beside it
if [ -z "$clip" ]; then
  "$folder/venv/bin/pip" install --quiet scikit-image # the photograph
  "$folder/venv/bin/python" "$here/demo.py" --out demo >/dev/null
  clip=$folder/demo/clips/fake/hopper.mp4
fi
unshare --net --map-root-user "$folder/venv/bin/unmask" selftest
unshare --net --map-root-user "$folder/venv/bin/unmask" predict "$clip" --report reports
ls reports
