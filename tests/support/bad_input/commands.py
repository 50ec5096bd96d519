"""Bad command lines."""

from __future__ import annotations

from bad_input.case import RUN_DIR, SWEEP, Command
from bad_input.folders import finished_run, other_folder, sweep_folder, torn_status

# fmt: off
SWEEPS_COMMANDS = [
    Command("no_spec_file", "launch given/none.yaml", "given/none.yaml: ", ("No such file",)),
    Command("spec_is_folder", "launch given", "given: ", ("directory",)),
    Command("wandb_choice", "launch given/sweep.yaml --wandb onlin", "", ("--wandb", "'onlin'", "offline"), usage=True),
    Command("unknown_option", "launch given/sweep.yaml --trials 4", "", ("--trials",), usage=True),
    Command("no_command", "", "", ("COMMAND",), usage=True),
    Command("unknown_command", "lunch given/sweep.yaml", "", ("'lunch'", "launch"), usage=True),
    *(Command(f"{name}_{label}", f"{name} {folder}{' --trial 0' if name == 'replay' else ''}", folder, ("must",),
             setting) for name in ("status", "best", "report", "replay") for label, folder,
         setting in (("missing", "nowhere", None), ("no_sweep", RUN_DIR, other_folder), ("file", SWEEP, None))),
    Command("status_torn", f"status {RUN_DIR}", RUN_DIR, ("status.json",), torn_status),
    Command("best_torn", f"best {RUN_DIR}", RUN_DIR, ("status.json",), torn_status),
    Command("replay_no_such_trial", f"replay {RUN_DIR} --trial 99", RUN_DIR, ("99",), sweep_folder),
    Command("replay_negative_trial", f"replay {RUN_DIR} --trial -1", RUN_DIR, ("must", "trials/-0001"), sweep_folder),
    Command("replay_text", f"replay {RUN_DIR} --trial best", "", ("--trial", "'best'"), sweep_folder, usage=True),
    Command("worker_missing", "worker nowhere", "nowhere: ", ("no spec.yaml",)),
]

LIT_DL_COMMANDS = [
    Command("unknown_key_in_config", "fit --config given/typo.yaml", "model.network.widht: ",
         ("no such key", "'model.network.width'")),
    Command("unknown_key", "fit --config given/base.yaml --model.network.widht 8", "model.network.widht: ",
         ("no such key", "'model.network.width'")),
    Command("unknown_key_equals", "fit --config given/base.yaml --trainer.max_epoch=8", "trainer.max_epoch: ",
         ("no such key", "'trainer.max_epochs'")),
    Command("missing_config", "fit --config given/none.yaml", "given/none.yaml: ", ("No such file",)),
    Command("config_without_file", "fit --config", "--config: ", ("file",)),
    Command("unknown_subcommand", "fitt --config given/base.yaml", "", ("fitt", "fit")),
    Command("no_subcommand", "", "", ("fit", "validate")),
    Command("type", "fit --config given/base.yaml --data.batch_size fifty", "data.batch_size: ", ("int", "fifty")),
    Command("no_value", "fit --config given/base.yaml --trainer.max_epochs", "trainer.max_epochs: ", ()),
    Command("class", "fit --config given/base.yaml --model nowhere.Net", "model.class_path: ",
         ("'nowhere.Net'", "import")),
    Command("data_dir", "fit --config given/base.yaml --data.data_dir /nowhere", "", ("/nowhere", "data.data_dir")),
    Command("run_dir_has_run", "fit --config given/base.yaml --run_dir done", "run_dir: ", ("done",), finished_run),
    Command("run_dir_unwritable", "fit --config given/base.yaml --run_dir /proc/nope", "run_dir: ", ("/proc/nope",)),
    Command("run_dir_below_file", "fit --config given/base.yaml --run_dir given/base.yaml/x", "run_dir: ",
         ("given/base.yaml",)),
    Command("checkpoint_missing", "test --config given/base.yaml --ckpt_path none.ckpt", "ckpt_path: ", ("none.ckpt",)),
    Command("checkpoint_broken", "test --config given/base.yaml --ckpt_path given/base.yaml", "ckpt_path: ",
         ("given/base.yaml",)),
    Command("fit_checkpoint_missing", "fit --config given/base.yaml --ckpt_path none.ckpt", "ckpt_path: ",
         ("none.ckpt",)),
    Command("monitor", "fit --config given/base.yaml --early_stopping.monitor val/los --trainer.max_epochs 1",
         "early_stopping.monitor: ", ("val/los", "val/loss")),
    Command("stray_word", "fit given/base.yaml", "", ("given/base.yaml",)),
    Command("not_yaml", "fit --config given/base.yaml --model.network.width '[8,'", "model.network.width: ", ("[8,",)),
    Command("validate_batch_size", "validate --config given/base.yaml --data.batch_size 49", "data.batch_size: ",
            ("at most", "48", "got 49")),
    Command("wandb_online_without_key", "fit --config given/base.yaml --tracking.wandb online", "tracking.wandb: ",
            ("online", "key")),
    Command("predict_run_dir", "predict --config given/base.yaml --run_dir /proc/nope", "run_dir: ", ("/proc/nope",)),
    Command("one_dash", "fit --config given/base.yaml -model 3", "", ("-model",)),
]
