"""Results that the real command wrote once, for tests of what the panel does with them.

Starting a job costs seconds, most of them the import of torch; what the panel does with a result
does not depend on who wrote it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import pytest

from SFDALib.__main__ import main
from SFDALib.jobs import events
from SFDALib.methods import registry

METHODS = ("none", "heal", "adami")
OPTIONS = ("heal.samples=3", "heal.steps=2", "heal.tau1=1", "heal.tau2=1", "adami.epochs=2")
STUB = Path(__file__).resolve().parent / "stub_worker.py"


def _listen(words: Sequence[str]) -> str:
    """What a command writes to standard output, every step of it however fast they come."""
    said = io.StringIO()
    every = mock.patch.object(events, "MIN_INTERVAL", 0.0)
    with every, contextlib.redirect_stdout(said):
        assert main(list(words)) == 0, words
    return said.getvalue()


@pytest.fixture(scope="session")
def head_bundle(tmp_path_factory: pytest.TempPathFactory, head_file: Path) -> Path:
    """The tiny bundle, but it finds something: the share of the head that is brightest to it."""
    import SimpleITK as sitk
    import torch
    from bundles import describe, write_bundle

    from SFDALib.networks.build import build_network

    bundle = write_bundle(tmp_path_factory.mktemp("bundles") / "head", describe())
    path = bundle / "models" / "model.pt"
    weights = torch.load(path, weights_only=True)
    network = build_network(describe().network)
    network.load_state_dict(weights)
    voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(head_file)))[7, :32, :32]
    image = torch.from_numpy(voxels / voxels.max()).float()[None, None]
    with torch.inference_mode():
        logits = network.eval()(image)
    weight, bias = "out_path.2.weight", "out_path.2.bias"
    weights[weight] *= 1000
    weights[bias] = 1000 * (weights[bias] - logits.quantile(0.6))
    torch.save(weights, path)
    return bundle


@pytest.fixture(scope="session")
def recordings(
    head_bundle: Path, head_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder: the results of jobs on the head by method, and what they said. Read only."""
    folder = tmp_path_factory.mktemp("recordings")
    words = ["compare", "--bundle", str(head_bundle), "--input", str(head_file), "--device", "cpu"]
    words += ["--methods", ",".join(METHODS), "--progress", "json", "--probabilities"]
    words += [word for option in OPTIONS for word in ("--option", option)]
    said: dict[str, list[str]] = {method: [] for method in METHODS}
    method = METHODS[0]
    for line in _listen([*words, "--output", str(folder / "compare")]).splitlines():
        event = json.loads(line)
        if event["event"] == "progress" and event["stage"] == "compare":
            method = event.get("method", method)
        elif event["event"] == "progress":
            said[method].append(line)
    for method, lines in said.items():
        (folder / f"{method}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        shutil.copytree(folder / "compare" / method, folder / method)
    titles = {method.name: method.title for method in registry.METHODS.values()}
    (folder / "titles.json").write_text(json.dumps(titles), encoding="utf-8")
    (folder / "devices.json").write_text(_listen(["devices", "--json"]), encoding="utf-8")
    asked = ["estimate", "--bundle", str(head_bundle), "--method", "none", "--device", "cpu"]
    shape = ["--size=36,40,14", "--spacing=2.5,2.2,6", "--json"]
    (folder / "estimate.json").write_text(_listen([*asked, *shape]), encoding="utf-8")
    return folder


@pytest.fixture
def recorded_jobs(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Jobs are answered from the recordings, by real processes."""
    folder = tmp_path / "python"
    folder.mkdir()
    if os.name == "nt":
        (folder / "PythonSlicer.bat").write_text(f'@"{sys.executable}" -I -S "{STUB}" %*\n')
    else:
        interpreter = folder / "PythonSlicer"
        interpreter.write_text(f"#!{sys.executable} -IS\n{STUB.read_text(encoding='utf-8')}")
        interpreter.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SFDA_RECORDINGS", str(recordings))
    monkeypatch.setenv("SFDA_REAL_PYTHON", sys.executable)
    yield recordings


@pytest.fixture
def real_jobs(recorded_jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are carried out by SFDALib itself."""
    first, _, rest = os.environ["PATH"].partition(os.pathsep)
    assert first.endswith("python")
    monkeypatch.setenv("PATH", rest)
