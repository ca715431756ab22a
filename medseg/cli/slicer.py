"""medseg as a command line module of 3D Slicer: its description, and the one scan that Slicer asks for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from medseg.errors import ConfigError
from medseg.version import __version__

DESCRIPTION = f"""<?xml version="1.0" encoding="utf-8"?>
<executable>
  <category>Segmentation</category>
  <title>medseg</title>
  <description><![CDATA[Label-free segmentation with a fitted model. Not a medical device.]]></description>
  <version>{__version__}</version>
  <documentation-url></documentation-url>
  <license>Apache-2.0</license>
  <contributor>The medseg authors</contributor>
  <parameters>
    <label>Segmentation</label>
    <description><![CDATA[The scan, the model and where the labels go]]></description>
    <directory>
      <name>model</name>
      <longflag>--model</longflag>
      <label>Model folder</label>
      <description><![CDATA[A folder that `medseg train` or `medseg run` wrote; holds model.json]]></description>
      <channel>input</channel>
    </directory>
    <string-enumeration>
      <name>device</name>
      <longflag>--device</longflag>
      <label>Device</label>
      <description><![CDATA[Where to compute]]></description>
      <default>auto</default>
      <element>auto</element>
      <element>cpu</element>
      <element>cuda</element>
    </string-enumeration>
    <image fileExtensions=".nii.gz">
      <name>scan</name>
      <label>Scan</label>
      <description><![CDATA[The volume to segment]]></description>
      <channel>input</channel>
      <index>0</index>
    </image>
    <image type="label" reference="scan" fileExtensions=".nii.gz">
      <name>labels</name>
      <label>Labels</label>
      <description><![CDATA[The label map volume that is made]]></description>
      <channel>output</channel>
      <index>1</index>
    </image>
  </parameters>
</executable>
"""
"""The module's panel (3D Slicer, "Slicer Execution Model"); modules are called with --model, --device, SCAN, LABELS."""


class PrintDescription(argparse.Action):
    """``--xml``: print the description and leave."""

    def __init__(self, option_strings: list[str], dest: str, **options: object) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=str(options.get("help", "")))

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print and exit with 0."""
        sys.stdout.write(DESCRIPTION)
        parser.exit()


def segment_for_slicer(
    model_folder: Path, scan: Path, labels: Path, device: str, *, confidence: Path | None = None
) -> None:
    """Segment the one file `scan` into `labels`, telling Slicer how far it is.

    Args:
        labels: a label map (``.nii``, ``.nii.gz``), or a segmentation with names, colours and codes (``.seg.nrrd``).
        confidence: where the probability of each label goes (``.nii``, ``.nii.gz``); None: nowhere.

    Raises:
        ConfigError: the file names have other endings.
        InputError: the scan is refused.
    """
    from medseg.io.label_volumes import NIFTI_SUFFIXES, write_labels, write_shares
    from medseg.io.read import read_scan
    from medseg.io.seg_nrrd import write_seg_nrrd
    from medseg.model.model import Model

    is_segmentation = labels.name.endswith(".seg.nrrd")
    if not is_segmentation and not labels.name.endswith(NIFTI_SUFFIXES):
        raise ConfigError(f"{labels.name}: expected a name that ends in .nii.gz, .nii or .seg.nrrd")
    if confidence is not None and not confidence.name.endswith(NIFTI_SUFFIXES):
        raise ConfigError(f"{confidence.name}: expected a name that ends in .nii.gz or .nii")
    _tell(0.05)
    model = Model.load(model_folder, device=device)
    _tell(0.2)
    image = read_scan(scan)
    _tell(0.3)
    result = model.segment(image, outputs=[] if confidence is None else ["confidence"])
    _tell(0.95)
    if is_segmentation:
        write_seg_nrrd(result.labels, result.geometry, result.table, labels)
    else:
        write_labels(result.labels, result.geometry, labels, table=result.table)
    if confidence is not None and result.confidence is not None:
        write_shares(result.confidence, result.geometry, confidence)
    _tell(1.0)


def _tell(share: float) -> None:
    sys.stdout.write(f"<filter-progress>{share:g}</filter-progress>\n")
    sys.stdout.flush()
