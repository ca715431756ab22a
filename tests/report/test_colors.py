"""Colours of the page against WCAG 2.2."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np


def test_contrast_is_aa_in_light_and_dark():
    style = files("medseg.report").joinpath("page.css").read_text("utf-8")
    schemes = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)
    assert len(schemes) == 3  # light, dark, print
    for scheme in schemes:
        colors = dict(re.findall(r"--(\w+(?:-\w+)?): (#\w{6})", scheme))
        pairs = [(x, y) for x in ("text", "muted", "link", "bad", "odd") for y in ("page", "card")]
        for front, back in [*pairs, ("bad", "bad-page"), ("odd", "odd-page")]:
            assert contrast(colors[front], colors[back]) >= 4.5, (front, back)


def contrast(front, back):
    """The contrast ratio of WCAG 2.2."""
    bright, dark = sorted((luminance(front), luminance(back)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(color):
    parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
