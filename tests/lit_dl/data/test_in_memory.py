from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lit_dl.data.batches import Batch, Minibatches, Scale
from lit_dl.data.in_memory import InMemoryDataModule, check_validation, split
from lit_dl.errors import ConfigError

CPU = torch.device("cpu")


class Numbers(InMemoryDataModule):
    """Rows 0 to 6 to train on, 7 to 9 to validate, 100 to 103 to test; the target is the row's number."""

    def setup(self, stage: str) -> None:
        self.train_rows, self.validation_rows = torch.arange(7), torch.arange(7, 10)
        super().setup(stage)

    def samples(self, part: str, device: torch.device) -> Batch:
        numbers = torch.arange(10, device=device) if part == "train" else torch.arange(100, 104, device=device)
        return numbers[:, None].expand(-1, 2) / 4, numbers


def made(batch_size: int = 2, **options: Any) -> Numbers:
    data = Numbers(batch_size, **{"seed": 0, **options})
    data.setup("fit")
    return data


def in_epoch(data: Numbers, epoch: int, module: object = None, device: torch.device = CPU) -> Numbers:
    """As a Trainer leaves it in `epoch`, counted from 1."""
    strategy = SimpleNamespace(root_device=device)
    data.trainer = SimpleNamespace(
        current_epoch=epoch - 1, lightning_module=module, strategy=strategy, world_size=1, global_rank=0
    )  # type: ignore[assignment]
    return data


def targets(loader: Any) -> list[int]:
    return [number for _, numbers in loader for number in numbers.tolist()]


def test_inputs_and_targets_belong_together() -> None:
    for inputs, numbers in made().train_dataloader():
        assert inputs.tolist() == [[number / 4, number / 4] for number in numbers.tolist()]


def test_an_epoch_in_order() -> None:
    data = in_epoch(made(shuffle=False), 5)
    assert targets(data.train_dataloader()) == list(range(7))
    assert [len(numbers) for _, numbers in data.train_dataloader()] == [2, 2, 2, 1]


def test_an_order_follows_from_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return targets(in_epoch(made(seed=seed), epoch).train_dataloader())

    first = order(0, 3)
    assert sorted(first) == list(range(7))
    torch.manual_seed(99)
    assert order(0, 3) == first
    assert order(0, 4) != first
    assert order(1, 3) != first


def test_what_is_not_trained_on_stays_in_order() -> None:
    data = made()
    assert targets(data.val_dataloader()) == [7, 8, 9]
    assert targets(data.test_dataloader()) == targets(data.predict_dataloader()) == [100, 101, 102, 103]
    assert data.test_sets == ["test"]


def test_drop_last_applies_to_training_alone() -> None:
    data = made(3, drop_last=True)
    assert len(targets(data.train_dataloader())) == 6
    assert targets(data.val_dataloader()) == [7, 8, 9]


def test_the_scale_applies_to_every_split() -> None:
    data = made(shuffle=False)
    plain = {name: next(iter(getattr(data, f"{name}_dataloader")()))[0] for name in ("train", "val", "test", "predict")}
    data.scale = Scale(1.0, 3.0, 2.0)
    for name, before in plain.items():
        after = next(iter(getattr(data, f"{name}_dataloader")()))[0]
        torch.testing.assert_close(after, (before - 3.0) / 2.0)


def test_a_module_says_how_many_minibatches_it_takes_at_once() -> None:
    several = list(in_epoch(made(), 1, SimpleNamespace(steps_per_execution=3)).train_dataloader())
    assert all(isinstance(item, Minibatches) for item in several)
    assert [len(item.batches) for item in several] == [3, 1]
    assert not isinstance(next(iter(in_epoch(made(), 1, SimpleNamespace()).train_dataloader())), Minibatches)


@pytest.mark.parametrize("rows", [8, 999, 1000, 1001, 1004, 2003, 5007])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_every_device_has_some_of_every_batch_that_is_evaluated(ranks: int, rows: int) -> None:
    loaders = []
    for rank in range(ranks):
        data = in_epoch(Numbers(2, seed=0), 1)
        data.trainer.world_size, data.trainer.global_rank = ranks, rank  # type: ignore[union-attr, misc]
        data.train_rows, data.validation_rows = torch.arange(7), torch.arange(rows) % 10
        loaders.append(data.val_dataloader())
    shares = [[len(numbers) for _, numbers in loader] for loader in loaders]
    assert [len(loader) for loader in loaders] == [len(share) for share in shares]
    assert len({len(share) for share in shares}) == 1
    assert min(map(min, shares)) >= 1
    assert 980 < max(map(sum, zip(*shares, strict=True))) <= 1000 or rows < 980
    assert sorted(number for loader in loaders for number in targets(loader)) == sorted(
        number % 10 for number in range(rows)
    )


def test_several_devices_do_not_predict_nor_share_less_than_a_sample_each() -> None:
    data = in_epoch(made(), 1)
    data.trainer.world_size = 5  # type: ignore[union-attr, misc]
    with pytest.raises(ConfigError, match=r"^trainer.devices: must be 1 to predict; got 5$"):
        data.predict_dataloader()
    with pytest.raises(ConfigError, match=r"^trainer.devices: must be at most the 4 samples to test; got 5$"):
        data.test_dataloader()


@pytest.mark.parametrize("split", ["train", "val", "test", "predict"])
def test_batches_are_cut_on_the_device_that_trains(split: str) -> None:
    meta = torch.device("meta")
    data = in_epoch(made(), 1, device=meta)
    batch = next(iter(getattr(data, f"{split}_dataloader")()))
    assert {tensor.device for tensor in batch} == {meta}
    assert data.transfer_batch_to_device(batch, CPU, 0) is batch


def test_the_shape_is_that_of_one_input() -> None:
    assert made().shape == [2]
    assert made().num_classes is None


def test_the_seed_of_the_run_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "17")
    assert Numbers(2).seed == 17
    assert Numbers(2, seed=0).seed == 0


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_without_samples(batch_size: int) -> None:
    with pytest.raises(ConfigError, match=f"^batch_size: must be 1 or more; got {batch_size}$"):
        Numbers(batch_size)


def test_a_batch_larger_than_the_training_split() -> None:
    made(7)
    with pytest.raises(ConfigError, match=r"^batch_size: must be at most the training split of 7; got 8$"):
        made(8)


@pytest.mark.parametrize("validation", [0, -1, -0.5, 1.0, 2.5, float("nan")])
def test_a_validation_split_that_is_neither_number_nor_fraction(validation: float) -> None:
    with pytest.raises(ConfigError, match=rf"^validation: must be a number of samples, .*; got {validation}$"):
        check_validation(validation)


@pytest.mark.parametrize("validation", [1, 5000, 0.001, 0.999])
def test_a_number_or_a_fraction(validation: float) -> None:
    check_validation(validation)


# Splits


def test_a_number_holds_out_the_front_as_in_the_published_runs() -> None:
    train, validation = split(60_000, 5000, seed=3)
    assert torch.equal(validation, torch.arange(5000))
    assert torch.equal(train, torch.arange(5000, 60_000))


@pytest.mark.parametrize(("fraction", "held_out"), [(0.1, 100), (0.25, 250), (0.0014, 1)])
def test_a_fraction_is_drawn_and_covers_every_row_once(fraction: float, held_out: int) -> None:
    train, validation = split(1000, fraction, seed=0)
    assert (len(train), len(validation)) == (1000 - held_out, held_out)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(1000))
    assert validation.tolist() != list(range(held_out))


def test_a_drawn_split_depends_on_its_seed_alone() -> None:
    first = split(1000, 0.1, seed=0)
    torch.manual_seed(5)
    again, other = split(1000, 0.1, seed=0), split(1000, 0.1, seed=1)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert set(first[1].tolist()) != set(other[1].tolist())


@pytest.mark.parametrize(("samples", "validation"), [(100, 100), (100, 101), (3, 0.1), (2, 0.9)])
def test_a_split_that_leaves_nothing(samples: int, validation: float) -> None:
    with pytest.raises(ConfigError, match=rf"^validation: must leave some of {samples} samples .*; got {validation}$"):
        split(samples, validation, 0)
