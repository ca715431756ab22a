"""How much of the time a GPU computes: exactly, inside this process, or as NVML samples it for all processes."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from types import TracebackType

import torch
from torch.profiler import ProfilerActivity, profile

_PERIOD_S = 0.1


def busy_share(work: Callable[[], object], device: torch.device) -> float | None:
    """Share of the time of `work` in which the GPU runs kernels or copies, by PyTorch's profiler; None on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        work()
        torch.cuda.synchronize(device)
    busy_us = float(sum(event.self_device_time_total for event in found.key_averages()))
    return busy_us / 1e6 / (time.perf_counter() - started)


def told(share: float | None) -> str:
    """The share for people."""
    return (
        "the GPU's share of the time was not measured" if share is None else f"the GPU is busy {share:.0%} of the time"
    )


class Sampled:
    """Mean utilisation of the GPU by NVML while this is entered; None where NVML or its package is not there."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._samples: list[float] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Sampled:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()
        self._thread.join()

    def wait(self) -> None:
        """Until NVML says no more."""
        self._thread.join()

    @property
    def share(self) -> float | None:
        """From 0 to 1."""
        return statistics.mean(self._samples) / 100 if self._samples else None

    def _sample(self) -> None:
        while self._device.type == "cuda":
            try:
                self._samples.append(float(torch.cuda.utilization(self._device)))
            except (ImportError, RuntimeError):
                return
            if self._is_over.wait(_PERIOD_S):
                return
