"""DICOM segmentation objects out and in."""
