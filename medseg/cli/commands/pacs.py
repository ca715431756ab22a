"""`medseg pacs`: series of a PACS."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, add_limits, add_outputs, command, positive
from medseg.errors import ConfigError


def add(commands: Commands) -> None:
    """Its flags."""
    parser = command(commands, "pacs", "segment series of a PACS and store DICOM segmentations beside them")
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--dicomweb", metavar="URL", help="DICOMweb service, such as https://pacs.example/dicom-web")
    server.add_argument("--dimse", metavar="TITLE@HOST:PORT", help="C-FIND, C-GET and C-STORE instead of DICOMweb")
    parser.add_argument("--patient", metavar="ID", help="series of this patient")
    parser.add_argument("--study", metavar="UID", help="series of this study")
    parser.add_argument("--modality", metavar="MR", help="series of this modality (default: CT, MR and PT)")
    parser.add_argument("--date", metavar="FROM-TO", help="series of studies of these days, YYYYMMDD-YYYYMMDD")
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL", help="model folder")
    add_outputs(parser)
    parser.add_argument("--credentials", type=Path, metavar="FILE", help="lines token=..., or user=... and "
                        "password=... (default: MEDSEG_PACS_TOKEN, _USER, _PASSWORD)")  # fmt: skip
    parser.add_argument("--ca", type=Path, metavar="PEM", help="authority that signed the server's certificate")
    parser.add_argument("--cert", type=Path, metavar="PEM", help="own certificate with its key")
    parser.add_argument("--tls", action="store_true", help="encrypt --dimse (https does without)")
    add_limits(parser)
    parser.add_argument("--max-download", type=positive, default=16.0, metavar="GB", help="most bytes that the server "
                        "may send for one series (default: 16)")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--aet", default="MEDSEG", metavar="TITLE", help="own title for --dimse (default: MEDSEG)")


def run(args: argparse.Namespace) -> int:
    """Segment series of a PACS and store the results there."""
    from medseg.batch.busy import writing
    from medseg.batch.courier import Courier
    from medseg.batch.outputs import Job, check_writable
    from medseg.batch.pool import Limits
    from medseg.batch.segment_pacs import segment_pacs, workers
    from medseg.batch.segment_scan import finish
    from medseg.brain.tools import chosen_tool
    from medseg.cli.pacs import address_of, parse_query, say_summary
    from medseg.cli.report import write_report
    from medseg.cli.segment_and_report import quotable
    from medseg.cli.words import parse_outputs
    from medseg.model.model import Model

    query, address, outputs = parse_query(args), address_of(args), parse_outputs(args.write)
    courier = Courier(address, args.out)
    model = Model.load(args.model, device=args.device)
    if model.config.channels.names:
        raise ConfigError("medseg pacs works on one series at a time, found a model of several channels; fetch the "
                          "studies and use medseg segment")  # fmt: skip
    model.check(outputs)
    check_writable(args.out)
    tool = chosen_tool(model.config.preprocessing.brain_mask)
    job = Job(args.out.resolve(), outputs, min_confidence=args.min_confidence, brain_mask=tool)
    limits = Limits.of(args.timeout, args.max_memory)
    with writing(job.out):
        with courier as pacs, workers(args.model, job, args.device, limits) as work:
            outcome = segment_pacs(pacs, query, work, job, model.fingerprint)
        finish(job.out, model, quotable(args))
        write_report(job.out)
    say_summary(outcome)
    return 0 if all(record.is_done for record in outcome.records) else 1
