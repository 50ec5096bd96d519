"""Configs of networks that cannot be built."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lit_dl.errors import ConfigError
from lit_dl.nn.network_config import NetworkConfig
from lit_dl.nn.networks import check_network


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": -1}, "depth: must be 0 or more; got -1"),
        ({"width": 0}, "width: must be 1 or more for every layer; got 0"),
        ({"width": 0, "depth": 0}, "width: must be 1 or more for every layer; got 0"),
        ({"width": [3, 0]}, "width: must be 1 or more for every layer; got [3, 0]"),
        (
            {"depth": 3, "width": [3, 4]},
            "depth: must be the length of width=[3, 4]; got 3; leave one of the two out",
        ),
        ({"dropout": 1.0}, "dropout: must be in [0, 1); got 1.0"),
        ({"dropout": -0.1}, "dropout: must be in [0, 1); got -0.1"),
        ({"input_dropout": 1.0}, "input_dropout: must be in [0, 1); got 1.0"),
        ({"noise": -0.1}, "noise: must be 0 or more and finite; got -0.1"),
        ({"input_noise": math.inf}, "input_noise: must be 0 or more and finite; got inf"),
        ({"outputs": 0}, "outputs: must be 1 or more; got 0"),
        (
            {"kind": "cnn", "input_shape": [28, 28]},
            "input_shape: must be channels, height and width for kind='cnn'; got [28, 28]",
        ),
        ({"input_shape": [1, 0, 3]}, "input_shape: must be the sizes of a sample, each 1 or more; got [1, 0, 3]"),
        ({"input_shape": []}, "input_shape: must be the sizes of a sample, each 1 or more; got []"),
        ({"kind": "cn"}, "kind: 'cn' is not one of mlp, cnn, backbone; did you mean 'cnn'?"),
        ({"norm": "befor"}, "norm: 'befor' is not one of none, before, after; did you mean 'before'?"),
        ({"norm_type": "layers"}, "norm_type: 'layers' is not one of batch, layer; did you mean 'layer'?"),
        (
            {"output_activation": "sigmoi"},
            "output_activation: 'sigmoi' is not one of linear, sigmoid, softmax, log_softmax; did you mean 'sigmoid'?",
        ),
        (
            {"norm": "before", "norm_momentum": 0.0},
            "norm_momentum: must be in (0, 1], where Keras's 0.99 is 0.01; got 0.0",
        ),
        ({"norm": "after", "norm_eps": 0.0}, "norm_eps: must be above 0 and finite; got 0.0"),
        (
            {"norm_eps": 0.1},
            "norm_eps: 0.1 does not apply to norm='none'; set norm to before or after, or this to null",
        ),
        (
            {"norm": "before", "norm_type": "layer", "norm_momentum": 0.1},
            "norm_momentum: 0.1 does not apply to norm_type='layer', but to batch; set it to null",
        ),
        ({"activation": "prelu", "negative_slope": 1.0}, "negative_slope: must be in [0, 1); got 1.0"),
    ],
)
def test_what_cannot_be_built_is_refused_by_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_network(NetworkConfig(**values))
    assert str(caught.value) == message


@pytest.mark.parametrize(("key", "value"), [("activation", "rleu"), ("initializer", "he_norml")])
def test_unknown_names_are_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: '{value}' is not one of .*; did you mean "):
        check_network(NetworkConfig(**{key: value}))
