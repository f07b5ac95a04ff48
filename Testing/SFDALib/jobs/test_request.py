"""Requests: one dataclass for each form, from which command line and job files are derived."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from SFDALib.commands.arguments import Parser, add_request, request_of
from SFDALib.errors import RequestError
from SFDALib.jobs.fields import Whole, described, described_fields
from SFDALib.jobs.request import Cohort, Comparison, Job, Request
from SFDALib.methods import registry

FILES = {"bundle": "b", "input": ("i.nrrd",), "output": "o"}
FORMS = (
    Job(**FILES, method="heal", options={"samples": 2}, gate="off"),
    Cohort(**FILES, method="adami", adapt="once", seed=3, postprocess="smooth,largest"),
    Comparison(**FILES, methods={"heal": {"samples": 2}}, probabilities=True),
    Job(**FILES, method="adami", options={"epochs": 7}, preset="published"),
)


def typed(form: type[Request], *argv: str) -> Request:
    """The request that is typed on a command line."""
    parser = Parser(prog="test")
    add_request(parser, form)
    return request_of(form, parser.parse_args(argv))


def test_the_help_of_the_gate_says_which_segmentation_each_value_delivers() -> None:
    (help,) = (help for one, _, help in described_fields(Job) if one.name == "gate")
    on, off = help.partition("on (default): ")[2].split("; off: ")
    assert on.startswith("the method's where") and on.endswith("else the source model's")
    assert off.startswith("always the method's")


@dataclass(frozen=True, kw_only=True)
class Zoomed(Job):
    """A job with one option more: all that adding an option to a request takes."""

    zoom: int = field(default=1, metadata=described(Whole(1, 8), "magnification of the picture"))


class TestAnOptionThatIsAddedAsAField:
    argv = ("--bundle", "b", "--input", "i.nrrd", "--method", "none", "--output", "o")

    def test_is_an_argument_with_its_help(self) -> None:
        assert typed(Zoomed, *self.argv).zoom == 1
        assert typed(Zoomed, *self.argv, "--zoom", "3").zoom == 3
        parser = Parser(prog="test")
        add_request(parser, Zoomed)
        assert "magnification of the picture" in parser.format_help()

    def test_is_a_field_of_the_job_file_and_survives_the_way_through_it(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "job.json"
        path.write_text(json.dumps(Zoomed(**FILES, method="none", zoom=5).to_dict()))
        assert Zoomed.from_file(path).zoom == 5
        assert typed(Zoomed, "--job", str(path)).zoom == 5
        with pytest.raises(RequestError, match='found the field "zoom", expected only bundle'):
            Job.from_file(path)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [("9", "zoom: found 9, expected 1 to 8"), ("much", "invalid int value")],
    )
    def test_is_checked_on_the_command_line(self, value: str, expected: str) -> None:
        with pytest.raises(RequestError, match=expected):
            typed(Zoomed, *self.argv, "--zoom", value)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (9, "zoom: found 9, expected 1 to 8"),
            ("3", "field \"zoom\": found '3', expected a whole"),
        ],
    )
    def test_is_checked_in_a_job_file(self, tmp_path: Path, value: Any, expected: str) -> None:
        values = Zoomed(**FILES, method="none").to_dict() | {"zoom": value}
        (tmp_path / "job.json").write_text(json.dumps(values))
        with pytest.raises(RequestError, match=expected):
            typed(Zoomed, "--job", str(tmp_path / "job.json"))

    def test_is_refused_beside_a_job_file(self) -> None:
        with pytest.raises(RequestError, match="found --zoom beside --job"):
            typed(Zoomed, "--job", "job.json", "--zoom", "3")


@pytest.mark.parametrize("request_", FORMS, ids=lambda one: type(one).__name__)
class TestEveryForm:
    def test_survives_the_way_through_its_file(self, tmp_path: Path, request_: Request) -> None:
        path = tmp_path / "job.json"
        for one in (request_, request_.checked()):
            path.write_text(json.dumps(one.to_dict()))
            assert type(one).from_file(path).checked() == request_.checked()

    def test_is_the_same_checked_twice(self, request_: Request) -> None:
        checked = request_.checked()
        assert checked.checked() == checked

    def test_can_be_given_as_a_job_file(self, tmp_path: Path, request_: Request) -> None:
        path = tmp_path / "job.json"
        path.write_text(json.dumps(request_.to_dict()))
        assert typed(type(request_), "--job", str(path)) == request_.checked()

    def test_has_a_help_text_for_every_argument(self, request_: Request) -> None:
        for one, kind, help in described_fields(type(request_)):
            assert help and all(words["help"] for words in kind.arguments(one.name, help).values())


@pytest.mark.parametrize("form", [Job, Cohort, Comparison])
def test_post_processing_is_asked_for_by_words_or_by_a_list(
    form: type[Request], tmp_path: Path
) -> None:
    argv = ("--bundle", "b", "--input", "i.nrrd", "--output", "o")
    argv += ("--methods", "tent") if form is Comparison else ("--method", "tent")
    assert typed(form, *argv).postprocess == "bundle"
    request_ = typed(form, *argv, "--postprocess", "largest, smooth")
    assert request_.postprocess == "largest, smooth"
    path = tmp_path / "job.json"
    path.write_text(json.dumps(request_.to_dict() | {"postprocess": ["largest", "smooth"]}))
    assert form.from_file(path).checked().postprocess == "largest,smooth"
    for wrong in ("biggest", "off,smooth", "bundle,off", ""):
        with pytest.raises(RequestError, match=r"postprocess: found .* expected bundle, off, or"):
            typed(form, *argv, "--postprocess", wrong)
    path.write_text(json.dumps(request_.to_dict() | {"postprocess": [1]}))
    with pytest.raises(RequestError, match=r'"postprocess": found \[1\], expected text or a list'):
        form.from_file(path)


@pytest.mark.parametrize("form", [Job, Cohort, Comparison])
class TestPlausibleVolumes:
    argv = ("--bundle", "b", "--input", "i.nrrd", "--output", "o")

    def test_are_typed_and_stand_in_a_job_file_as_an_object_or_as_the_same_text(
        self, form: type[Request], tmp_path: Path
    ) -> None:
        argv = (*self.argv, *(("--methods", "tent") if form is Comparison else ()))
        assert typed(form, *argv).volumes == ()
        text = "Liver=900-1500-2500,Tumour=1-300"
        request_ = typed(form, *argv, "--volumes", text)
        plain = request_.to_dict()
        assert plain["volumes"] == {"Liver": [900, 1500, 2500], "Tumour": [1, 300]}
        path = tmp_path / "job.json"
        for stored in (plain, plain | {"volumes": text}):
            path.write_text(json.dumps(stored))
            assert typed(form, "--job", str(path)) == request_

    @pytest.mark.parametrize(
        ("stored", "said"),
        [
            ("Liver=900", "volumes: found .* expected NAME=SMALLEST-LARGEST"),
            ([900, 2500], '"volumes": found .* expected text or an object such as'),
            ({"Liver": 900}, '"volumes": found 900, expected text or an object such as'),
            ({"Liver": [900]}, r'"volumes": found \[900\], expected'),
            ({"Liver": [1, 2, 3, 4]}, '"volumes": found'),
            ({"Liver": ["1", 2]}, '"volumes": found'),
            ({"Liver": [True, 2]}, '"volumes": found'),
            ({"Liver": [1, 10**400]}, '"volumes": found'),
            ({"Liver": [2, 1]}, "volumes: found Liver=2-1, expected smallest <="),
            ({"Liver": [0, 1]}, "volumes: found Liver=0-1, expected smallest <="),
            ({"Liver": [1, 2], "LIVER": [1, 3]}, "volumes: .* expected each structure once"),
        ],
    )
    def test_of_another_form_are_refused(
        self, form: type[Request], tmp_path: Path, stored: Any, said: str
    ) -> None:
        values = {"bundle": "b", "input": "i.nrrd", "output": "o", "volumes": stored}
        values |= {"methods": {"tent": {}}} if form is Comparison else {}
        (tmp_path / "job.json").write_text(json.dumps(values))
        with pytest.raises(RequestError, match=said):
            typed(form, "--job", str(tmp_path / "job.json"))

    def test_name_each_structure_once(self, form: type[Request]) -> None:
        argv = (*self.argv, *(("--methods", "tent") if form is Comparison else ()))
        with pytest.raises(RequestError, match='found "Liver" and "liver", expected each'):
            typed(form, *argv, "--volumes", "Liver=1-2,liver=1-2")


def test_a_cohort_that_adapts_once_needs_a_method_that_adapts() -> None:
    with pytest.raises(RequestError, match="method heal updates no weights"):
        Cohort(**FILES, method="heal", adapt="once").checked()
    with pytest.raises(RequestError, match='adapt: found "twice", expected auto or each or once'):
        Cohort(**FILES, method="adami", adapt="twice").checked()


class TestThePreset:
    """Of AdaMI with 7 epochs, whose learning rate is then the preset's."""

    argv = ("--bundle", "b", "--input", "i.nrrd", "--output", "o", "--method", "adami")

    @pytest.fixture(autouse=True)
    def recommended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        values = {"epochs": 6, "learning_rate": 1e-4}
        method = replace(registry.find("adami"), recommended=values)
        monkeypatch.setitem(registry.METHODS, "adami", method)

    @pytest.mark.parametrize(
        ("words", "rate"),
        [((), 1e-4), (("--preset", "recommended"), 1e-4), (("--preset", "published"), 1e-6)],
    )
    @pytest.mark.parametrize("form", [Job, Cohort])
    def test_gives_the_options_that_are_not_typed(
        self, form: type[Job], words: tuple[str, ...], rate: float
    ) -> None:
        options = typed(form, *self.argv, "--option", "epochs=7", *words).options
        assert (options["epochs"], options["learning_rate"]) == (7, rate)

    @pytest.mark.parametrize(("words", "rate"), [((), 1e-4), (("--preset", "published"), 1e-6)])
    def test_is_that_of_every_method_of_a_comparison(
        self, words: tuple[str, ...], rate: float
    ) -> None:
        argv = ("--methods", "adami,tent", "--option", "adami.epochs=7")
        methods = typed(Comparison, *self.argv[:-2], *argv, *words).methods
        assert (methods["adami"]["epochs"], methods["adami"]["learning_rate"]) == (7, rate)
        tent = registry.find("tent").values({}, words[-1] if words else "recommended")
        assert methods["tent"] == tent.to_dict()

    def test_is_recommended_in_a_job_file_from_before_there_were_presets(
        self, tmp_path: Path
    ) -> None:
        values = Job(**FILES, method="adami").to_dict()
        assert values.pop("preset") == "recommended"
        (tmp_path / "job.json").write_text(json.dumps(values))
        job = typed(Job, "--job", str(tmp_path / "job.json"))
        assert (job.preset, job.options["learning_rate"]) == ("recommended", 1e-4)

    def test_is_refused_if_there_is_none_of_that_name(self, tmp_path: Path) -> None:
        for preset, expected in (
            ("fast", 'preset: found "fast", expected recommended or'),
            (1, "text"),
        ):
            values = Job(**FILES, method="adami").to_dict() | {"preset": preset}
            (tmp_path / "job.json").write_text(json.dumps(values))
            with pytest.raises(RequestError, match=expected):
                typed(Job, "--job", str(tmp_path / "job.json"))
        with pytest.raises(RequestError, match="invalid choice: 'fast'"):
            typed(Job, *self.argv, "--preset", "fast")
