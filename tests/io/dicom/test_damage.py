"""Series damaged at random: read or refused, never anything else."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import InputError
from medseg.io.discovery import find_scans
from tests.support.dicom_files import (
    axial_files,
    read,
)


@settings(max_examples=80)
@given(data=st.data(), is_marked=st.booleans())
def test_any_damage_is_read_or_refused(data: st.DataObject, is_marked: bool) -> None:
    content = bytearray(axial_files()[0])
    if not is_marked:
        del content[: content.index(b"\x08\x00\x08\x00")]
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "damaged")
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        assert all(not scan.is_ok for scan in find_scans(folder))
        with pytest.raises(InputError):
            read([path])
