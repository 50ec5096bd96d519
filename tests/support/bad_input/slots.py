"""Slots, devices, strategies, and what trials do when they fail."""

from __future__ import annotations

from bad_input.case import Case, choices

# fmt: off
DEVICES = "trainer.devices"
DDP = "lightning.pytorch.strategies.DDPStrategy"

SLOTS = [
    Case("slot_number", "slot: ", ("mapping", "4"), spec={"slot": 4}),
    Case("slot_key", "slot.gpu: ", ("did you mean 'gpus'?",), spec={"slot": {"gpu": 1}}),
    *(Case(f"slot_gpus_{label}", "slot.gpus: ", ("share of a GPU", "whole number", repr(value)),
           spec={"slot": {"gpus": value}}) for label, value in
      (("zero", 0), ("negative", -1), ("half_more", 1.5), ("text", "all"), ("true", True), ("nan", float("nan")))),
    *(Case(f"slot_cpus_{label}", "slot.cpus: ", ("whole number", "1 or more", repr(value)),
           spec={"slot": {"cpus": value}}) for label, value in
      (("zero", 0), ("half", 0.5), ("text", "two"), ("true", True))),
    Case("slot_gpus_on_cpu", "slot.gpus: ", ("trainer.accelerator=cpu", "got 1"), spec={"slot": {"gpus": 1}},
         base={"trainer.accelerator": "cpu"}),
    *(Case(f"devices_{label}", f"{DEVICES}: ", ("whole number", "auto", repr(value)), base={DEVICES: value}) for
      label, value in (("zero", 0), ("all", -1), ("listed", [0, 1]), ("text", "0,1"))),
    Case("devices_and_share", f"{DEVICES}: ", ("slot.gpus=0.5", "got 2"), spec={"slot": {"gpus": 0.5}},
         base={DEVICES: 2, "trainer.accelerator": "auto"}),
    Case("devices_and_gpus", f"{DEVICES}: ", ("slot.gpus=4", "got 2"), spec={"slot": {"gpus": 4}},
         base={DEVICES: 2, "trainer.accelerator": "auto"}),
    Case("devices_sampled", f"space.{DEVICES}: ", ("same in all trials", "base"), space={DEVICES: choices(1, 2)}),
    Case("devices_preset", f"space.big.presets.b.{DEVICES}: ", ("same in all trials", "base"),
         space={"big": {"presets": {"a": {}, "b": {DEVICES: 2}}}}),
    Case("devices_of_a_run", f"runs.big.{DEVICES}: ", ("same in all trials", "base"),
         spec={"runs": {"big": {DEVICES: 2}}}),
    Case("devices_beyond_batch", "data.batch_size: ", ("8 devices",), base={DEVICES: 8, "data.batch_size": 4}),
    Case("nodes", "trainer.num_nodes: ", ("must be 1", "got 2"), base={"trainer.num_nodes": 2}),
    *(Case(f"strategy_{name}", "trainer.strategy: ", (repr(name), "use ddp"),
           base={DEVICES: 2, "trainer.strategy": name}) for name in ("ddp_spawn", "ddp_fork", "ddp_notebook")),
    Case("strategy_class", "trainer.strategy: ", ("'fork'", "use ddp"),
         base={"trainer.strategy": {"class_path": DDP, "init_args": {"start_method": "fork"}}}),
    Case("strategy_sampled", "trainer.strategy: ", ("'ddp_spawn'", "space.trainer.strategy"),
         space={"trainer.strategy": choices("ddp", "ddp_spawn")}),
    Case("strategy_typo", "trainer", ("dpp",), base={DEVICES: 2, "trainer.strategy": "dpp"}),
    *(Case(f"trial_timeout_{label}", "trial_timeout_s: ", ("above 0", repr(value)), spec={"trial_timeout_s": value})
      for label, value in (("zero", 0), ("text", "soon"), ("negative", -5))),
    *(Case(f"keep_{label}", "keep: ", ("best_5", repr(value)), spec={"keep": value}) for label, value in
      (("zero", "best_0"), ("typo", "bst_3"), ("number", 3), ("null", None))),
    *(Case(f"retry_{label}", "retry_out_of_memory: ", ("true or false", repr(value)),
           spec={"retry_out_of_memory": value}) for label, value in (("number", 2), ("text", "half"))),
]
