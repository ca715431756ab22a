"""Dask workers as Slurm jobs, and the scans handed to them; needs ``pip install "medseg[dask]"``.

::

    python pipelines/slurm/dask_cluster.py --jobs 8 segment SCANS --model MODEL --out OUT

All words after the options are those of the `medseg` command. A job that is lost is replaced, the scans that it had
are done by others. Add what your site needs (``--account``, ``--partition`` ...) with ``--slurm``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from dask_jobqueue.slurm import SLURMCluster

from medseg.cli.main import main as medseg


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of this script, and the words for medseg."""
    parser = argparse.ArgumentParser(description="medseg on Dask workers that run as Slurm jobs.")
    parser.add_argument("--jobs", type=int, default=4, help="Slurm jobs at the same time (default: 4)")
    parser.add_argument("--cores", type=int, default=2, help="cores of a job (default: 2)")
    parser.add_argument("--memory", default="8GB", help="memory of a job (default: 8GB)")
    parser.add_argument("--walltime", default="12:00:00", help="time limit of a job (default: 12:00:00)")
    parser.add_argument("--interface", help="network interface of the nodes, for example ib0")
    parser.add_argument("--slurm", action="append", default=[], metavar="DIRECTIVE", help="e.g. --slurm=--account=x")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="segment SCANS --model MODEL --out OUT ...")
    return parser.parse_args(argv)


def cluster_of(options: argparse.Namespace) -> Any:
    """A cluster whose jobs take one scan at a time and are replaced when they are lost."""
    cluster = SLURMCluster(
        cores=1,
        job_cpu=options.cores,
        processes=1,
        memory=options.memory,
        walltime=options.walltime,
        interface=options.interface,
        job_extra_directives=options.slurm,
        python=sys.executable,
    )
    cluster.adapt(minimum=options.jobs, maximum=options.jobs)
    return cluster


def main(argv: Sequence[str] | None = None) -> int:
    """Start the workers, run medseg, end the workers."""
    options = parse(argv)
    with cluster_of(options) as cluster:
        return int(medseg([*options.words, "--scheduler", cluster.scheduler_address]))


if __name__ == "__main__":
    sys.exit(main())
