#!/bin/bash
# A sweep over many nodes under Slurm: every task is a worker, and all of them share one study in PostgreSQL.
#
# First, once, on any machine that reaches the database. This checks the spec and creates the study; with --workers 0 it
# starts no worker, but shows how far the sweep is and keeps results.csv. Ctrl-C ends it alone, and it can be run again.
#
#     export SWEEPS_STORAGE=postgresql://user:password@host/database
#     sweeps launch configs/sweeps/quickstart.yaml --run_dir /shared/runs/quickstart --workers 0
#
# Then as many jobs as there is room for, one after another or at once; each takes what is left to do:
#
#     sbatch examples/slurm.sh quickstart /shared/runs/quickstart
#
# A job that ends, at its time limit too, gives back its trials; those of a node that is lost are taken over by others.

#SBATCH --job-name=sweep
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8      # workers on a node
#SBATCH --gpus-per-task=1        # slot.gpus of the spec: a worker sees these alone; leave it out where there are none
#SBATCH --cpus-per-task=4        # slot.cpus of the spec
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@60         # a minute before that, so that workers end by themselves
#SBATCH --output=slurm-%j.log

set -euo pipefail
study=${1:?usage: sbatch slurm.sh STUDY RUN_DIR}
run_dir=${2:?usage: sbatch slurm.sh STUDY RUN_DIR}  # on a disk that all nodes share; trials put their files there

# The URL holds a password. It comes from the environment of sbatch or from a file that you alone can read (chmod 600),
# and reaches the workers through the environment: everybody on a node can read its command lines.
export SWEEPS_STORAGE=${SWEEPS_STORAGE:-$(<"$HOME/.sweeps_storage")}

srun sweeps worker "$run_dir" --study "$study" --threads "${SLURM_CPUS_PER_TASK:-1}"
