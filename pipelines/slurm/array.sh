#!/bin/bash
# A job array: each job takes its part of the scans, all write into one OUT; nothing but medseg is needed.
#
#   sbatch --array=1-8 pipelines/slurm/array.sh SCANS MODEL OUT [more flags of medseg segment]
#
# A job that was cancelled, or ran into its time limit, goes on where it stood: submit the same command again.
# Scans that are done are skipped. The exit code of a job is that of medseg: 1 when a scan was refused or failed.
#SBATCH --job-name=medseg
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
#SBATCH --output=medseg-%A_%a.log
set -u
if [ $# -lt 3 ]; then
    echo "usage: sbatch --array=1-N $0 SCANS MODEL OUT [flags]" >&2
    exit 2
fi
scans=$1 model=$2 out=$3
shift 3
# exec: the signals of Slurm reach medseg itself, which then ends its workers.
exec ${MEDSEG:-medseg} segment "$scans" --model "$model" --out "$out" \
    --shard "$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN + 1))/$SLURM_ARRAY_TASK_COUNT" "$@"
