#!/usr/bin/env bash
# The shipped weights, from clips to card, in one command.
#
#   runs/weights.sh CLIPS [OUT]
#
# CLIPS is a folder with clips.csv (columns file, label, role, identity, manipulation) that lists
# recordings and true deepfakes. OUT is ./weights. Run again to go on after an interrupt: every
# step keeps what it has finished. FINAL names the folder of the bundle, OUT/small by default.
#
# 1. Parts: 16 people are held out for the report, 12 watch the training, the rest train. For the
#    calibration two more networks are trained, each without a half of the generators, the people
#    that they show and six of the twelve.
# 2. Small autoencoders learn the training part's faces; they make the fakes of the family
#    "redrawn". Where SUPER_RESOLUTION names realesr-animevideov3-x4.bin (see NOTICE), it joins.
# 3. The networks are trained on true deepfakes and on fakes made on the fly.
# 4. Scores of what each of the two networks had never seen give temperature and thresholds. While
#    fakes of the twelve that watch cannot be told from them, nothing is called real.
# 5. What is reported is scored once, at the end: the clips of role "dev", the people held out, and
#    fakes of them of every family, also those that training never saw.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,21s/^# \{0,1\}//p' "$0"; exit 2; }
clips=$1
out=${2:-weights}
final=${FINAL:-$out/small}
seed=${SEED:-0}
epochs=${EPOCHS:-14}
families="self-blending,generator,redrawn"
PATH="$PWD/.venv/bin:$PATH"
mkdir -p "$out"
begun=$SECONDS
step() { printf '\n== %s (%d s)\n' "$1" "$((SECONDS - begun))"; }
ok() { "$@" || [ $? -eq 1 ]; }  # a clip without a face is reported and does not end the run

step "parts"
python runs/weights.py --seed "$seed" parts "$clips/clips.csv" > "$out/parts.csv"
python runs/weights.py links "$out/parts.csv" "$out/videos"

step "faces"
ok unmask preprocess "$out/videos" "$out/faces" --size 128 --margin 44 --length 4 --overlap 0
for fold in 0 1; do
    python runs/weights.py tree "$out/faces" "$out/parts.csv" "$out/trees/$fold" --fold "$fold"
done
python runs/weights.py tree "$out/faces" "$out/parts.csv" "$out/trees/final"

step "autoencoders"
python runs/weights.py --seed "$seed" autoencoders "$out/trees/final" "$out/redrawers"
[ -z "${SUPER_RESOLUTION:-}" ] || cp "$SUPER_RESOLUTION" "$out/redrawers/"

for run in 0 1 final; do
    step "train: $run"
    unmask train "$out/trees/$run" --out "$out/runs/$run" --resume \
        --set seed="$seed" --set epochs="$epochs" --set weights=imagenet \
        --set temporal=mean --set pooling=mean --set batch_size=8 --set lr=1e-3 \
        --set schedule=cosine --set warmup=0.5 --set ema=0.99 --set augment=strong \
        --set pairs=true --set balance=sampling --set synth="$families" --set redrawers="$out/redrawers"
done

# Families of fakes of the people of a part.
fakes() {
    python runs/weights.py chosen "$out/parts.csv" "$1" > "$out/$1.csv"
    for family in self-blending "face swap" "region replacement" generator redrawn "slow face"; do
        ok unmask synth "$out/$1.csv" "$out/synth_$1/${family// /_}" --families "$family" \
            --redrawers "$out/redrawers" --seed "$2"
    done
}

step "calibration"
fakes val $((seed + 1))
last=model_epoch_$epochs.pth  # no epoch is chosen: of what is left out none would be unseen
python runs/card.py calibrate "$out/parts.csv" "$out/runs/final/$last" "$out/synth_val" \
    "$out"/runs/[01]/"$last" --out "$out/calibration.json"
python runs/card.py ship "$out/runs/final/$last" "$out/calibration.json" "$final"

step "figures and card"
fakes test "$seed"
python runs/card.py figures "$final" "$out/parts.csv" "$out/synth_test" "$out/scores"
step "done: $final"
