"""What the panel asks before a run: devices, and the time and memory that it will take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from SFDALib.__main__ import main
from SFDALib.jobs import estimate, trial
from SFDALib.machine import devices
from SFDALib.methods import registry
from SFDALib.methods.method import Work
from SFDALib.methods.option import PRESETS
from SFDALib.methods.registry import METHODS
from SFDALib.networks.build import build_network

SIZE, SPACING = "36,40,14", "2.5,2.2,6"


@pytest.fixture
def ask(tiny_bundle: Path, capsys: pytest.CaptureFixture) -> Callable[..., dict[str, Any]]:
    """``ask(method or methods, words)``: the answer about the test's bundle and image."""

    def asked(method: str, *words: str) -> dict[str, Any]:
        which = "--methods" if "," in method else "--method"
        request = ["estimate", "--bundle", str(tiny_bundle), which, method, "--device", "cpu"]
        request += ["--size", SIZE, "--spacing", SPACING, "--json", *words]
        capsys.readouterr()
        assert main(request) == 0
        return json.loads(capsys.readouterr().out)

    return asked


def test_the_processor_is_always_among_the_devices(capsys: pytest.CaptureFixture) -> None:
    assert main(["devices", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed[0]["name"] == "cpu"
    assert "thread" in listed[0]["title"]


@pytest.mark.parametrize(
    ("method", "given", "work"),
    [
        ("none", {}, Work(passes=1, epochs=0, draws=0)),
        ("heal", {"samples": 3, "steps": 7}, Work(passes=7, draws=21, samples=3)),
        ("adami", {"epochs": 5}, Work(passes=11, epochs=5, networks=1)),
        # each decoder sees every patch
        ("upl", {"epochs": 5, "decoders": 3}, Work(passes=11, epochs=5, views=3, networks=1)),
        # the source, 3 members, 2 views of the source and of each member, 3 x 4 looks
        (
            "dg-tta",
            {"epochs": 4, "patches": 5, "ensemble": 3},
            Work(passes=1 + 3 + 8 + 12, patches=60, views=2, networks=3),
        ),
        # pseudo-labels by 3 views of the source and of the settled network
        (
            "muvi",
            {"epochs": 1},
            Work(passes=6 + 1 + 6, epochs=1, views=3, sliding=True, networks=1),
        ),
        # statistics and 5 blends beside the source's, and the judge's 2 views of the source
        ("intent", {"blends": 6}, Work(passes=1 + 6 + 2, epochs=0, draws=0)),
    ],
)
def test_the_work_of_a_method_follows_its_options(
    method: str, given: dict[str, int], work: Work
) -> None:
    chosen = METHODS[method]
    assert chosen.work(chosen.values(given)) == work


def test_each_pass_draw_and_volume_adds_its_time(
    ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "seconds_of_patch", lambda *_arguments: 0.25)  # of one patch
    # 30 x 29 voxels of 3 mm in each of 14 slices: one patch of 32 x 32 a slice
    once = 14 * 0.25
    start = estimate.START
    assert ask("none")["seconds"] == pytest.approx(start + once)
    assert ask("none", "--images", "3")["seconds"] == pytest.approx(start + 3 * once)
    draws = ask("heal", "--option", "samples=2", "--option", "steps=5")["seconds"]
    assert draws == pytest.approx(start + 6 * once + 10 * once)
    epochs = ask("adami", "--option", "epochs=2")["seconds"]
    assert epochs == pytest.approx(start + 8 * once + 2 * trial.BACKWARD * once)


def test_options_that_are_not_given_have_the_values_of_the_preset(
    ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "seconds_of_patch", lambda *_arguments: 0.25)  # of one patch
    for preset in PRESETS:
        epochs = METHODS["adami"].values({}, preset).epochs
        alike = ask("adami", "--option", f"epochs={epochs}")["seconds"]
        assert ask("adami", "--preset", preset)["seconds"] == alike
    assert ask("adami")["seconds"] == ask("adami", "--preset", "recommended")["seconds"]
    assert ask("adami")["seconds"] < ask("adami", "--preset", "published")["seconds"]


def test_a_comparison_takes_the_time_of_all_and_the_memory_of_the_largest(
    ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "seconds_of_patch", lambda *_arguments: 0.25)  # of one patch
    small, large = ("epochs=2", "batch=2"), ("epochs=3", "batch=14")
    alone = [
        ask("tent", *(word for each in small for word in ("--option", each))),
        ask("adami", *(word for each in large for word in ("--option", each))),
    ]
    options = [f"tent.{each}" for each in small] + [f"adami.{each}" for each in large]
    words = [word for each in options for word in ("--option", each)]
    both = ask("tent,adami", *words)
    # the source model's pass, which the two alone and `none` have each, is made once
    once = 14 * 0.25
    expected = sum(each["seconds"] - estimate.START - once for each in alone) + once
    assert both["seconds"] == pytest.approx(estimate.START + expected)
    assert both["memory_mb"] == max(each["memory_mb"] for each in alone)
    monkeypatch.setattr(devices, "free_mb", lambda _device: 10.0)
    assert "lower adami.batch (now 14)" in ask("tent,adami", *words)["advice"]


def test_the_automatic_choice_takes_its_time_limit_or_the_time_of_all_methods(
    ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "seconds_of_patch", lambda *_arguments: 0.25)  # of one patch
    few = [METHODS["bn-statistics"], METHODS["tent"]]
    monkeypatch.setattr(registry, "candidates", lambda _holds: few)
    both = ask("bn-statistics,tent")
    found = ask("auto", "--option", "time_limit=100000")
    assert found["seconds"] == pytest.approx(both["seconds"])
    assert found["memory_mb"] == both["memory_mb"]
    limited = ask("auto", "--option", "time_limit=20")
    assert limited["seconds"] == estimate.START + 20
    assert limited["notes"][-1].endswith("at most 20 s are used")


FEW = ("bn-statistics", "heal", "tent")


def test_the_choice_for_volumes_that_are_adapted_together_takes_the_limit_and_then_six_passes_each(
    ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the source model and the result, and the judge's two of either network."""
    monkeypatch.setattr(trial, "seconds_of_patch", lambda *_arguments: 0.25)  # of one patch
    monkeypatch.setattr(registry, "candidates", lambda _holds: [METHODS[name] for name in FEW])
    once, volumes = 14 * 0.25, ("--images", "3")
    limit = ("--option", "time_limit=20")
    each = ask("auto", *volumes, *limit, "--adapt", "each")["seconds"]
    assert each == ask("auto", *volumes, *limit)["seconds"] == estimate.START + 3 * 20
    together = ask("auto", *volumes, *limit, "--adapt", "once")["seconds"]
    assert together == pytest.approx(estimate.START + 3 * (20 + 6 * once))
    # HEAL, which updates no weights, is left out
    long = ask("auto", *volumes, "--option", "time_limit=100000", "--adapt", "once")["seconds"]
    both = ask("bn-statistics,tent")["seconds"] - estimate.START
    assert long == pytest.approx(estimate.START + 3 * (both + 6 * once))


def test_eight_single_slices_are_adapted_to_together_unless_it_is_said_otherwise(
    ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "seconds_of_patch", lambda *_arguments: 0.25)  # of one patch
    monkeypatch.setattr(registry, "candidates", lambda _holds: [METHODS[name] for name in FEW])
    slices = ("--size", "36,40,1", "--option", "time_limit=1")
    for count, adapt, applied in ((7, (), 0), (8, (), 6), (8, ("--adapt", "each"), 0)):
        found = ask("auto", *slices, "--images", str(count), *adapt)
        assert found["seconds"] == pytest.approx(estimate.START + count * (1 + applied * 0.25))
        assert found["adapted"] == ("once" if applied else "each")


def test_windows_of_any_image_are_counted_once_for_images_that_are_adapted_together(
    ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "seconds_of_patch", lambda *_arguments: 0.25)  # of one patch
    options = ("epochs=1", "patches=8", "ensemble=1")
    words = [*("--images", "4"), *(word for each in options for word in ("--option", each))]
    each, once = (ask("dg-tta", *words, "--adapt", adapt)["seconds"] for adapt in ("each", "once"))
    # 8 windows in two views, with gradients: for each of 4 volumes, or for all
    assert each - once == pytest.approx((4 - 1) * 8 * 2 * trial.BACKWARD * 0.25)


def test_a_batch_holds_slices_of_several_volumes_only_if_these_are_adapted_together(
    ask: Callable[..., dict[str, Any]],
) -> None:
    batch = ("--option", "batch=28")
    one, two, together = (
        ask("adami", *batch, *more)["memory_mb"]
        for more in ((), ("--images", "2"), ("--images", "2", "--adapt", "once"))
    )
    assert one == two < together


@pytest.mark.parametrize(
    ("which", "said"),
    [(("--method", "heal"), "updates no weights"), (("--methods", "adami,tent"), "a comparison")],
)
def test_adapting_once_is_refused_where_it_cannot_be(
    tiny_bundle: Path, caplog: pytest.LogCaptureFixture, which: tuple[str, ...], said: str
) -> None:
    words = ["estimate", "--bundle", str(tiny_bundle), *which, "--size", SIZE, "--spacing", SPACING]
    assert main([*words, "--images", "2", "--adapt", "once"]) == 2
    assert said in caplog.messages[-1]


def test_the_automatic_choice_needs_memory_for_one_of_its_methods(
    ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [METHODS["bn-statistics"], METHODS["upl"]]
    monkeypatch.setattr(registry, "candidates", lambda _holds: few)
    needs = [ask(method.name)["memory_mb"] for method in few]
    for free, fits in ((needs[0] + 1, True), (needs[0] - 1, False)):
        monkeypatch.setattr(devices, "free_mb", lambda _device, free=free: free)
        assert (ask("auto")["advice"] == "") == fits
    assert needs[0] < needs[1]


def test_what_will_not_fit_is_told_with_the_option_that_lowers_it(
    ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask("adami")["advice"] == ""
    monkeypatch.setattr(devices, "free_mb", lambda _device: 10.0)
    advice = ask("adami", "--option", "batch=7")["advice"]
    assert "10 MB are free" in advice
    assert "batch (now 7)" in advice


def test_a_larger_batch_needs_more_memory(ask: Callable[..., dict[str, Any]]) -> None:
    needs = [ask("adami", "--option", f"batch={n}")["memory_mb"] for n in (6, 10, 14, 500)]
    assert needs[0] < needs[1] < needs[2]
    assert needs[3] == needs[2], "there are no more than 14 slices"


def test_plausible_volumes_are_taken_as_a_run_takes_them(
    tiny_bundle: Path, ask: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    assert ask("none", "--volumes", "brain=900-2500")["seconds"] > 0
    words = ["estimate", "--bundle", str(tiny_bundle), "--size", SIZE, "--spacing", SPACING]
    for text, said in (("Lever=1-2", "Brain (1)"), ("3", 'volumes: found "3", expected NAME=')):
        assert main([*words, "--volumes", text]) == 2
        assert said in caplog.messages[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--size", "36,40", "--spacing", SPACING), "--size"),
        (("--size", SIZE, "--spacing", "1,1,nan"), "--spacing"),
        (("--size", "0,40,14", "--spacing", SPACING), "above 0"),
        (("--size", SIZE, "--spacing", SPACING, "--images", "0"), "above 0"),
    ],
)
def test_a_volume_that_cannot_be_is_refused(
    tiny_bundle: Path, caplog: pytest.LogCaptureFixture, words: tuple[str, ...], said: str
) -> None:
    request = ["estimate", "--bundle", str(tiny_bundle), "--method", "none", "--device", "cpu"]
    assert main([*request, *words]) == 2
    assert said in caplog.messages[-1]


def test_a_trial_leaves_instance_normalisation_more_than_one_voxel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A network that divides by 4, tried on as little as it takes."""
    definition = {
        **{"_target_": "monai.networks.nets.UNet", "spatial_dims": 3, "in_channels": 1},
        **{"out_channels": 2, "channels": [4, 4, 4], "strides": [2, 2], "norm": "instance"},
    }
    network = build_network(definition)
    seen = []
    network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    monkeypatch.setattr(trial, "CPU_TRIAL", (1, 1))
    assert trial.seconds_of_patch(network, (1, 16, 16, 16), torch.device("cpu"), 4) > 0
    assert sorted(seen[-1][2:]) == [4, 4, 8]


def test_a_gpu_is_tried_with_as_many_patches_as_it_takes_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = torch.nn.Conv2d(1, 4, 3, padding=1)
    seen = []
    network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    monkeypatch.setattr(trial, "CPU_TRIAL", (10 * 4 * 4 * 32 * 32, 64))
    assert trial.seconds_of_patch(network, (1, 32, 32), torch.device("cpu"), 1) > 0
    assert seen[-1] == (10, 1, 32, 32)
    monkeypatch.setattr(trial, "free_bytes", lambda device: 5 * 4 * 4 * 32 * 32)
    assert trial.seconds_of_patch(network, (1, 32, 32), torch.device("cpu"), 1) > 0
    assert seen[-1] == (3, 1, 32, 32)
