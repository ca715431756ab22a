"""Intensities and shape of the labels of a scan, as numbers with units."""
