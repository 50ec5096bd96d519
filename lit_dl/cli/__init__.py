"""Run configs become runs: the parser (LightningCLI), the `lit-dl` command, and `build_run` without a command line."""
