"""Spaces that a function defines: functions that cannot be used, and what they return."""

from __future__ import annotations

from typing import Any

from bad_input.case import Case

KEY = "space.function: "


def by(name: str, **more: Any) -> dict[str, Any]:
    """Keys of a spec with this function."""
    return {"space": {"function": f"define_by_run.{name}", **more}}


# fmt: off
FUNCTIONS = [
    Case("raises", KEY, ("define_by_run.raises", "KeyError: 'no such kind'", "line ", "kind='bad'"), by("raises")),
    Case("returns_none", KEY, ("define_by_run.nothing", "mapping", "got None", "x=1"), by("nothing")),
    Case("exits", KEY, ("define_by_run.exits", "SystemExit: bye"), by("exits")),
    Case("keys_no_texts", KEY, ("define_by_run.numbers", "texts", "got 1"), by("numbers")),
    Case("suggests_nothing", KEY, ("define_by_run.constant", "suggests none"), by("constant")),
    Case("unknown_key", "model.network.widht: ", ("define_by_run.unknown_key", "did you mean", "width"),
         by("unknown_key")),
    Case("wrong_value", "model.network.activation: ",
         ("'rleu'", "did you mean 'relu'?", "define_by_run.wrong_value", "activation='rleu'"), by("wrong_value")),
    Case("unwritable", KEY, ("define_by_run.unwritable", "{1}", "set", "model.network.width"), by("unwritable")),
    Case("numeric_keys", KEY, ("define_by_run.numeric_keys", "{1: 1}", "model.network.width.0"), by("numeric_keys")),
    Case("not_finite", KEY, ("define_by_run.not_finite", "finite", "inf", "model.optimizer.lr"), by("not_finite")),
    Case("choice_is_a_list", KEY, ("define_by_run.list_choice", "[8, 8]", "'width'", "a name"), by("list_choice")),
    Case("choices_change", KEY, ("define_by_run.other_choices", "ValueError", "dynamic value space"),
         by("other_choices")),
    Case("devices_sampled", KEY, ("must be the same in all trials",), by("devices")),
    Case("no_such_function", KEY, ("'define_by_run.sugest'", "cannot be imported", "PYTHONPATH"), by("sugest")),
    Case("no_function", KEY, ("'define_by_run.calls'", "must be a function"), by("calls")),
    Case("no_path", KEY, ("import path", "'suggest'"), {"space": {"function": "suggest"}}),
    Case("beside_a_range", "space.model.lr: ", ("does not go with space.function", "return model.lr"),
         by("layers", **{"model.lr": {"low": 1, "high": 2}})),
]
