"""What is said of places that cannot be written, and arrays that find no room."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medseg.errors import OutputError
from medseg.runtime.cache import Store
from medseg.runtime.disk import EVERYWHERE, Need, lost_write, output_error, reserve, size_text, writing_to

SAID = {
    errno.ENOSPC: ("disk_full", "the disk is full"),
    errno.EDQUOT: ("over_quota", "the disk quota is used up"),
    errno.EROFS: ("read_only", "the file system can only be read"),
    errno.EIO: ("disk_failed", "the disk or network share failed (Input/output error)"),
    errno.ESTALE: ("disk_failed", "the disk or network share failed (Stale file handle)"),
    errno.EFBIG: ("machine", "the file is larger than the file system or ulimit -f allows"),
    errno.EACCES: ("no_write_permission", "no permission to write"),
    errno.EPERM: ("no_write_permission", "no permission to write"),
    errno.EMFILE: ("machine", "too many open files"),
    errno.ENAMETOOLONG: ("bad_name", "the name or path is too long for the file system"),
    errno.ELOOP: ("machine", os.strerror(errno.ELOOP)),
}


@pytest.mark.parametrize("number", SAID)
def test_each_fault_by_its_name(tmp_path, number):
    code, words = SAID[number]
    with pytest.raises(OutputError) as caught, writing_to(tmp_path / "a"):
        raise OSError(number, "whatever the system says")
    assert str(caught.value).startswith(f"{tmp_path / 'a'}: cannot be written: {words}")
    assert str(caught.value) == f"{tmp_path / 'a'}: {caught.value.reason}"
    assert (caught.value.code, caught.value.place) == (code, tmp_path / "a")
    assert (code in EVERYWHERE) == (number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE))


@pytest.mark.parametrize("error", [OSError("Not a gzipped file"), ValueError("a bug")])
def test_what_the_disk_did_not_say_passes(tmp_path, error):
    with pytest.raises(type(error)) as caught, writing_to(tmp_path):
        raise error
    assert caught.value is error


def test_how_much_is_free_and_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_234_567))
    full = OSError(errno.ENOSPC, "full")
    for need, words in ((Need(), ""), (Need(45_000_000, 7), ", about 45 MB are needed"),
                        (Need(0, 3_000), ", more than 3.0 kB are needed")):  # fmt: skip
        told = str(output_error(full, tmp_path / "not" / "there", need))
        assert f"the disk is full (1.2 MB are free{words}); free space" in told
    assert "the disk is full; free" in str(output_error(full, Path("standard output")))


def test_no_file_left_though_there_is_room(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_files=1000, f_favail=0))
    told = str(output_error(OSError(errno.ENOSPC, "full"), tmp_path))
    assert "the disk is full (it has room for no further file: no inode is free)" in told


@pytest.mark.parametrize(("n_bytes", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (9_960, "10 kB"),
                                               (999_600, "1.0 MB"), (45e6, "45 MB"), (1.23e9, "1.2 GB"),
                                               (5e15, "5000 TB")])  # fmt: skip
def test_sizes_for_people(n_bytes, text):
    assert size_text(n_bytes) == text


def test_a_library_that_does_not_say_why(tmp_path):
    (tmp_path / "a").write_bytes(b"half")
    assert lost_write(tmp_path / "a").errno == errno.EIO
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "full").symlink_to("/dev/full")
    assert lost_write(tmp_path / "full").errno == errno.ENOSPC


def refuse(number):
    def allocate(_descriptor: int, _begin: int, _n_bytes: int) -> None:
        raise OSError(number, os.strerror(number))

    return allocate


def test_arrays_beyond_memory_that_find_no_room(monkeypatch):
    """A mapped file that runs out of room ends the process, so it is set aside first."""
    store, values = Store(0), np.arange(1000.0)
    assert np.array_equal(store.array(values), values)
    monkeypatch.setattr(os, "posix_fallocate", refuse(errno.ENOSPC), raising=False)
    with pytest.raises(OutputError, match=r"the disk is full \(.+ are free, about 8\.0 kB are needed\)") as caught:
        store.array(values)
    assert caught.value.place == Path(tempfile.gettempdir())
    monkeypatch.setattr(os, "posix_fallocate", refuse(errno.EOPNOTSUPP), raising=False)
    assert np.array_equal(store.array(values), values)


def test_nothing_to_set_aside(monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", refuse(errno.ENOSPC), raising=False)
    reserve(0, 0)
    monkeypatch.delattr(os, "posix_fallocate")
    reserve(0, 10)
