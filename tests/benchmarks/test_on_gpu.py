"""`make bench-gpu` without a GPU: it says so, and a dry run on the CPU goes through everything it would measure."""

from __future__ import annotations

import re

import pytest
import torch

from benchmarks import large_ct, on_gpu
from benchmarks.gpu_busy import Sampled, told
from medseg.cli.main import main


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_sentence_says_so():
    with pytest.raises(SystemExit) as end:
        on_gpu.main([])
    assert re.fullmatch(r"PyTorch sees no CUDA device here, [^.]*`make bench-gpu DEVICE=cpu`", str(end.value))


def test_a_dry_run_measures_everything(monkeypatch, capsys):
    """The commands of the CT run in this process, which spares two starts."""

    def in_this_process(*words):
        assert main([*map(str, words), *(["--workers", "0"] if words[0] == "segment" else [])]) == 0

    monkeypatch.setattr(large_ct, "medseg", in_this_process)
    on_gpu.main(["--device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "dry run on tiny scans: no number below means anything"
    rows = [line.strip("| ").split(" | ") for line in lines[-3:]]
    assert [(what, goal) for what, _, goal, _ in rows] == [
        ("training", "10 times, 90 % busy"), ("1 mm brain", "2 s"), ("48x48x24 CT, K = 12", "10 s")
    ]  # fmt: skip
    assert re.fullmatch(r"[\d.]+ steps a second, [\d.]+ times the plain MONAI loop", rows[0][1])
    assert re.fullmatch(r"[\d.]+ s", rows[1][1])
    assert re.fullmatch(r"[\d.]+ s, done", rows[2][1])
    assert {busy for *_, busy in rows} == {told(None)}


def test_utilisation_is_the_mean_of_what_nvml_says(monkeypatch):
    said = iter([20, 60])

    def utilization(_device):
        try:
            return next(said)
        except StopIteration:
            raise RuntimeError("no more") from None

    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    with Sampled(torch.device("cuda")) as sampled:
        sampled.wait()
    assert sampled.share == pytest.approx(0.4)
    with Sampled(torch.device("cpu")) as sampled:
        pass
    assert told(sampled.share) == "the GPU's share of the time was not measured"
    assert told(0.4) == "the GPU is busy 40% of the time"
