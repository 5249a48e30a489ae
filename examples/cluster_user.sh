#!/bin/sh
# Who works on a cluster: one file has all options, a job may be killed and started again, and the same line runs with
# many processes: accelerate launch --num_processes 8 -m oreo_agents train --config ...
#
# sh examples/cluster_user.sh MODEL EPISODES FOLDER
set -eu
folder=$3
mkdir -p "$folder"
oreo-agents train --model "$1" --data "$2" -o "$folder/agent" --steps 4 --batch-size 2 --learning-rate 1e-4 \
    --save-every 2 --device cpu --trainer max_grad_norm=0.5 --print-config > "$folder/train.toml"
oreo-agents train --config "$folder/train.toml"
oreo-agents train --config "$folder/train.toml" --beta 0.1 -o "$folder/other"
oreo-agents runs "$folder"
