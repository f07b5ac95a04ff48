"""What a training is asked for is checked before it starts."""

from __future__ import annotations

import pytest
from training_site import SEGMENTATION, Site, refused

# --- Bad requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--steps", "0"], "--steps"),
        (["--batch", "0"], "--batch"),
        (["--learning-rate", "0"], "--learning-rate"),
        (["--learning-rate", "nan"], "--learning-rate"),
        (["--seed", "-1"], "--seed"),
        (["--ema", "1.5"], "--ema"),
        (["--checkpoint-minutes", "-1"], "--checkpoint-minutes"),
        (["--config", "nowhere.json"], "nowhere.json"),
        (["--augment", "much"], "--augment"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    site: Site, more: list[str], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert expected in refused([*site.segmentation("bad"), *more], caplog)


def test_an_existing_output_is_refused(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    (site.folder / "one").mkdir()
    assert "exists already" in refused(site.segmentation("one"), caplog)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"patch_size": [30, 32]}, "patch_size"),
        ({"labels": []}, "labels"),
        ({"surprise": 1}, "surprise"),
        ({"network": {"_target_": "os.system"}}, "os.system"),
    ],
)
def test_a_bad_configuration_is_refused_in_one_line(
    site: Site, change: dict, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    words = site.segmentation("bad")
    config = site.write("bad.json", {**SEGMENTATION, **change})
    words[words.index("--config") + 1] = str(config)
    assert expected in refused(words, caplog)


# --- Patches and loss --------------------------------------------------------------------------


def test_a_diffusion_model_is_not_offered_contrasts_that_are_not_its_sources(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["train", "diffusion", "--manifest", "m", "--output", "o", "--augment", "contrast"]
    assert "--augment" in refused(words, caplog)
