"""The fields of a method's options."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from panel_bench import choose_method, offered, set_option

from SFDALib.errors import RequestError


def test_the_form_of_options_comes_from_the_registry_with_its_recommended_values(
    panel: Any,
) -> None:
    for method in offered(panel):
        choose_method(panel, method.name)
        for option in method.options:
            field = panel.method.field(option.name)
            assert field.toolTip == option.in_words()
            shown = (
                field.checked
                if field.inherits("QCheckBox")
                else field.value
                if field.inherits("QSpinBox")
                else field.currentText
                if field.inherits("QComboBox")
                else field.text or None
            )
            assert option.check(shown) == option.recommended, (method.name, option.name)


def test_each_field_has_a_label_with_the_unit_and_an_empty_one_shows_what_none_means(
    panel: Any, fill: Callable[..., Any]
) -> None:
    import qt

    fill("auto")
    field = panel.method.field("time_limit")
    labels = {label.text: label for label in panel.ui.optionsWidget.findChildren(qt.QLabel)}
    assert labels["Time limit (s):"].buddy() is field
    assert (field.text, field.placeholderText) == ("", "300 s on a CPU, 120 s on a GPU")
    for text, options in (("40", {"time_limit": 40.0}), ("", {}), ("none", {})):
        set_option(panel, "time_limit", text)
        assert panel.request().options == options


@pytest.mark.parametrize(
    ("method", "option", "text", "value"),
    [
        pytest.param("adami", "epochs", "17", 17, id="number"),
        pytest.param("adami", "learning_rate", "1e-7", 1e-7, id="text and Tab"),
        pytest.param("heal", "sampler", "ddim", "ddim", id="choice"),
        pytest.param("heal", "mirror", "", True, id="tick"),
    ],
)
def test_an_option_is_changed_by_keys_and_clicks_and_its_field_stays(
    panel: Any, fill: Callable[..., Any], method: str, option: str, text: str, value: Any
) -> None:
    from slicer_standin import user

    fill(method)
    user.unfold(panel.ui.advancedSection)
    field = panel.method.field(option)
    set_option(panel, option, text)
    assert panel.request().options == {option: value}
    assert panel.method.field(option) is field, "the field outlives its own event"
    set_option(panel, "overlap", "0.25")
    assert panel.request().options == {option: value, "overlap": 0.25}


def test_every_option_of_every_method_is_changed_without_a_crash(
    panel: Any, fill: Callable[..., Any]
) -> None:
    """Whatever kind of field it has; what a slot or a lost widget raises fails the test."""
    fill("none")
    for method in offered(panel):
        choose_method(panel, method.name)
        for option in method.options:
            set_option(panel, option.name, _another(option))
        assert set(panel.request().options) == {option.name for option in method.options}


def _another(option: Any) -> str:
    """A value that is not the default, as typed; a tick is clicked."""
    if option.kind == "bool":
        return ""
    for text in (*option.choices, "2", "3", "0.3", "0.11", "0.7", "1e-6", "0.1,0.9", "true"):
        with contextlib.suppress(RequestError):
            if option.check(text) not in (option.recommended, option.published):
                return text
    raise AssertionError(f"no other value for {option.name}")
