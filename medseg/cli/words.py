"""Settings and outputs from the words of a command; nothing here is heavy, so that a wrong word is told at once."""

from __future__ import annotations

import argparse

from medseg.config import Config
from medseg.config_files import load_config
from medseg.errors import ConfigError
from medseg.model.outputs import Output, requested


def check_words(args: argparse.Namespace) -> None:
    """Refuse settings and outputs that do not exist before anything heavy is imported or started.

    Raises:
        ConfigError: what is wrong with them.
    """
    if hasattr(args, "set") and args.config is not None:
        config_of(args)
    if hasattr(args, "write"):
        parse_outputs(args.write)


def config_of(args: argparse.Namespace) -> Config:
    """The configuration that the flags ask for."""
    return load_config(args.config, [*args.set, *(["training.deterministic=true"] if args.deterministic else [])])


def parse_outputs(text: str) -> frozenset[Output]:
    """The outputs that ``nifti,seg.nrrd`` names.

    Raises:
        ConfigError: an unknown name, or none.
    """
    try:
        outputs = requested(part.strip() for part in text.split(",") if part.strip())
    except ConfigError as error:
        raise ConfigError(f"--write {text}: {error}") from None
    if not outputs:
        raise ConfigError(f"--write {text}: found nothing, expected some of {', '.join(Output)}")
    return outputs
