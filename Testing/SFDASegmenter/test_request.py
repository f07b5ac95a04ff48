"""What the panel asks for, and the one line that says why it cannot be done; without Slicer."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from SFDASegmenterLib import words
from SFDASegmenterLib.request import Image, Request
from SFDASegmenterLib.worker import Progress

from SFDALib.__main__ import parser as command_line
from SFDALib.jobs.inspect import inspect
from SFDALib.jobs.labelled import Labelled, parse
from SFDALib.jobs.request import Comparison, Job
from SFDALib.methods import registry
from SFDALib.methods.option import option
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.volume.reading import Reading

HEAD = Image("head", ("node1",), channels=1)


@pytest.fixture
def request_(tiny_bundle: Path) -> Request:
    return Request((HEAD,), str(tiny_bundle), "heal")


def test_a_good_request_is_not_refused(request_: Request) -> None:
    assert request_.refusal() is None


def test_without_a_model_or_a_volume_the_user_is_told_to_choose_one(request_: Request) -> None:
    assert replace(request_, bundle="").refusal() == "Choose a source model."
    assert replace(request_, images=()).refusal() == "Choose a volume."


def test_a_folder_that_is_no_bundle_is_named_with_what_is_missing(
    request_: Request, tmp_path: Path
) -> None:
    reason = replace(request_, bundle=str(tmp_path)).refusal()
    assert str(tmp_path) in reason
    assert "metadata.json" in reason
    assert "\n" not in reason


def test_an_option_out_of_range_is_told_with_its_range(request_: Request) -> None:
    reason = replace(request_, options={"samples": 0}).refusal()
    assert "samples" in reason
    assert "from 1" in reason


def test_a_color_image_for_a_model_of_one_channel_is_refused_with_the_module_that_helps(
    request_: Request,
) -> None:
    reason = replace(request_, images=(Image("photo", ("node1",), channels=3),)).refusal()
    assert "photo: found 3 channel(s), expected 1" in reason
    assert "Vector to Scalar Volume" in reason


def test_one_volume_for_two_channels_is_refused(request_: Request, phantom: object) -> None:
    bundle = str(phantom(channels=3).bundle)
    image = Image("head", ("node1", "node2", "node1"), channels=3)
    assert (
        "same volume for two channels"
        in replace(request_, bundle=bundle, images=(image,)).refusal()
    )


def test_adapting_once_asks_for_a_method_that_adapts(request_: Request) -> None:
    several = replace(request_, images=(HEAD, HEAD), adapt="once")
    assert "updates no weights" in several.refusal()
    for method in ("auto", "adami"):
        assert replace(several, method=method).refusal() is None
    for adapt in ("auto", "each"):
        assert replace(several, adapt=adapt).refusal() is None
    assert replace(several, images=(HEAD,)).refusal() is None


def test_the_library_decides_how_several_images_are_adapted_to_unless_the_user_does(
    request_: Request, tmp_path: Path
) -> None:
    several = replace(request_, images=(HEAD, HEAD))
    files = [tmp_path / "1.nrrd", tmp_path / "2.nrrd"]
    for asked in ("auto", "each", "once"):
        request = several if asked == "auto" else replace(several, adapt=asked)
        typed = command_line().parse_args(request.words(files, tmp_path, tmp_path / "out"))
        assert typed.adapt == asked


def test_one_image_becomes_a_job_file_that_the_command_reads_back(
    request_: Request, tmp_path: Path
) -> None:
    options = {"steps": 7, "canny_sigma": None}
    request = replace(
        request_, options=options, preset="published", seed=4, device="cpu", gate="off"
    )
    words_ = request.words([tmp_path / "a.nrrd"], tmp_path, tmp_path / "out")
    assert words_[:2] == ["run", "--job"]
    job = Job.from_file(Path(words_[2]))
    assert (job.method, job.seed, job.device, job.gate) == ("heal", 4, "cpu", "off")
    assert job.input == (str(tmp_path / "a.nrrd"),)
    assert (job.options, job.preset) == ({"steps": 7, "canny_sigma": None}, "published")
    assert json.loads(Path(words_[2]).read_text(encoding="utf-8"))["output"] == str(
        tmp_path / "out"
    )


@dataclass(frozen=True, kw_only=True)
class TurningOptions(InferenceOptions):
    turns: int = option(1, "Half turns.", 1, 3)


def test_a_method_that_the_registry_has_can_be_asked_for(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The panel has no list of its own: a new method's options are checked and sent at once."""
    new = replace(registry.find("none"), name="turned", title="Turned", options_type=TurningOptions)
    asked = replace(request_, method="turned", options={"turns": 3})
    assert "turned" in asked.refusal()
    monkeypatch.setitem(registry.METHODS, "turned", new)
    assert asked.refusal() is None
    assert "from 1 to 3" in replace(asked, options={"turns": 4}).refusal()
    words_ = asked.words([tmp_path / "a.nrrd"], tmp_path, tmp_path / "out")
    job = Job.from_file(Path(words_[2]))
    assert (job.method, job.options) == ("turned", {"turns": 3})


def test_post_processing_is_asked_for_in_every_form(request_: Request, tmp_path: Path) -> None:
    off = replace(request_, postprocess="off")
    words_ = off.words([tmp_path / "a.nrrd"], tmp_path, tmp_path / "out")
    assert Job.from_file(Path(words_[2])).postprocess == "off"
    compared = replace(off, compared={"none": {}, "heal": {}})
    words_ = compared.words([tmp_path / "a.nrrd"], tmp_path, tmp_path / "out")
    assert Comparison.from_file(Path(words_[2])).postprocess == "off"
    many = replace(off, images=(HEAD, HEAD))
    words_ = many.words([tmp_path / "1.nrrd", tmp_path / "2.nrrd"], tmp_path, tmp_path / "out")
    assert words_[words_.index("--postprocess") + 1] == "off"


def test_plausible_volumes_are_asked_for_in_every_form(request_: Request, tmp_path: Path) -> None:
    asked, plain = replace(request_, volumes="brain=900-2500"), {"brain": [900, 2500]}
    assert asked.refusal() is None
    words_ = asked.words([tmp_path / "a.nrrd"], tmp_path, tmp_path / "out")
    assert Job.from_file(Path(words_[2])).to_dict()["volumes"] == plain
    compared = replace(asked, compared={"none": {}, "heal": {}})
    words_ = compared.words([tmp_path / "a.nrrd"], tmp_path, tmp_path / "out")
    assert Comparison.from_file(Path(words_[2])).to_dict()["volumes"] == plain
    many, files = replace(asked, images=(HEAD, HEAD)), [tmp_path / "1.nrrd", tmp_path / "2.nrrd"]
    typed = command_line().parse_args(many.words(files, tmp_path, tmp_path / "out"))
    assert typed.volumes == "brain=900-2500"
    none = replace(many, volumes="")
    typed = command_line().parse_args(none.words(files, tmp_path, tmp_path / "out"))
    assert typed.volumes is None


@pytest.mark.parametrize(
    ("text", "said"), [("Brain=900", "NAME=SMALLEST-LARGEST"), ("Liver=1-2", "Brain (1)")]
)
def test_plausible_volumes_that_cannot_be_are_told(request_: Request, text: str, said: str) -> None:
    assert said in replace(request_, volumes=text).refusal()


def test_the_volumes_that_a_model_knows_are_shown_as_they_are_typed(tiny_bundle: Path) -> None:
    facts = inspect(tiny_bundle)
    assert words.plausible_volumes(facts) == "Brain=10-200"
    assert "Plausible volumes" not in words.bundle_details(facts)
    facts["labels"][0]["size_ml"] = None
    assert words.plausible_volumes(facts) == "not known; such as Brain=900-2500"
    assert "type them under Advanced" in words.bundle_details(facts)
    assert "import-model --labels" in words.bundle_details(facts)


def test_a_comparison_becomes_a_job_file_with_every_method(
    request_: Request, tmp_path: Path
) -> None:
    compared = {"none": {}, "heal": {"steps": 7}, "adami": {}}
    request = replace(request_, compared=compared, preset="published")
    words_ = request.words([tmp_path / "a.nrrd"], tmp_path, tmp_path / "out")
    assert words_[:2] == ["compare", "--job"]
    comparison = Comparison.from_file(Path(words_[2]))
    assert (comparison.methods, comparison.preset) == (compared, "published")
    bad = replace(request_, compared={"none": {}, "heal": {"steps": 0}})
    assert "steps" in bad.refusal()


def test_several_images_become_a_cohort_of_their_folder(request_: Request, tmp_path: Path) -> None:
    options = {"settle_bn": False, "stop_change": None, "epochs": 3}
    request = replace(request_, images=(HEAD, HEAD), method="early-features", options=options)
    words_ = request.words([tmp_path / "1.nrrd", tmp_path / "2.nrrd"], tmp_path, tmp_path / "out")
    assert words_[0] == "cohort"
    assert words_[words_.index("--input") + 1 :] == [str(tmp_path)]
    assert words_[words_.index("--preset") + 1] == "recommended"
    assert {"--option=settle_bn=false", "--option=stop_change=none", "--option=epochs=3"} <= set(
        words_
    )


def test_labels_probabilities_and_resampling_reach_the_command_of_one_image_and_of_several(
    request_: Request, tmp_path: Path
) -> None:
    labels = (Labelled("m.nrrd", ("a.nrrd",)), Labelled("n.nrrd", ("b.nrrd", "c.nrrd")))
    asked = replace(
        request_,
        method="few-labels",
        labels=labels,
        probabilities=True,
        reading=Reading(resample_channels=True),
    )
    assert asked.refusal() is None
    job = Job.from_file(Path(asked.words([tmp_path / "a.nrrd"], tmp_path, tmp_path / "out")[2]))
    assert (job.labels, job.probabilities) == (labels, True)
    assert job.reading.resample_channels
    several = replace(asked, images=(HEAD, HEAD))
    files = [tmp_path / "1.nrrd", tmp_path / "2.nrrd"]
    words_ = several.words(files, tmp_path, tmp_path / "out")
    typed = command_line().parse_args(words_)
    assert parse(typed.labels) == labels
    assert typed.probabilities and typed.resample_channels
    plain = replace(several, method="none", labels=(), probabilities=False, reading=Reading())
    words_ = plain.words(files, tmp_path, tmp_path / "out")
    assert not {"--labels", "--probabilities", "--resample-channels"} & set(words_)


def test_labels_and_the_method_that_learns_from_them_come_together(request_: Request) -> None:
    labels = (Labelled("m.nrrd", ("a.nrrd",)),)
    assert "segmentations to learn from" in replace(request_, method="few-labels").refusal()
    assert "m.nrrd, expected none for heal" in replace(request_, labels=labels).refusal()


def test_progress_is_said_with_step_and_time() -> None:
    now = Progress("sampling", 3, 40, 95.0, "head (2 of 3)")
    assert words.progress(now) == (
        "head (2 of 3): Sampling, step 3 of 40, about 2 min left in this stage"
    )
    assert words.progress(Progress("starting")) == "Starting"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (320.5, 1801.0, "+1,480 (+462 %)"),
        (100.0, 97.5, "−2.5 (−2 %)"),
        (0.0, 12.0, "+12"),
        (5.0, 5.0, "0 (+0 %)"),
    ],
)
def test_a_change_of_volume_is_said_in_ml_and_per_cent(
    before: float, after: float, said: str
) -> None:
    assert words.change(before, after) == said


def test_every_method_is_described_in_rich_text_without_raw_brackets() -> None:
    for method in registry.METHODS.values():
        text = words.method_details(method)
        assert method.paper.split("&")[0][:20] in text
        assert ".." not in text
