#!/bin/bash
# Attack images as a job of a Ray cluster, from the folder that holds the model:
#   RAY_API_SERVER_ADDRESS=http://HEAD:8265 IMAGES=/data/photos MODEL=my_model.py:load \
#       OUT=/data/runs/photos bash examples/ray_job.sh
# If the cluster requires a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, too.
# Submitted again, it goes on where it was. Ray brings this folder to all nodes; only the node of
# the entrypoint has to see IMAGES and OUT.
set -euo pipefail

ray job submit --working-dir . --runtime-env-json '{"pip": ["iqattack[ray]"]}' \
    --entrypoint-num-cpus 1 --entrypoint-num-gpus 0.25 -- \
    iqattack attack "$IMAGES" --model "$MODEL" --out "$OUT" --resume \
    --engine ray --address auto --device cuda --gpus-per-worker 0.25
