"""A method is a description file and a code file; nothing else knows of it."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
from small_models import image, model

from SFDALib.adaptation.common import loop
from SFDALib.errors import RequestError
from SFDALib.methods import registry
from SFDALib.methods.method import CUSTOM
from SFDALib.methods.option import (
    PRESETS,
    PUBLISHED,
    RECOMMENDED,
    Option,
    described,
    word,
)
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.progress import silent

DESCRIPTION = """
from dataclasses import dataclass

from SFDALib.methods.method import Method, training_work
from SFDALib.methods.option import option
from SFDALib.methods.shared_options import (
    BatchNormOptions,
    batch_option,
    epochs_option,
    learning_rate_option,
)


@dataclass(frozen=True, kw_only=True)
class ToyOptions(BatchNormOptions):
    epochs: int = epochs_option(2)
    learning_rate: float = learning_rate_option(1e-3)
    batch: int = batch_option(4)
    power: int = option(2, "Power of the logits.", 1, 4)


METHOD = Method(
    name="toy",
    title="Toy",
    summary="Makes logits small.",
    paper="none",
    updates="all weights",
    needs=(),
    cost="one training pass over the images an epoch",
    options_type=ToyOptions,
    entry="toy_code:Toy",
    adapts=True,
    own_work=lambda options: training_work(options.epochs),
)
"""
CODE = """
from SFDALib.adaptation.common.recipe import Recipe


class Toy(Recipe):
    def loss(self, indices):
        logits = self.setting.logits(self.patches.batch(indices))
        return logits.abs().pow(self.options.power).mean()
"""


def test_a_method_is_added_by_a_description_and_a_code_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_description.py").write_text(DESCRIPTION)
    (tmp_path / "toy_code.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    toy = importlib.import_module("toy_description").METHOD
    monkeypatch.setitem(registry.METHODS, toy.name, toy)

    found = registry.find("toy")
    names = [option.name for option in found.options]
    assert names[:5] == ["epochs", "learning_rate", "batch", "power", "bn"]
    assert names[-2:] == ["overlap", "mirror"]
    assert found.to_dict()["options"][3]["high"] == 4
    with pytest.raises(RequestError, match=r'power: found "5", expected a whole number from 1'):
        found.values({"power": "5"})
    source = model()
    outcome = loop.adapt(found, source, [image()], found.values({"power": "1"}), 0, silent)
    losses = outcome.curves["training_loss"]
    assert len(losses) == 4, "source, re-estimated statistics, two epochs"
    assert losses[3] < losses[1]
    before = source.network.state_dict()
    assert outcome.weights.keys() == before.keys()
    assert found.work(found.values({})).epochs == 2


@pytest.mark.parametrize("name", registry.METHODS)
def test_the_defaults_of_every_method_pass_its_own_checks(name: str) -> None:
    method = registry.METHODS[name]
    published = method.values({}, PUBLISHED)
    assert list(published.to_dict()) == [option.name for option in method.options]
    assert published == method.options_type()
    for preset in PRESETS:
        values = method.values({}, preset).to_dict()
        assert values == method.preset(preset)
        assert method.values(values) == method.values({}, preset)
        for option in method.options:
            assert option.check(word(option.value(preset))) == values[option.name]
    for option in method.options:
        assert option.help.endswith(".")
        assert bool(option.none) == option.optional, "what none means, where it is a value"


@pytest.mark.parametrize("name", registry.METHODS)
def test_recommended_values_are_of_the_options_type_and_range_and_differ_from_the_papers(
    name: str,
) -> None:
    """Those of inference are the same in both, as the methods of a comparison share them."""
    method = registry.METHODS[name]
    options = {option.name: option for option in method.options}
    inference = {option.name for option in described(InferenceOptions)}
    assert method.recommended.keys() <= options.keys() - inference
    for option, value in method.recommended.items():
        checked = options[option].check(value)
        assert (type(checked), checked) == (type(value), value)
        assert value != options[option].published
        assert options[option].recommended == value


def test_given_options_go_on_top_of_a_preset_and_values_tell_which_it_is() -> None:
    method = replace(registry.find("adami"), recommended={"epochs": 6, "learning_rate": 1e-4})
    usual, published = method.values({}), method.values({}, PUBLISHED)
    assert (usual.epochs, usual.learning_rate, usual.batch) == (6, 1e-4, 24)
    assert (published.epochs, published.learning_rate, published.batch) == (100, 1e-6, 24)
    given = method.values({"epochs": "7"}), method.values({"epochs": 7}, PUBLISHED)
    assert [(one.epochs, one.learning_rate) for one in given] == [(7, 1e-4), (7, 1e-6)]
    every = [usual, published, *given, method.values({"epochs": 6})]
    assert [method.preset_of(one.to_dict()) for one in every] == [
        *PRESETS,
        *(CUSTOM, CUSTOM),
        RECOMMENDED,
    ]
    none = registry.find("none")
    assert none.preset_of(none.values({}, PUBLISHED).to_dict()) == RECOMMENDED, "they are the same"


def test_an_option_names_its_default_and_its_published_value() -> None:
    method = replace(registry.find("adami"), recommended={"epochs": 6})
    with pytest.raises(RequestError, match=r"the default is 6, published 100$"):
        method.values({"epochs": 0})
    with pytest.raises(RequestError, match=r"the default is 24$"):
        method.values({"batch": 0})
    epochs = method.to_dict()["options"][0]
    assert (epochs["recommended"], epochs["published"]) == (6, 100)


def test_an_option_is_told_with_its_unit_and_what_none_means() -> None:
    limit = Option(
        *("time_limit", None, None, "Time for an image.", 1, 1e6),
        **{"optional": True, "unit": "s", "none": "300 s on a CPU"},
    )
    values = "a number from 1 to 1000000 s or none: 300 s on a CPU"
    assert limit.title == "Time limit (s)"
    assert limit.in_words() == f"Time for an image. A{values[1:]}; default none."
    with pytest.raises(RequestError, match=f'found "0", expected {values}; the default is none'):
        limit.check("0")
    assert (limit.to_dict()["unit"], limit.to_dict()["none"]) == ("s", "300 s on a CPU")
    titles = {name: Option(name, 1, 1, "Help.").title for name in ("lr_decay", "tau1", "settle_bn")}
    assert list(titles.values()) == ["LR decay", "Tau1", "Settle BN"]


def test_the_time_limit_is_told_as_what_it_is_on_each_device() -> None:
    limit = registry.find("auto").options[0]
    assert (limit.title, limit.none) == ("Time limit (s)", "300 s on a CPU, 120 s on a GPU")
