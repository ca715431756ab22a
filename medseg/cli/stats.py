"""`medseg stats`: the label maps of a folder measured in their scans, one scan after the other."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.batch.label_tables import RADIOMICS, STATISTICS, VOLUMES
from medseg.batch.outputs import Job
from medseg.batch.progress import bar, say
from medseg.batch.tables import locked, write_tables
from medseg.cli.scans import scans_of
from medseg.config import Config
from medseg.errors import ConfigError, InputError
from medseg.io.label_volumes import read_labels
from medseg.io.read import read_scan
from medseg.io.scan import Scan
from medseg.labels.table import LabelTable
from medseg.model.outputs import Output
from medseg.model.record import Record, read_records, write_record
from medseg.model.segmentation import Segmentation
from medseg.report.outcome import read_outcome
from medseg.spatial.geometry import Geometry
from medseg.statistics.features import label_features
from medseg.statistics.intensity import intensity_statistics, places_in, unit_of


@dataclass(frozen=True)
class Measuring:
    """What is measured, and in which folder.

    Attributes:
        unit: of the intensities.
        with_features: whether the features of the IBSI are wanted.
    """

    out: Path
    table: LabelTable
    config: Config
    unit: str
    with_features: bool = False

    @classmethod
    def of(cls, out: Path, *, with_features: bool) -> Measuring:
        """As the folder's ``run.json`` says.

        Raises:
            ConfigError: the folder has none that can be read, or no records.
        """
        outcome = read_outcome(out)
        facts = outcome.facts
        try:
            return cls(out, LabelTable(labels=outcome.labels), Config.model_validate(facts["config"]),
                       unit_of(str(facts["plan"]["modality"])), with_features)  # fmt: skip
        except (KeyError, TypeError, ValueError):
            raise ConfigError(f"{out}: found no run.json that can be read, expected a folder that `medseg segment` "
                              "wrote; segment again") from None  # fmt: skip

    def measured(self, record: Record, scan: Scan) -> Record:
        """The record with what the label map on the disk gives in the scan.

        Raises:
            InputError: ``no_labels``, ``other_grid``, ``unknown_label``, or what the scan is refused for.
        """
        path = Job.of(self.out, record.job).path(record.scan, Output.NIFTI)
        if not path.is_file():
            raise InputError(f"its label map {path.name} is not there, expected the NIfTI file that segmenting wrote; "
                             "segment it again with --write nifti", code="no_labels")  # fmt: skip
        image = read_scan(scan)
        labels, geometry = read_labels(path)
        if not geometry.is_close(Geometry.of(image)):
            raise InputError(f"the scan lies on another grid than its label map: found {Geometry.of(image)}, expected "
                             f"{geometry}; give the scan that was segmented (--regrid as then), or segment it again",
                             code="other_grid")  # fmt: skip
        numbers = [label.number for label in self.table]
        unknown = sorted(set(places_in(labels)) - set(numbers))
        if unknown:
            raise InputError(f"its label map has the labels {unknown}, expected some of {numbers}; correct it, or "
                             "segment it again", code="unknown_label")  # fmt: skip
        channels = self.config.channels.names
        volumes = Segmentation(labels, geometry, self.table).volumes_mm3()
        statistics = intensity_statistics(image, labels, numbers, unit=self.unit, channels=channels)
        radiomics = record.radiomics if statistics == record.statistics else ()
        if self.with_features:
            radiomics = label_features(image, labels, numbers, unit=self.unit, channels=channels)
        return replace(record, volumes_mm3=volumes, statistics=statistics, radiomics=radiomics)


def measure_folder(args: argparse.Namespace) -> int:
    """Measure every done scan of OUT that is found below SCANS and renew the tables; 1 if one could not be.

    Raises:
        ConfigError: OUT holds no results, SCANS no scan of them.
    """
    measuring = Measuring.of(args.out, with_features=args.radiomics)
    done = {record.scan: record for record in read_records(args.out) if record.is_done}
    found = {scan.id: scan for scan in scans_of(args, measuring.config) if scan.id in done}
    if not found:
        raise ConfigError(f"{args.scans}: found none of the {len(done)} segmented scans of {args.out}, expected some; "
                          "give the folder that they were segmented from, and --keep-names as then")  # fmt: skip
    n_failed = 0
    with bar("measuring", len(found)) as progress:
        for n_done, (name, scan) in enumerate(found.items(), start=1):
            n_failed += not _measure(measuring, done[name], scan)
            progress.advance(n_done)
    with locked(args.out):
        write_tables(args.out, read_records(args.out), measuring.table)
    say(f"{len(found) - n_failed} of {len(found)} scans measured")
    n_missing = 0 if args.include or args.exclude else len(done) - len(found)
    if n_missing:
        say(f"{n_missing} segmented scans are not below {args.scans} and keep the numbers that they had")
    say(f"tables: {', '.join(str(args.out / name) for name in _written(args.out))}")
    return 1 if n_failed or n_missing else 0


def _measure(measuring: Measuring, record: Record, scan: Scan) -> bool:
    """Measure one scan and keep it; whether that went well."""
    try:
        write_record(measuring.out, measuring.measured(record, scan))
    except InputError as error:
        say(f"{scan.id}: {error.code}: {error}")
        return False
    except (OSError, MemoryError) as error:
        say(f"{scan.id}: machine: {type(error).__name__}; free space or memory and run again")
        return False
    return True


def _written(out: Path) -> list[str]:
    return [name for name in (VOLUMES, STATISTICS, RADIOMICS) if (out / name).is_file()]
