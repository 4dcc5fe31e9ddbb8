#!/bin/bash
# Attack images with Ray on the nodes of a Slurm job:
#   IMAGES=photos MODEL=my_model.py:load OUT=runs/photos sbatch examples/slurm.sh
# Where the time is up, or the job is preempted, it is queued again and goes on.
# All nodes must see the model's file; srun passes Ray's token on, so homes need not be shared.
#SBATCH --job-name=iqattack
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@180
set -euo pipefail

read -r head < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
address=$head:$((20000 + SLURM_JOB_ID % 10000))
has=(--num-cpus "$SLURM_CPUS_PER_TASK" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" --block)
others=$((SLURM_JOB_NUM_NODES - 1))
# Four per GPU. By default there are as many as the nodes that have joined by then can run.
workers=$((SLURM_JOB_NUM_NODES * ${SLURM_GPUS_ON_NODE:-1} * 4))
export RAY_USAGE_STATS_ENABLED=0
# By default Ray requires a token only if your home has one. Here it always does; a Ray without
# tokens has no such command.
if token=$(ray get-auth-token --generate 2> /dev/null); then
    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$token
fi

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --port "${address#*:}" --include-dashboard=false "${has[@]}" &
first=$! tries=20
until said=$(ray status --address "$address" 2>&1); do
    if ! kill -0 "$first" 2> /dev/null || [ $((tries -= 1)) -eq 0 ]; then
        echo "Ray did not start on $head: $said" >&2
        exit 1
    fi
    sleep 2
done
if [ "$others" -gt 0 ]; then
    srun --overlap --nodes="$others" --ntasks="$others" --exclude="$head" \
        ray start --address "$address" "${has[@]}" &
fi

iqattack attack "$IMAGES" --model "$MODEL" --out "$OUT" --resume \
    --engine ray --address "$address" --workers "$workers" --device cuda --gpus-per-worker 0.25 &
attack=$!
stopped=
trap 'stopped=1; kill -TERM "$attack"' TERM
status=0
wait "$attack" || status=$?
if [ -n "$stopped" ]; then
    wait "$attack" || status=$?
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
