"""Where the seconds of one scan go, from file to written outputs, beside what the machine cannot do faster.

``python -m benchmarks.speed_stages`` fits a model to the MNI phantom in a few steps (how long a scan takes does not
depend on what was learned) and segments it, a 1 mm brain, twice; the second time counts. The floor of the embedding is
the time of its convolutions and matrix products alone, by PyTorch's profiler; that of every other stage one copy of
the scan in memory, at the rate measured here. ``--device cuda`` for a GPU.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_busy import busy_share, told
from benchmarks.table import machine
from medseg import Model, find_scans, load_config, read_scan
from medseg.batch import segment_scan as segmenting
from medseg.batch.outputs import Job
from medseg.batch.resources import peak_memory_mb
from medseg.clustering import ct_cohort, mixture_cohort, mr_cohort, per_scan
from medseg.model import prepare as preparing
from medseg.model import segment as labelling
from medseg.model.record import Record
from medseg.network.tiled_inference import embed
from medseg.preprocessing.plan import Plan
from medseg.runtime.memory import freed_memory_kept
from sample_data.benchmark_phantoms import mni_phantom

STAGES: tuple[tuple[Any, str, str], ...] = (
    (segmenting, "read_aligned", "read"),
    (Plan, "foreground_of", "foreground"),
    (Plan, "to_working_grid", "to the working grid"),
    (preparing, "network_image", "shading and contrast"),
    *((kind, "embed", "embedding") for kind in (per_scan, ct_cohort, mr_cohort, mixture_cohort)),
    (labelling, "labels_on", "labels on the native grid"),
    (labelling, "clean", "cleanup"),
    (Model, "segment", "tissues, scores, quality measures and the rest of segment"),
    (segmenting, "segment_one", "outputs and pictures, two at a time"),
)
"""Where a stage lives, what it is called, and its name in the table; a stage's own time is without those inside it."""
_ON_DEVICE = ("conv", "mm", "linear", "gemm")


class Clock:
    """Seconds of every stage, each without the stages inside it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {name: 0.0 for *_, name in STAGES}
        self._inner = [0.0]

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added to the stage."""

        @functools.wraps(function)
        def call(*words: Any, **options: Any) -> Any:
            started = self._now()
            self._inner.append(0.0)
            try:
                return function(*words, **options)
            finally:
                whole = self._now() - started
                self.seconds[stage] += whole - self._inner.pop()
                self._inner[-1] += whole

        return call

    @contextmanager
    def running(self) -> Iterator[None]:
        """All stages are timed inside."""
        with ExitStack() as stack:
            for owner, name, stage in STAGES:
                stack.enter_context(patch.object(owner, name, self.timed(stage, getattr(owner, name))))
            yield


def convolution_seconds(model: Model, image: Any) -> float:
    """Seconds that convolutions and matrix products take in one embedding of a native image."""
    prepared = model.prepare(image, model.plan.foreground_of(image))
    on_gpu = model.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as found:
        embed(model.network, prepared.network_image, prepared.foreground)
    micro = sum(
        event.self_device_time_total if on_gpu else event.self_cpu_time_total
        for event in found.key_averages()
        if any(word in event.key for word in _ON_DEVICE)
    )
    return float(micro) / 1e6


def copy_seconds(n_voxels: int) -> float:
    """Seconds of one copy of a scan in float32."""
    source = torch.zeros(n_voxels)
    target = torch.empty_like(source).copy_(source)
    started = time.perf_counter()
    for _ in range(5):
        target.copy_(source)
    return (time.perf_counter() - started) / 5


class Seen(NamedTuple):
    """Lines of the table (stage, seconds, share, floor, ratio), seconds of the whole, and the GPU's share of them."""

    lines: list[str]
    seconds: float
    busy: float | None


def measure(scan: Path, config: str, device: str) -> Seen:
    """A model of the scan, and the scan segmented twice or, on a GPU, three times."""
    model = Model.fit([scan], load_config(config, ["training.max_steps=10"]), device=device)
    image = read_scan(scan)
    clock = Clock(model.device)
    with freed_memory_kept():  # as the command line's workers have it
        first = _segmented(model, scan)
        with clock.running():
            record = _segmented(model, scan)
        busy = busy_share(lambda: _segmented(model, scan), model.device)
    copy, convolutions = copy_seconds(image.numel()), convolution_seconds(model, image)
    lines = ["| stage | seconds | share | floor | ratio |", "|---|---|---|---|---|"]
    for stage, seconds in clock.seconds.items():
        floor = convolutions if stage == "embedding" else copy
        share = seconds / record.seconds
        lines.append(f"| {stage} | {seconds:.2f} | {share:.0%} | {floor:.3f} | {seconds / floor:.1f} |")
    whole = f"| whole scan | {record.seconds:.2f} | 100% | | |"
    started = f"the first scan of the process, with what it loads: {first.seconds:.2f} s"
    return Seen([*lines, whole, started, f"peak memory {peak_memory_mb():.0f} MB", told(busy)], record.seconds, busy)


def _segmented(model: Model, scan: Path) -> Record:
    """From the file to written outputs."""
    with tempfile.TemporaryDirectory() as out:
        record = segmenting.segment_or_explain(model, find_scans(scan)[0], Job(Path(out)))
    if record.status != "done":
        raise RuntimeError(record.reason)
    return record


def main() -> None:
    """Print the table of a 1 mm brain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scan", type=Path, help="another scan than the MNI phantom")
    parser.add_argument("--config", default="brain_t1")
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        scan = args.scan or mni_phantom(Path(folder), 9, 40, 0)[0]
        print("\n".join(measure(scan, args.config, args.device).lines))


if __name__ == "__main__":
    main()
