"""Messages of jsonargparse become errors of ours."""

from __future__ import annotations

from typing import Any

import pytest
from jsonargparse import ArgumentParser

from lit_dl.config.parser_errors import to_config_error


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (int, "x", "model.a: must be int; got x"),
        (float, "x", "model.a: must be float; got x"),
        (int | None, "x", "model.a: must be int or null; got x"),
        (list[int] | int, "x", "model.a: must be list[int] or int; got x"),
    ],
)
def test_a_type_error_of_jsonargparse_is_shaped_into_ours(kind: Any, value: str, message: str) -> None:
    from argparse import ArgumentError

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--model.a", type=kind)
    with pytest.raises(ArgumentError) as caught:
        parser.parse_object({"model": {"a": value}})
    assert str(to_config_error(caught.value.message)) == message
