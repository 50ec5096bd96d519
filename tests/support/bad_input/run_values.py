"""Values of a run config that a run cannot use, found when the run is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bad_input.case import ACTIVATION


@dataclass(frozen=True)
class Value:
    """One bad value.

    Args:
        name: Of the test.
        keys: Dotted keys and values, laid on the base; a value that is a text is YAML, as on a command line.
        starts: How the error begins.
        says: What the error must hold besides.
        has_base: Whether the base is that of the valid sweep, or empty.
    """

    name: str
    keys: dict[str, Any]
    starts: str
    says: tuple[str, ...] = ()
    has_base: bool = True

    def __str__(self) -> str:
        return self.name


# fmt: off
# Names of every table, each mistyped, with the nearest.
NAMES: dict[str, tuple[str, str]] = {
    "model.network.activation": ("leaky_rel", "leaky_relu"),
    "model.network.initializer": ("he_truncated", "he_truncated_normal"),
    "model.network.norm": ("befor", "before"),
    "model.network.norm_type": ("layr", "layer"),
    "model.network.output_activation": ("log_softmx", "log_softmax"),
    "model.loss": ("huberr", "huber"),
    "model.optimizer.name": ("adagard", "adagrad"),
    "model.schedule.name": ("cosin", "cosine"),
    "model.regularization.form": ("texbook", "textbook"),
    "model.defaults": ("keras3", "keras"),
    "data.dataset": ("fashion_mnits", "fashion_mnist"),
    "data.target": ("evn", "even"),
}
# Values out of their range: (keys that make it apply, key, values, what must hold).
OUT_OF_RANGE: list[tuple[dict[str, str], str, tuple[str, ...], str]] = [
    ({ACTIVATION: "leaky_relu"}, "model.network.negative_slope", ("-0.1", "1.0", "nan"), "in [0, 1)"),
    ({ACTIVATION: "maxout"}, "model.network.pieces", ("1", "0"), "2 or more"),
    ({}, "model.network.dropout", ("1.0", "-0.1"), "in [0, 1)"),
    ({}, "model.network.input_dropout", ("1.0", "-0.1"), "in [0, 1)"),
    ({}, "model.network.noise", ("-0.1", "inf"), "0 or more"),
    ({}, "model.network.input_noise", ("-0.1", "nan"), "0 or more"),
    ({}, "model.network.outputs", ("0",), "1 or more"),
    ({"model.network.norm": "before"}, "model.network.norm_momentum", ("0.0", "2.0"), "in (0, 1]"),
    ({"model.network.norm": "before"}, "model.network.norm_eps", ("0.0", "-0.1"), "above 0"),
    ({}, "model.label_smoothing", ("1.0", "-0.1"), "in [0, 1)"),
    ({"model.loss": "huber"}, "model.delta", ("0.0", "-1.0", "inf"), "above 0"),
    ({}, "model.regularization.l1", ("-1.0", "nan"), "0 or more"),
    ({}, "model.regularization.l2", ("-1.0",), "0 or more"),
    ({}, "model.regularization.activity_l1", ("-1.0",), "0 or more"),
    ({}, "model.regularization.activity_l2", ("-1.0",), "0 or more"),
    ({}, "model.regularization.max_norm", ("0.0", "-1.0", "nan"), "above 0"),
    ({"model.optimizer.name": "momentum"}, "model.optimizer.momentum", ("1.0", "-0.1"), "in [0, 1)"),
    ({"model.optimizer.name": "adadelta"}, "model.optimizer.rho", ("1.0",), "in [0, 1)"),
    ({}, "model.optimizer.beta1", ("1.0",), "in [0, 1)"),
    ({}, "model.optimizer.beta2", ("-0.1",), "in [0, 1)"),
    ({}, "model.optimizer.eps", ("0.0",), "above 0"),
    ({}, "model.optimizer.weight_decay", ("-1.0",), "0 or more"),
    ({"model.optimizer.name": "adagrad"}, "model.optimizer.initial_accumulator_value", ("-1.0",), "0 or more"),
    ({"model.optimizer.name": "nadam"}, "model.optimizer.momentum_decay", ("-1.0",), "0 or more"),
    ({}, "model.schedule.warmup_epochs", ("-1.0", "nan"), "0 or more"),
    ({}, "model.schedule.warmup_epochs", ("2.0", "7.5"), "less than trainer.max_epochs=2"),
    ({"model.schedule.name": "inverse_time"}, "model.schedule.decay_rate", ("0.0", "-1.0"), "above 0"),
    ({"model.schedule.name": "exponential"}, "model.schedule.decay_rate", ("1.5",), "at most 1"),
    ({"model.schedule.name": "inverse_sqrt"}, "model.schedule.factor", ("0.0",), "above 0"),
    ({"model.schedule.name": "plateau"}, "model.schedule.factor", ("1.0",), "below 1"),
    ({"model.schedule.name": "plateau"}, "model.schedule.patience", ("-1",), "0 or more"),
    ({"model.schedule.name": "staircase"}, "model.schedule.step_epochs", ("0",), "1 or more"),
    ({"model.schedule.name": "cosine"}, "model.schedule.final", ("-0.1", "1.5"), "in [0, 1]"),
]

RUN_VALUES = [
    Value("batch_size", {"data.batch_size": "49"}, "data.batch_size: ", ("at most", "48", "got 49")),
    Value("value", {"model.network.depth": "-1"}, "model.network.depth: ", ("0 or more", "got -1")),
    Value("dropout", {"model.network.dropout": "1"}, "model.network.dropout: ", ("[0, 1)", "got 1.0")),
    Value("optimizer", {"model.optimizer.name": "adm"}, "model.optimizer.name: ", ("'adm'", "'adam'")),
    Value("group", {"model.network": "5"}, "model.network: ", ("mapping", "5")),
    Value("optimizer_arguments",
          {"model.optimizer.name": "torch.optim.SGD", "model.optimizer.init_args": "{speed: 1}"},
          "model.optimizer.init_args: ", ("'speed'", "torch.optim.SGD")),
    Value("patience", {"early_stopping.patience": "0"}, "early_stopping.patience: ", ("1 or more", "got 0")),
    Value("accelerator", {"trainer.accelerator": "gpuu"}, "trainer: ", ("gpuu",)),
    Value("input_shape", {"model.network.input_shape": "[1,28,28]"}, "model.network.input_shape: ",
          ("[1, 28, 28]", "[1, 8, 8]")),
    Value("classes_one", {"data.classes": "[3]"}, "data.classes: ", ("two classes or more", "[3]")),
    Value("classes_twice", {"data.classes": "[3, 4, 3]"}, "data.classes: ", ("once", "3 twice")),
    Value("classes_unknown", {"data.classes": "[3, 12]"}, "data.classes: ", ("numbers from 0 to", "got 12")),
    Value("classes_text", {"data.classes": "five"}, "data.classes: ", ("five",)),
    Value("classes_named", {"data.classes": "[a, b]"}, "data.classes: ", ("numbers", "no names", "'a'")),
    Value("train_samples_few", {"data.train_samples": "3"}, "data.train_samples: ", ("one for each class", "got 3")),
    Value("train_samples_many", {"data.train_samples": "49"}, "data.train_samples: ", ("48", "got 49")),
    Value("train_samples_none", {"data.train_samples": "0"}, "data.train_samples: ", ("1 or more", "got 0")),
    Value("train_samples_text", {"data.train_samples": "few"}, "data.train_samples: ", ("few",)),
    Value("folder_null", {"data.dataset": "folder", "data.data_dir": "null"}, "data.data_dir: ", ("folder", "null")),
    Value("image_size_of_idx", {"data.image_size": "8"}, "data.image_size: ", ("null", "idx", "got 8")),
    Value("channels_two", {"data.channels": "2"}, "data.channels: ", ("1, 3", "2")),
    Value("download_of_idx", {"data.download": "true"}, "data.download: ", ("null or false", "idx")),
    Value("augment_unknown", {"data.augment": "[RandomAfine]"}, "data.augment", ("RandomAfine",)),
    Value("augment_shape", {"data.augment": "[{class_path: RandomCrop, init_args: {size: 3}}]"}, "data.augment.0: ",
          ("keep uint8 images", "RandomCrop", "[1, 3, 3]")),
    Value("augment_float", {"data.augment": "[RandomHorizontalFlip, {class_path: Normalize, init_args: {mean: [0.5], "
                            "std: [0.5]}}]"}, "data.augment.1: ", ("must take uint8 images", "Normalize")),
    Value("literal", {"model.network.norm": "befor"}, "model.network.norm: ", ("befor", "did you mean 'before'?")),
    Value("seed_negative", {"seed_everything": "-1"}, "seed_everything: ", ("0", "-1")),
    Value("gate", {"data.class_path": "lit_dl.LogicGateDataModule", "data.gate": "xr"},
          "data.gate: 'xr' is not one of ", ("did you mean 'xor'?",), has_base=False),
    Value("bias", {"model.network.bias": "maybe"}, "model.network.bias: ", ("'maybe'", "true, false, auto")),
    Value("momentum_of_adam", {"model.optimizer.momentum": "0.9"}, "model.optimizer.momentum: ",
          ("0.9", "name='adam'", "momentum, nesterov, rmsprop, muon")),
    Value("endless_cosine", {"model.schedule.name": "cosine", "trainer.max_epochs": "-1"}, "model.schedule.name: ",
          ("'cosine'", "trainer.max_epochs=-1")),
    Value("values_for_a_classifier",
          {"data.class_path": "lit_dl.LinearRegressionDataModule", "model.loss": "mse", "model.network.outputs": "1",
           "model.network.input_shape": "[1]"}, "model.class_path: ",
          ("lit_dl.Regressor", "data.class_path=LinearRegressionDataModule", "got Classifier"), has_base=False),
    Value("classes_for_a_regressor",
          {"model.class_path": "lit_dl.Regressor", "model.network.input_shape": "[1,8,8]"},
          "model.class_path: ", ("lit_dl.Classifier", "data.class_path=ImageDataModule", "got Regressor")),
    *(Value(f"name_of_{key}", {key: typo}, f"{key}: {typo!r} is not one of ", (f"mean {nearest!r}?",))
      for key, (typo, nearest) in NAMES.items()),
    *(Value(f"{key}_{value}", {**keys, key: {"nan": ".nan", "inf": ".inf"}.get(value, value)}, f"{key}: must be ",
            (need, f"got {value}"))
      for keys, key, values, need in OUT_OF_RANGE for value in values),
]
