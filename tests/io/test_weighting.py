"""What an MR image is probably weighted by: protocols of three vendors, and what gets no guess."""

from __future__ import annotations

import pytest

from medseg.io.weighting import Times, weighting_of

PROTOCOLS = {
    "Siemens MPRAGE": ("GR IR", "SK SP MP", Times(2300, 2.98, 900, 9), "T1-weighted"),
    "GE BRAVO": ("GR", "SS SP", Times(8.2, 3.2, 450, 12), "T1-weighted"),
    "Philips T1 TFE": ("GR", "MP", Times(8.1, 3.7, None, 8), "T1-weighted"),
    "VIBE": ("GR", "SP OSP", Times(4.1, 1.8, None, 10), "T1-weighted"),
    "T1 spin echo": ("SE", "SP", Times(500, 8.9, None, 75), "T1-weighted"),
    "T1 FLAIR of GE": ("SE IR", "SK", Times(2500, 10, 860), "T1-weighted"),
    "T2 TSE": ("SE", "SK", Times(4000, 99), "T2-weighted"),
    "T2 SPACE": ("SE", "SK", Times(3200, 408), "T2-weighted"),
    "PD TSE": ("SE", "SK", Times(2500, 12), "PD-weighted"),
    "2D FLAIR": ("SE IR", "SK SP MP", Times(9000, 136, 2500), "T2-weighted FLAIR"),
    "FLAIR SPACE": ("IR SE", "SK SP MP", Times(5000, 394, 1800), "T2-weighted FLAIR"),
    "STIR": ("SE IR", "SK", Times(4000, 50, 150), "STIR"),
    "SWI": ("GR", "SP", Times(28, 20, None, 15), "T2*-weighted"),
}
LEFT_OPEN = {
    "echo planar": ("EP", "SK", Times(3000, 30, None, 76)),
    "echo planar spin echo": ("EP SE", "SK", Times(8000, 90)),
    "research mode": ("RM", "SP", Times(10, 3)),
    "no sequence": ("", "", Times(10, 3)),
    "both": ("SE GR", "SK", Times(4000, 90)),
    "TrueFISP": ("GR", "SS", Times(4, 2, None, 60)),
    "TOF with magnetisation transfer": ("GR", "SP MTC", Times(24, 3.5, None, 18)),
    "weak pulse": ("GR", "SP", Times(24, 3.5, None, 4)),
    "long TR": ("GR", "SP", Times(700, 3.5, None, 60)),
    "TE between": ("GR", "SP", Times(30, 9, None, 20)),
    "spin echo between": ("SE", "SK", Times(1200, 50)),
    "long TR, TE between": ("SE", "SK", Times(3000, 50)),
    "inversion without its time": ("IR SE", "SK", Times(9000, 130)),
    "odd inversion time": ("GR IR", "MP", Times(2300, 3, 2000)),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_usual_protocols(name):
    sequence, variant, times, expected = PROTOCOLS[name]
    assert weighting_of(sequence.split(), variant.split(), times) == expected


@pytest.mark.parametrize("name", LEFT_OPEN)
def test_what_is_left_open(name):
    sequence, variant, times = LEFT_OPEN[name]
    assert weighting_of(sequence.split(), variant.split(), times) == ""
