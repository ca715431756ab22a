"""`medseg configs`: the configs and every setting."""

from __future__ import annotations

import argparse

from medseg.cli.flags import Commands, command


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "configs", "list the configs; print every setting of one with its meaning, to be edited")
    parser.add_argument("config", nargs="?", metavar="NAME", help="one of the names, or a YAML file")


def run(args: argparse.Namespace) -> int:
    """List the configs that come with medseg, or print every setting of one with its meaning."""
    from medseg.config_files import config_names, config_summary, config_text, load_config

    if args.config is None:
        for name in config_names():
            print(f"{name:10}  {config_summary(name)}")
    else:
        print(config_text(load_config(args.config)), end="")
    return 0
