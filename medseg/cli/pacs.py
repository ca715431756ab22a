"""`medseg pacs`: what its flags say of the server, of credentials and of the series; what it says at the end."""

from __future__ import annotations

import argparse
import os
import re
from importlib.util import find_spec
from pathlib import Path

from medseg.batch.progress import say
from medseg.batch.segment_pacs import Outcome
from medseg.errors import ConfigError
from medseg.io.pacs.base import Bounds, Credentials, Query, Tls
from medseg.io.pacs.connect import Address
from medseg.wording import count_of

NO_LIMIT_S = 10.0**9
_VARIABLES = {"token": "MEDSEG_PACS_TOKEN", "user": "MEDSEG_PACS_USER", "password": "MEDSEG_PACS_PASSWORD"}


def address_of(args: argparse.Namespace) -> Address:
    """The PACS that the flags name.

    Raises:
        ConfigError: a flag is wrong, or a package that speaks the protocol is not installed.
    """
    credentials = read_credentials(args.credentials)
    tls = Tls(_existing(args.ca, "--ca"), _existing(args.cert, "--cert"))
    for package in ("requests", "pynetdicom"):
        if find_spec(package) is None:
            raise ConfigError(f"medseg pacs needs {package}, which is not installed; pip install 'medseg[pacs]'")
    bounds = Bounds(seconds=args.timeout or NO_LIMIT_S, series_bytes=int(args.max_download * (1 << 30)))
    is_encrypted = bool(args.tls or tls.authority or tls.certificate)
    return Address(args.dicomweb or "", args.dimse or "", args.aet, credentials, tls, is_encrypted, bounds)


def _existing(path: Path | None, flag: str) -> Path | None:
    if path is not None and not path.is_file():
        raise ConfigError(f"{flag} {path}: found no file, expected a PEM file; check the path")
    return path


def read_credentials(path: Path | None) -> Credentials:
    """Token, or user and password, from a file of ``name=value`` lines; without a file from the environment.

    Raises:
        ConfigError: the file cannot be read or holds something else.
    """
    if path is None:
        return Credentials(**{name: os.environ.get(variable, "") for name, variable in _VARIABLES.items()})
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"--credentials {path}: cannot be read, expected a text file; check the path") from None
    pairs = dict(line.partition("=")[::2] for line in lines if line and not line.startswith("#"))
    values = {name.strip(): value.strip() for name, value in pairs.items()}
    if not values or not set(values) <= set(_VARIABLES):
        raise ConfigError(f"--credentials {path}: expected lines token=..., or user=... and password=...")
    return Credentials(**values)


def parse_query(args: argparse.Namespace) -> Query:
    """What to look for.

    Raises:
        ConfigError: nothing is named, which would mean the whole PACS, or a value has another form.
    """
    query = Query(args.patient or "", args.study or "", (args.modality or "").upper(), args.date or "")
    if query == Query():
        raise ConfigError("medseg pacs: name at least one of --patient, --study, --modality, --date")
    for flag, value in (("--patient", query.patient), ("--study", query.study), ("--modality", query.modality)):
        if re.search(r"[*?\\]", value):
            raise ConfigError(f"{flag}: found a wildcard, expected one value")
    if query.date and not re.fullmatch(r"\d{8}|\d{8}-|-\d{8}|\d{8}-\d{8}", query.date):
        raise ConfigError(f"--date {query.date}: expected YYYYMMDD or YYYYMMDD-YYYYMMDD")
    return query


def say_summary(outcome: Outcome) -> None:
    """Say what happened to each scan that is not done, and how many are."""
    for record in outcome.records:
        if not record.is_done:
            say(f"{record.scan}: {record.status}: {record.why}")
    if outcome.n_others:
        say(f"{outcome.n_others} studies of the answer are not what was asked for and were left out")
    n_done = sum(record.is_done for record in outcome.records)
    say(f"{n_done} of {count_of(len(outcome.records), 'scan')} segmented and stored")
    say(f"{outcome.n_known} series had their segmentation already")
