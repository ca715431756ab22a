"""A PACS over DICOMweb or over the classic network protocol."""
