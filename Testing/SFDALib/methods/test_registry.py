"""A method is a description file and a code file; nothing else knows of it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from small_models import image, model

from SFDALib.adaptation.common import loop
from SFDALib.errors import RequestError
from SFDALib.methods import registry
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
    defaults = method.values({}).to_dict()
    assert list(defaults) == [option.name for option in method.options]
    assert method.values(defaults) == method.values({})
    for option in method.options:
        assert option.check(option.word()) == option.default
        assert option.help.endswith(".")
