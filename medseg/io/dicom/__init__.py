"""DICOM in: headers, verdicts on series, pixels."""
