"""Entropy and prior: class weights, presence of classes, and what is trained."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from paths import PARITY
from recipe_settings import Linear, setting
from small_models import DYNUNET, adapt, model
from taught_head import adapt_head, changed, last_state, source, statistics

from SFDALib.adaptation.adaent import AdaEnt
from SFDALib.adaptation.adami import AdaMI
from SFDALib.adaptation.common import losses, prior_entropy
from SFDALib.errors import RequestError
from SFDALib.networks.build import build_network

SFDA = json.loads((PARITY / "sfda_losses.json").read_text())


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([256 * 36 - 1175, 1175], SFDA["get_weights_binary_1175px_of_256x36"]),
        ([65536 - 17617, 4428, 4996, 4487, 3706], SFDA["get_weights_whs_sizes"]),
        ([65536 - 17617, 4428, 4996, 4487, 3706], SFDA["get_weights_whs_with_bg"]),
    ],
)
def test_automatic_class_weights_are_the_originals(sizes: list[int], expected: list[float]) -> None:
    tau = torch.tensor(sizes) / sum(sizes)
    weights = prior_entropy.class_weights("auto", tau[None])
    assert weights.tolist() == pytest.approx(expected, abs=0.005)  # they round to 0.01


def test_typed_class_weights_are_taken_as_they_are() -> None:
    tau = torch.tensor([[0.8, 0.2]])
    assert prior_entropy.class_weights("0.1, 0.9", tau).tolist() == pytest.approx([0.1, 0.9])


@pytest.mark.parametrize("text", ["0.1", "0.1,0.9,0.2", "a,b", "-1,2", ""])
def test_class_weights_of_the_wrong_kind_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="class_weights"):
        prior_entropy.class_weights(text, torch.tensor([[0.8, 0.2]]))


def test_notag_drops_classes_that_are_hardly_predicted() -> None:
    """100 pixels: class 1 on 2 (not more than 2 %), class 2 on 3; then no foreground at all."""
    labels = torch.zeros(2, 100, dtype=torch.long)
    labels[0, :2], labels[0, 2:5] = 1, 2
    p = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float().reshape(2, 3, 10, 10)
    kept = prior_entropy.predicted_classes(p, threshold=0.02)
    assert kept.tolist() == [[1, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("method", ["adami", "adaent"])
@pytest.mark.parametrize("bn", ["train", "eval"])
def test_prior_methods_train_all_weights_and_statistics_if_asked(method: str, bn: str) -> None:
    outcome = last_state(method, epochs=3, bn=bn, settle_bn=False)
    names, every = changed(outcome, source()), statistics(outcome.weights)
    assert statistics(names) == (every if bn == "train" else set())
    # A shift of the logits before a BN that uses the batch's statistics has no effect at all.
    untrained = {"out_path.1.convolution.bias"} if bn == "train" else set()
    assert set(outcome.weights) - every - names <= untrained


@pytest.mark.parametrize("presence", ["volume", "select", "notag", "all", "tags"])
def test_every_rule_of_presence_adapts(presence: str) -> None:
    tags = {"tags": "0" + 7 * "1" + "0"} if presence == "tags" else {}
    outcome = adapt_head("adami", epochs=1, presence=presence, learning_rate=1e-5, **tags)
    assert np.isfinite(outcome.curves["criterion"]).all()
    (note,) = outcome.notes
    positive = {"tags": "7 positive", "all": "9 positive", "notag": "9 positive"}
    assert positive.get(presence, "") in note


@pytest.mark.parametrize("method", ["adami", "adaent"])
@pytest.mark.parametrize(
    ("network", "given", "rate", "told"),
    [
        (None, None, 1e-4, ["learning rate: 0.0001, for a network with batch normalisation"]),
        (DYNUNET, None, 3e-4, ["learning rate: 0.0003, for a network without batch normalisation"]),
        (DYNUNET, 1e-6, 1e-6, []),
    ],
)
def test_the_learning_rate_depends_on_the_network_unless_it_is_given(
    method: str, network: dict[str, Any] | None, given: float | None, rate: float, told: list[str]
) -> None:
    source = model()
    if network:
        described = replace(source.description, network=network)
        source = replace(source, description=described, network=build_network(network))
    recipe = {"adami": AdaMI, "adaent": AdaEnt}[method](
        setting(method, source, learning_rate=given)
    )
    assert recipe.optimiser().param_groups[0]["lr"] == rate
    assert recipe.notes[1:] == told


def note_of(**options: Any) -> str:
    """1200 mm2 a slice, of 16 x 16 pixels of 3 x 3 x 4 mm: 9.216 ml."""
    return adapt("adami", model(), epochs=1, learning_rate=0, **options).notes[0]


def test_a_volume_in_ml_is_spread_over_the_tagged_slices() -> None:
    """9.216 ml in 4 of 8 slices: a quarter of each; the source's own prediction has no say."""
    assert "Brain 25.0 %" in note_of(prior="9.216 ml", presence="tags", tags="00111100")
    assert "Brain 50.0 %" in note_of(prior="9.216 ml", presence="tags", tags="00011000")
    assert "Brain 12.5 %" in note_of(prior="9.216 ml", presence="all")


@pytest.mark.parametrize("method", ["adami", "adaent"])
def test_the_loss_by_the_whole_volume_does_not_depend_on_the_batch(method: str) -> None:
    """Of a fixed network: the entropy is a mean, and the ratio is that of all eight slices, of
    which the middle four show a block.
    """
    source = replace(model(), network=Linear(torch.tensor([[8.0]]), torch.tensor([-4.0])))
    found = []
    for batch in (1, 2, 8):
        options = {"prior": "0.2", "learning_rate": 0, "bn": "eval", "settle_bn": False}
        found.append(adapt(method, source, batch=batch, **options).curves["training_loss"])
    assert np.ptp(found, axis=0) == pytest.approx(0, abs=1e-5)
    one = setting(method, source, prior="0.2", bn="eval")
    with torch.no_grad():
        p = one.probabilities(one.patches.batch(range(8)))
    ratio = losses.class_ratio(p).mean(0, keepdim=True)
    tau = torch.tensor([[0.8, 0.2]])
    term = losses.ratio_given_prior if method == "adami" else losses.prior_given_ratio
    weights = torch.tensor([0.2, 0.8])  # the inverse sizes
    expected = losses.weighted_entropy(p, weights) + term(ratio, tau)
    assert found[0][0] == pytest.approx(expected.item(), rel=1e-5)
