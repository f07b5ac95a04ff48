"""Batches come in the order of their steps, and several processes train one bundle."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import torch
from training_site import Site, environment

from SFDALib.bundle.open_model import open_model
from SFDALib.training import loop

# --- Several processes -------------------------------------------------------------------------


def test_two_processes_of_torchrun_train_one_bundle(site: Site) -> None:
    words = site.segmentation("two-processes", "--steps", 6, "--ema", 0, "--progress", "json")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "SFDALib", *words],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    model = open_model(site.folder / "two-processes").load(torch.device("cpu"))
    assert all(value.isfinite().all() for value in model.network.state_dict().values())
    assert int(model.network.init_path[2].path[0].norm.num_batches_tracked) == 6
    told = [json.loads(line) for line in done.stdout.splitlines()]
    steps = [
        event["step"]
        for event in told
        if event["event"] == "progress" and event["stage"] == "training"
    ]
    assert steps == sorted(set(steps)), "one process alone tells the progress"
    assert not (site.folder / ".two-processes.training").exists()


# --- Patches and loss --------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_come_in_the_order_of_their_steps_also_when_threads_draw_them(device: str) -> None:
    drawn: list[int] = []

    def draw(step: int) -> loop.Batch:
        time.sleep(0.02 if step % 5 == 0 else 0)
        drawn.append(step)
        return (torch.tensor(step),)

    batches = loop.draw_ahead(draw, range(3, 40), torch.device(device))
    assert next(batches)[0] == 3 and len(drawn) <= 1 + loop.AHEAD
    assert [int(batch[0]) for batch in batches] == list(range(4, 40))


def test_what_fails_in_a_drawing_thread_reaches_the_training() -> None:
    def draw(step: int) -> loop.Batch:
        raise ValueError(f"step {step}")

    with pytest.raises(ValueError, match="step 0"):
        next(loop.draw_ahead(draw, range(40), torch.device("cuda")))
