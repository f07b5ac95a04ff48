"""A training that is killed goes on from its checkpoint, and from no other training's."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_site import SEGMENTATION, STEPS, Site, environment, refused, sfda, weights

from SFDALib.jobs.inspect import inspect


@pytest.fixture(scope="module")
def killed(site: Site) -> str:
    """The output of a training that was killed in its middle, with a checkpoint left behind."""
    words = site.segmentation("killed", "--checkpoint-minutes", 0, "--progress", "json")
    with subprocess.Popen(
        [sys.executable, "-m", "SFDALib", *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        for step in _steps(process):
            if step > STEPS // 3:  # a step is told before its checkpoint is written
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (site.folder / "killed").exists()
    state = torch.load(site.folder / ".killed.training" / "checkpoint.pt", weights_only=True)
    assert STEPS // 3 <= state["step"] < STEPS
    return "killed"


def _steps(process: subprocess.Popen) -> Iterator[int]:
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "progress":
            assert event["total"] == STEPS
            assert event["seconds_left"] is None or event["seconds_left"] >= 0
            yield event["step"]
    pytest.fail("the training ended before it was killed")


def test_a_checkpoint_of_another_training_is_refused(
    site: Site, killed: str, caplog: pytest.LogCaptureFixture
) -> None:
    longer = site.write("other.csv", site.manifest.read_text().replace(",val", ",train"))
    config = {**SEGMENTATION, "spacing": [4.0, 4.0, None]}
    coarse = site.segmentation(killed)
    coarse[coarse.index("--config") + 1] = str(site.write("coarse.json", config))
    for words, differing in (
        (site.segmentation(killed, "--seed", 1), "seed"),
        (site.segmentation(killed, "--batch", 4), "batch"),
        (site.segmentation(killed, "--augment", "geometric"), "augment"),
        (site.segmentation(killed, manifest=longer), "cases"),
        (coarse, "grid"),
    ):
        line = refused(words, caplog)
        assert f"checkpoint of another training (other {differing})" in line
    assert not (site.folder / killed).exists()


def test_a_killed_training_goes_on_to_the_weights_of_an_uninterrupted_one(
    site: Site, killed: str, segmented: Path
) -> None:
    """Runs after the test above: its refusals must not have touched the checkpoint."""
    sfda(site.segmentation(killed))
    resumed, whole = weights(site.folder / killed), weights(segmented)
    assert list(resumed) == list(whole)
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name
    told = [inspect(site.folder / name) for name in (killed, "one")]
    assert told[0]["temperature"] == told[1]["temperature"]
    assert not (site.folder / f".{killed}.training").exists()
