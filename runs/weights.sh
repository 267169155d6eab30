#!/usr/bin/env bash
# The shipped weights, from recordings to a calibrated model with its card, in one command.
#
#   runs/weights.sh CLIPS [OUT]
#
# CLIPS is a folder with clips.csv (see runs/table.py): recordings and portraits with role "train"
# make the fakes, the few true fakes of that role stand beside them, and the clips with role "dev"
# choose the epoch and fit the calibration. OUT is ./weights. Run again to go on after an
# interrupt. START names the weights to start from (default: ImageNet's, from a package), EPOCHS
# and SEED what they say. Needs `make test` or `make demo` to have set up .venv, or unmask on the
# PATH. On two cores a day for 100 epochs; the first eight take two hours.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2; }
clips=$1
out=${2:-weights}
PATH="$PWD/.venv/bin:$PATH"
mkdir -p "$out"
begun=$SECONDS
step() { printf '\n== %s (%d s)\n' "$1" "$((SECONDS - begun))"; }
ok() { "$@" || [ $? -eq 1 ]; } # a clip without a face is reported and ends nothing

step "table"
python runs/table.py "$clips/clips.csv" --photos "$out/photos" > "$out/clips.csv"
step "split";      unmask split "$out/clips.csv" "$out/split" --by official
step "preprocess"
ok unmask preprocess "$out/split" "$out/faces" --size 288 --margin 96 --length 1 --overlap 0
step "redrawers";  python runs/redrawers.py "$out/faces" "$out/redrawers"
step "train"
families="self-blending,self-blending,face swap,face swap,redrawn,redrawn,region replacement,generator"
unmask train "$out/faces" --out "$out/model" --preset small --resume \
    --set synth="$families" --set redrawers="$out/redrawers" --set weights="${START:-imagenet}" \
    --set seed="${SEED:-0}" --set epochs="${EPOCHS:-8}"
step "calibrate and evaluate on dev, cross-fitted over sources"
unmask evaluate "$out/faces" --split val --model "$out/model" --calibrate temperature --fit cross \
    --out "$out/evaluation" --save "$out/small"
cat "$out/small/card.md"
step "done"
