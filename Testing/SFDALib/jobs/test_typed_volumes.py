"""Plausible volumes that are typed for a model that knows none: all that follows from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from phantoms import Phantom
from quick_jobs import report_of, words

from SFDALib.__main__ import main
from SFDALib.bundle.open_model import open_model
from SFDALib.methods import registry

Phantoms = Callable[..., Phantom]


def stripped(phantom: Phantom, folder: Path) -> Phantom:
    """The phantom with a bundle that knows no volume and no area, as of nnU-Net."""
    bundle = shutil.copytree(phantom.bundle, folder / "bundle")
    place = bundle / "configs" / "metadata.json"
    facts = json.loads(place.read_text(encoding="utf-8"))
    for label in facts["sfda"]["labels"]:
        for key in ("size_ml", "mean_ml", "slice_area_mm2"):
            del label[key]
    place.write_text(json.dumps(facts), encoding="utf-8")
    return replace(phantom, bundle=bundle)


def single_slice(phantom: Phantom, folder: Path) -> Phantom:
    """The phantom with one of its slices as the image."""
    image = sitk.ReadImage(str(phantom.image))
    sitk.WriteImage(image[:, :, 7:8], str(folder / "slice.nrrd"))
    return replace(phantom, image=folder / "slice.nrrd")


def as_typed(phantom: Phantom) -> str:
    """What the phantom's own bundle knows, as a user types it."""
    (label,) = open_model(phantom.bundle).describe().labels
    low, high = label.size_ml
    return f"--volumes={label.name.upper()}={low:.17g}-{label.mean_ml:.17g}-{high:.17g}"


def run(phantom: Phantom, method: str, output: Path, *more: str) -> dict[str, Any]:
    assert main(["run", *words(phantom, method, output), *more]) == 0
    return report_of(output)


def test_a_result_is_judged_as_with_a_bundle_that_knows_its_volumes(
    phantom: Phantoms, tmp_path: Path
) -> None:
    made, bare = phantom(), stripped(phantom(), tmp_path)
    known = run(made, "bn-statistics", tmp_path / "known")
    typed = run(bare, "bn-statistics", tmp_path / "typed", as_typed(made))
    without = run(bare, "bn-statistics", tmp_path / "without")
    assert typed["trust"] == known["trust"]
    assert typed["trust"]["signals"]["outside_result"] is not None
    assert typed["trust"]["quality"]["result"] is not None
    assert typed["volumes"] == known["volumes"]
    assert not without["trust"]["adopted"] and without["trust"]["delivered"] == "source"
    assert without["trust"]["quality"]["result"] is None
    assert any("type plausible volumes" in reason for reason in without["trust"]["reasons"])
    (note,) = (note for note in typed["notes"] if note.startswith("Plausible volumes as typed: "))
    low, high = known["volumes"][0]["plausible_ml"]
    assert f"{known['volumes'][0]['name']} {low:g} to {high:g} ml (usually " in note
    (numbers,) = typed["typed_volumes"].values()
    assert [numbers[0], numbers[2]] == [low, high]
    assert known["typed_volumes"] == without["typed_volumes"] == {}


def test_adami_expects_the_usual_volume_and_its_bundle_keeps_what_was_typed(
    phantom: Phantoms, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare = stripped(phantom(), tmp_path)
    refused = ["run", *words(bare, "adami", tmp_path / "refused")]
    assert main(refused) == 2
    assert "or plausible volumes with --volumes" in caplog.messages[-1]
    typed = run(bare, "adami", tmp_path / "typed", "--volumes", "brain=10-60-200")
    prior = run(bare, "adami", tmp_path / "prior", "--option", "prior=60 ml")
    said = [
        next(note for note in report["notes"] if note.startswith("prior: "))
        for report in (typed, prior)
    ]
    assert said[0] == said[1]
    adapted = open_model(tmp_path / "typed" / "adapted_bundle").describe()
    assert (adapted.labels[0].size_ml, adapted.labels[0].mean_ml) == ((10, 200), 60)
    name = adapted.labels[0].name
    assert adapted.provenance["adaptation"]["typed_volumes"] == {name.lower(): [10, 60, 200]}
    again = replace(bare, bundle=tmp_path / "typed" / "adapted_bundle")
    assert run(again, "none", tmp_path / "again")["volumes"][0]["plausible_ml"] == [10, 200]


def test_the_automatic_choice_tries_adami(
    phantom: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "candidates", lambda holds: [quick_adami()])
    bare = stripped(phantom(), tmp_path)
    errors = []
    for output, more in (("typed", ["--volumes", "1=10-200"]), ("without", [])):
        request = ["run", "--bundle", bare.bundle, "--input", bare.image, "--device", "cpu"]
        assert main([*map(str, request), "--output", str(tmp_path / output), *more]) == 0
        (row,) = report_of(tmp_path / output)["auto"]["tried"]
        errors.append(row["error"])
    assert errors[0] is None and "--volumes" in errors[1]


def quick_adami() -> Any:
    """AdaMI, whose recommended number of epochs is 1."""
    adami = registry.find("adami")
    return replace(adami, recommended={**adami.recommended, "epochs": 1})


@pytest.mark.parametrize("command", ["run", "cohort", "compare", "estimate"])
def test_a_structure_that_the_model_lacks_is_refused_before_its_weights_are_read(
    phantom: Phantoms, tmp_path: Path, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    bundle = shutil.copytree(phantom().bundle, tmp_path / "bundle")
    (bundle / "models/model.pt").write_bytes(b"damaged")
    request = [command, "--bundle", bundle, "--input", phantom().image, "--device", "cpu"]
    request += [] if command == "estimate" else ["--output", tmp_path / "out"]
    assert main([*map(str, request), "--volumes", "Lever=1-2"]) == 2
    (name,) = (label.name for label in open_model(bundle).describe().labels)
    assert (
        'volumes: found "Lever", expected the name or the number of one of the model\'s'
        in (caplog.messages[-1])
    )
    assert f"{name} (1)" in caplog.messages[-1]
    assert not (tmp_path / "out").exists()
    assert main([*map(str, request), "--volumes", f"{name}=1-2"]) == 2
    assert "model.pt" in caplog.messages[-1]


def test_they_hold_for_every_image_and_method_and_for_the_post_processing(
    phantom: Phantoms, tmp_path: Path
) -> None:
    bare = stripped(phantom(), tmp_path)
    common = ["--bundle", bare.bundle, "--input", bare.image, "--device", "cpu"]
    more = ["--volumes", "1=10-200", "--postprocess", "plausible"]
    for command, which, folder in (
        ("cohort", ("--method", "bn-statistics"), "head"),
        ("compare", ("--methods", "bn-statistics"), "bn-statistics"),
    ):
        output = tmp_path / command
        assert main([*map(str, [command, *common, *which, *more, "--output", output])]) == 0
        report = report_of(output / folder)
        assert report["volumes"][0]["plausible_ml"] == [10, 200]
        assert report["typed_volumes"] == {"1": [10, 200]}
        assert [step["step"] for step in report["postprocessing"]["source"]] == [
            "drop pieces of implausible size or place"
        ]


def test_of_a_single_slice_they_say_nothing(phantom: Phantoms, tmp_path: Path) -> None:
    single = single_slice(stripped(phantom(), tmp_path), tmp_path)
    report = run(single, "bn-statistics", tmp_path / "out", "--volumes", "1=1000-2000")
    assert report["trust"]["signals"]["outside_result"] is None
    assert report["trust"]["delivered"] == "source"
    assert any("the image is a single slice" in note for note in report["notes"])
    notes = run(single, "none", tmp_path / "none", "--volumes", "1=1000-2000")["notes"]
    assert not any("outside the plausible" in note for note in notes)


def test_adami_takes_no_volume_for_a_single_slice(
    phantom: Phantoms, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    single = single_slice(stripped(phantom(), tmp_path), tmp_path)
    assert main(["run", *words(single, "adami", tmp_path / "out"), "--volumes", "1=1-3"]) == 2
    assert "found no area on a slice" in caplog.messages[-1]
