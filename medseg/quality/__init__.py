"""Measures of a scan that tell whether something is wrong with it, and maps of what is unusual in it."""
