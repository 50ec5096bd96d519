"""Keys that mean nothing together, and keys of the base that do not apply to what a trial chooses."""

from __future__ import annotations

from typing import Any

from bad_input.case import ACTIVATION, DROP, LR, WIDTH, Case, between, choices

# fmt: off
LINE = {"model.class_path": "lit_dl.Regressor", "model.network.input_shape": [1], "model.network.outputs": 1,
         "data.class_path": "lit_dl.LinearRegressionDataModule", "data.data_dir": DROP, "data.dataset": DROP}
LINE_SPEC = {"objective": {"metric": "val/rmse", "direction": "minimize"}}

# Keys that mean nothing together, set at one level: what the error starts with, and what it names.
TOGETHER: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "momentum_of_adam": ({"model.optimizer.name": "adam", "model.optimizer.momentum": 0.9},
                         "model.optimizer.momentum", ("0.9", "name='adam'")),
    "beta1_of_sgd": ({"model.optimizer.name": "sgd", "model.optimizer.beta1": 0.8},
                     "model.optimizer.beta1", ("0.8", "name='sgd'")),
    "softmax_into_cross_entropy": ({"model.loss": "cross_entropy", "model.network.output_activation": "softmax"},
                                   "model.network.output_activation", ("'softmax'", "loss='cross_entropy'", "linear")),
    "sigmoid_into_binary_cross_entropy":
        ({"model.loss": "binary_cross_entropy", "model.network.output_activation": "sigmoid"},
         "model.network.output_activation", ("'sigmoid'", "loss='binary_cross_entropy'", "mse")),
    "smoothing_of_hinge": ({"model.loss": "hinge", "model.label_smoothing": 0.1}, "model.label_smoothing",
                           ("0.1", "loss='hinge'", "cross_entropy")),
    "delta_of_mse": ({"model.loss": "mse", "model.delta": 2.0}, "model.delta", ("2.0", "loss='mse'", "huber")),
    "slope_of_relu": ({ACTIVATION: "relu", "model.network.negative_slope": 0.2}, "model.network.negative_slope",
                      ("0.2", "activation='relu'", "leaky_relu, prelu")),
    "pieces_of_relu": ({ACTIVATION: "relu", "model.network.pieces": 3}, "model.network.pieces",
                       ("3", "activation='relu'", "maxout")),
    "eps_without_norm": ({"model.network.norm": "none", "model.network.norm_eps": 0.01}, "model.network.norm_eps",
                         ("0.01", "norm='none'", "before or after")),
    "momentum_of_layer_norm": ({"model.network.norm": "before", "model.network.norm_type": "layer",
                                "model.network.norm_momentum": 0.2}, "model.network.norm_momentum",
                               ("0.2", "norm_type='layer'")),
    "one_output_of_cross_entropy": ({"model.loss": "cross_entropy", "model.network.outputs": 1},
                                    "model.network.outputs", ("2 or more", "loss='cross_entropy'", "got 1")),
    "ten_outputs_of_perceptron": ({"model.loss": "perceptron", "model.network.outputs": 10},
                                  "model.network.outputs", ("1", "loss='perceptron'", "got 10")),
    "one_output_of_softmax": ({"model.loss": "mse", "model.network.output_activation": "softmax",
                               "model.network.outputs": 1}, "model.network.outputs",
                              ("2 or more", "output_activation='softmax'", "got 1")),
    "decay_of_cosine": ({"model.schedule.name": "cosine", "model.schedule.decay_rate": 0.5},
                        "model.schedule.decay_rate", ("0.5", "name='cosine'", "exponential")),
    "steps_of_exponential": ({"model.schedule.name": "exponential", "model.schedule.step_epochs": 3},
                             "model.schedule.step_epochs", ("3", "name='exponential'", "staircase")),
    "warm_up_of_all_epochs": ({"model.schedule.warmup_epochs": 2, "trainer.max_epochs": 2},
                              "model.schedule.warmup_epochs", ("less than trainer.max_epochs=2", "got 2.0")),
    "cnn_of_numbers": ({"model.network.kind": "cnn", "model.network.input_shape": [2]}, "model.network.input_shape",
                       ("channels, height and width", "kind='cnn'", "[2]")),
    "even_clothes": ({"data.dataset": "fashion_mnist", "data.target": "even"}, "data.target",
                     ("class", "dataset is fashion_mnist", "mnist")),
}


def together(name: str) -> list[Case]:
    """The keys in the base, each as the only choice of a parameter, as a preset, and as a run."""
    keys, starts, says = TOGETHER[name]
    free = {LR: DROP, ACTIVATION: DROP, WIDTH: choices(8)}
    first = next(iter(keys))
    return [
        Case(f"{name}_in_base", f"{starts}: ", says, base=keys, space=free),
        Case(f"{name}_in_space", f"{starts}: ", says, space={**free, **{key: choices(keys[key]) for key in keys}}),
        Case(f"{name}_when", f"{starts}: ", says,
             space={**free, first: choices(keys[first]),
                    **{key: choices(keys[key], when={first: [keys[first]]}) for key in keys if key != first}}),
        Case(f"{name}_in_preset", f"{starts}: ", (*says, "space.both"),
             space={**free, "both": {"presets": {"nothing": {}, "bad": keys}}}),
        Case(f"{name}_in_runs", f"{starts}: ", (*says, "runs.bad"), space=free, spec={"runs": {"bad": keys}}),
    ]


COMBINATIONS = [
    *(case for name in TOGETHER for case in together(name)),
    Case("cross_entropy_of_regressor", "model.loss: ", ("'cross_entropy'", "Regressor", "mse"),
         base={**LINE, "model.loss": "cross_entropy"}, spec=LINE_SPEC),
    Case("classifier_of_values", "model.class_path: ", ("Regressor", "LinearRegressionDataModule", "got Classifier"),
         base={**LINE, "model.class_path": "lit_dl.Classifier", "model.loss": "mse"},
         spec={"objective": {"metric": "val/loss", "direction": "minimize"}}),
    Case("regressor_of_classes", "model.class_path: ", ("Classifier", "ImageDataModule", "got Regressor"),
         base={"model.class_path": "lit_dl.Regressor"}, spec=LINE_SPEC),
    Case("accuracy_of_regressor", "objective.metric: ", ("'val/acc'", "never logged", "val/rmse"), base=LINE),
    Case("two_outputs_of_one_value", "model.network.outputs: ", ("1", "got 2"), spec=LINE_SPEC,
         base={**LINE, "model.network.outputs": 2}),
    Case("slope_when_of_both", "model.network.negative_slope: ", ("0.1", "activation='relu'", "space."),
         space={ACTIVATION: choices("leaky_relu", "relu"),
                "model.network.negative_slope": between(0.1, 0.3, when={ACTIVATION: ["leaky_relu", "relu"]})}),
    Case("warm_up_range", "model.schedule.warmup_epochs: ", ("less than trainer.max_epochs=2", "got 3.0"),
         space={"model.schedule.warmup_epochs": between(0, 3)}),
    Case("epochs_below_warm_up", "model.schedule.warmup_epochs: ", ("less than trainer.max_epochs=1", "got 1.5"),
         base={"model.schedule.warmup_epochs": 1.5}, space={"trainer.max_epochs": between(1, 3)}),
]

# Keys of the base that do not apply to what the space or a run chooses: dropped, and no error.
INHERITED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "momentum": ({"model.optimizer.name": "momentum", "model.optimizer.momentum": 0.5},
                 {"model.optimizer.name": "adam"}),
    "slope": ({ACTIVATION: "leaky_relu", "model.network.negative_slope": 0.2}, {ACTIVATION: "relu"}),
    "pieces": ({ACTIVATION: "maxout", "model.network.pieces": 3}, {ACTIVATION: "tanh"}),
    "norm": ({"model.network.norm": "before", "model.network.norm_eps": 0.1, "model.network.norm_momentum": 0.5},
             {"model.network.norm": "none"}),
    "norm_momentum": ({"model.network.norm": "before", "model.network.norm_momentum": 0.5},
                      {"model.network.norm_type": "layer"}),
    "label_smoothing": ({"model.label_smoothing": 0.1}, {"model.loss": "hinge"}),
    "delta": ({"model.loss": "huber", "model.delta": 0.5}, {"model.loss": "mse"}),
    "sigmoid": ({"model.loss": "mse", "model.network.output_activation": "sigmoid"}, {"model.loss": "cross_entropy"}),
    "log_softmax": ({"model.loss": "nll", "model.network.output_activation": "log_softmax"}, {"model.loss": "mse"}),
    "decay_rate": ({"model.schedule.name": "inverse_time", "model.schedule.decay_rate": 2.0},
                   {"model.schedule.name": "cosine"}),
}


def inherited(name: str) -> list[Case]:
    base, chosen = INHERITED[name]
    free = {LR: DROP, ACTIVATION: DROP, WIDTH: choices(8)}
    return [
        Case(f"inherited_{name}_in_space", "checked sweep: ", base=base,
             space={**free, **{key: choices(value) for key, value in chosen.items()}}),
        Case(f"inherited_{name}_in_runs", "checked sweep: ", base=base, space=free, spec={"runs": {"a": chosen}}),
    ]
