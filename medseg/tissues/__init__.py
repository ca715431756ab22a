"""The intensity model of one scan: shading, contrast, partial volume, local means."""
