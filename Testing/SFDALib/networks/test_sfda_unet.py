"""The authors' network of AdaMI: its size, and its forward pass written down anew."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from SFDALib.networks.sfda_unet import SFDAUNet


def test_the_network_of_adami_has_the_published_size() -> None:
    network = SFDAUNet(2, 1, 2)
    assert sum(p.numel() for p in network.parameters()) == 4_678_775
    assert sum(isinstance(part, nn.BatchNorm2d) for part in network.modules()) == 22
    slopes = [part for part in network.modules() if isinstance(part, nn.PReLU)]
    assert len(slopes) == 21 and all(part.weight.tolist() == [0.25] for part in slopes)


def test_the_weights_of_adamis_network_have_the_names_and_meaning_of_its_code() -> None:
    """The forward pass written down anew, from the names in a checkpoint of that code alone."""
    torch.manual_seed(0)
    network = SFDAUNet(2, 1, 3, features=4).eval()
    for value in network.buffers():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5)
    w = network.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        return F.batch_norm(
            x, w[f"{name}.running_mean"], w[f"{name}.running_var"], w[f"{name}.weight"],
            w[f"{name}.bias"],
        )  # fmt: skip

    def block(x: Tensor, name: str, stride: int = 1) -> Tensor:
        x = F.conv2d(x, w[f"{name}.0.weight"], stride=stride, padding=1)
        return F.prelu(norm(x, f"{name}.1"), w[f"{name}.2.weight"])

    def level(x: Tensor, name: str, stride: int = 1) -> Tensor:
        return block(block(x, f"{name}.0", stride), f"{name}.1")

    def up(x: Tensor, name: str) -> Tensor:
        x = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return block(block(x, f"{name}.1"), f"{name}.2")

    x = torch.randn(2, 1, 16, 24)
    x0 = level(x, "conv0")
    x1 = level(x0, "conv1", 2)
    x2 = level(x1, "conv2", 2)
    b = block(x2, "bridge.0", 2)
    inner = block(b, "bridge.1.convs.0")
    inner = F.conv2d(inner, w["bridge.1.convs.1.weight"], w["bridge.1.convs.1.bias"], padding=1)
    b = block(F.leaky_relu(norm(inner, "bridge.1.convs.2") + b, 0.2), "bridge.2")
    y = up(level(torch.cat([up(b, "deconv1"), x2], 1), "conv5"), "deconv2")
    y = up(level(torch.cat([y, x1], 1), "conv6"), "deconv3")
    y = level(torch.cat([y, x0], 1), "conv7")
    expected = F.conv2d(y, w["final.weight"], w["final.bias"])
    with torch.no_grad():
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)
