"""Files in and out: the only place that knows DICOM, NIfTI, NRRD and their conventions."""
