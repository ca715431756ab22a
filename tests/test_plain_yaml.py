"""YAML of strangers: settings and label tables within bounds, in one sentence else."""

from __future__ import annotations

import pytest

from medseg.cli.label_file import read_label_file
from medseg.config_files import config_names, config_text, load_config
from medseg.errors import ConfigError
from medseg.plain_yaml import YamlError, parse_yaml, shown

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
MERGES = "a: &a {k: 1, l: 2, m: 3}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
ATTACKS = {
    "aliases that unfold": (BOMB, "unfolds to more than 20000 values"),
    "merges that unfold": (MERGES, "unfolds to more than 20000 values"),
    "deep lists": ("a: " + "[" * 5000 + "]" * 5000, "is nested more than 32 deep"),
    "deep lists without end": ("[" * 100_000, "is nested more than 32 deep"),
    "deep blocks": ("".join(f"{' ' * n}a:\n" for n in range(1000)), "is nested more than 32 deep"),
    "deep by aliases": (
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 100)), "is nested more than 32 deep"),
    "itself": ("a: &a [*a]", "refers to itself"),
    "itself as a key": ("&a {*a : 1}", "refers to itself"),
    "a number of 5000 digits": (f"a: {'9' * 5000}", "holds a value that cannot be"),
    "a day that is none": ("a: 2001-99-99", "holds a value that cannot be"),
    "a binary that is none": ("a: !!binary x", "is not valid YAML"),
    "an object": ("a: !!python/object/apply:os.system [ls]", "is not valid YAML"),
    "a list as a key": ("? [a]\n: b", "is not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2", "is not valid YAML"),
    "control characters": ("a: \x07", "is not valid YAML"),
    "too long": ("#" * (1 << 20) + "\n", "is longer than 1048576 letters"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_out_of_bounds_is_one_sentence(tmp_path, name):
    text, message = ATTACKS[name]
    with pytest.raises(YamlError, match=message):
        parse_yaml(text)
    path = tmp_path / "x.yaml"
    path.write_text(text)
    for read in (lambda: load_config(str(path)), lambda: read_label_file(path)):
        with pytest.raises(ConfigError, match=message) as caught:
            read()
        assert len(str(caught.value)) < 600
    if "\n" not in text and len(text) < 10_000:
        with pytest.raises(ConfigError, match=f"--set training.seed: the value {message}"):
            load_config("generic", [f"training.seed={text}"])


def test_a_file_without_end_is_not_read_to_its_end():
    with pytest.raises(ConfigError, match="is longer than"):
        load_config("/dev/zero")


def test_aliases_within_bounds_are_read(tmp_path):
    (tmp_path / "x.yaml").write_text("training: &t\n  seed: 3\nclustering: {n_clusters: 4}\n")
    assert load_config(str(tmp_path / "x.yaml")).training.seed == 3
    assert parse_yaml("a: &a {b: 1}\nc: *a\nd: {<<: *a, e: 2}") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}
    assert parse_yaml("") is None


def test_our_own_files_are_far_within_bounds():
    for name in config_names():
        assert parse_yaml(config_text(load_config(name)))


def test_values_in_messages_are_short(tmp_path):
    (tmp_path / "x.yaml").write_text(f"training: {{seed: {'x' * 5000}}}")
    with pytest.raises(ConfigError) as caught:
        load_config(str(tmp_path / "x.yaml"))
    assert len(str(caught.value)) < 400
    assert shown(4) == "4"
