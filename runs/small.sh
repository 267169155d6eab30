#!/usr/bin/env bash
# The whole road on real clips, in one command: fakes from recordings, a split by identity,
# preprocessing, training of a small model, evaluation, and verdicts on other clips.
#
#   runs/small.sh CLIPS [OUT]
#
# CLIPS is a folder with clips.csv (columns file, label, role, identity; the recordings with role
# "train" make the fakes, the clips with role "dev" are judged at the end), or any folder of
# videos of real people (then nothing is judged). OUT is ./small. Run again to go on after an
# interrupt. Needs `make test` or `make demo` to have set up .venv, or unmask on the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
clips=$1
out=${2:-small}
seed=${SEED:-0}
epochs=${EPOCHS:-12}
PATH="$PWD/.venv/bin:$PATH"
mkdir -p "$out"
begun=$SECONDS
step() { printf '\n== %s (%d s)\n' "$1" "$((SECONDS - begun))"; }

if [ -f "$clips/clips.csv" ]; then
    python runs/table.py "$clips/clips.csv" --role train --label real > "$out/reals.csv"
    python runs/table.py "$clips/clips.csv" --role dev > "$out/dev.csv"
    reals=$out/reals.csv
else
    reals=$clips
fi

# A clip that shows no face is reported by the step (status 1) and does not end the run.
ok() { "$@" || [ $? -eq 1 ]; }
step "fakes";      ok unmask synth "$reals" "$out/videos" --seed "$seed"
step "split";      unmask split "$out/videos" "$out/split" --by identity --seed "$seed"
step "preprocess"; ok unmask preprocess "$out/split" "$out/processed" --size 112
step "train"
unmask train "$out/processed" --out "$out/model" --resume --set seed="$seed" --set epochs="$epochs"
step "evaluate (test split, identities that training never saw)"
ok unmask evaluate "$out/processed" --model "$out/model" --out "$out/evaluation"
if [ -f "$out/dev.csv" ]; then
    step "predict (real clips and true deepfakes, none of them trained on)"
    mapfile -t clips < <(tail -n +2 "$out/dev.csv" | cut -d, -f1)
    ok unmask predict "${clips[@]}" --model "$out/model" --format json -o "$out/dev.json"
    python runs/table.py "$out/dev.csv" --predictions "$out/dev.json" > "$out/dev_scores.csv"
    ok unmask evaluate "$out/dev_scores.csv" --out "$out/dev_evaluation"
fi
step "done"
