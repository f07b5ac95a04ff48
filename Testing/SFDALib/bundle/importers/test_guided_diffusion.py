"""Imported weights predict what the original's network predicts."""

from __future__ import annotations

import pytest
import torch
from original_diffusion import assert_summary, tiny_network
from original_weights import FIXTURE, fixture_tensor, tiny_original_weights

from SFDALib.bundle.importers.guided_diffusion import weights_from_guided_diffusion
from SFDALib.diffusion.schedule import cosine_schedule
from SFDALib.errors import RequestError
from SFDALib.networks.diffusion_unet import ConditionalDiffusionUNet

SCHEDULE = cosine_schedule()


# --- The network ---


@pytest.mark.parametrize("prefix", ["", "denoise_fn."])
def test_imported_weights_predict_what_the_original_predicts(prefix: str) -> None:
    original = {prefix + name: weight for name, weight in tiny_original_weights().items()}
    if prefix:
        original["betas"] = SCHEDULE.betas
    network = tiny_network()
    network.load_state_dict(weights_from_guided_diffusion(original, network))
    x = fixture_tensor("tiny_input")
    with torch.no_grad():
        out = network(x[:, :1], torch.tensor([17]), x[:, 1:])
    assert_summary(out, FIXTURE["tiny_out"])


def test_import_tells_weights_of_another_network() -> None:
    original = tiny_original_weights()
    left_over = {**original, "label_emb.weight": torch.zeros(2, 128)}
    with pytest.raises(RequestError, match=r"found 1 surplus, such as 'label_emb\.weight'"):
        weights_from_guided_diffusion(left_over, tiny_network())
    one_more_channel = ConditionalDiffusionUNet(3, 1, 3, [32, 64], 1, [False, True], [0, 64])
    with pytest.raises(RequestError, match=r"input_blocks\.0\.0\.weight.*\(32, 3, 3, 3, 3\)"):
        weights_from_guided_diffusion(original, one_more_channel)
    del original["middle_block.1.qkv.bias"]
    with pytest.raises(RequestError, match=r"found no 'middle_block\.1\.qkv\.bias'"):
        weights_from_guided_diffusion(original, tiny_network())
