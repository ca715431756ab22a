from __future__ import annotations

from itertools import pairwise

import pytest
import yaml
from pydantic import BaseModel

from medseg.cli.main import main
from medseg.config import Config
from medseg.config_files import config_names, config_summary, load_config
from medseg.errors import ConfigError
from tests.support.paths import ROOT


@pytest.mark.parametrize("name", config_names())
def test_a_config_holds_what_differs_from_the_defaults(name):
    path = ROOT / "configs" / f"{name}.yaml"
    text = path.read_text()
    assert text.startswith("#")
    assert config_summary(name) == text.splitlines()[0].lstrip("# ")
    assert load_config(str(path)) == load_config(name)
    defaults = dict(leaves(Config().model_dump(mode="json")))
    for key, value in leaves(yaml.safe_load(text)):
        assert value != defaults[key], f"{key} is {value} anyway"


@pytest.mark.parametrize("name", config_names())
def test_a_config_is_printed_whole_with_its_meanings(name, tmp_path, capsys):
    assert main(["configs", name]) == 0
    text = capsys.readouterr().out
    assert dict(leaves(yaml.safe_load(text))) == dict(leaves(load_config(name).model_dump(mode="json")))
    (tmp_path / "own.yaml").write_text(text)
    assert load_config(str(tmp_path / "own.yaml")) == load_config(name)
    lines = text.splitlines()
    for before, line in pairwise(lines):
        if line.startswith("  ") and not line.startswith("  #"):
            assert before.startswith("  # "), f"{line.strip()} has no meaning"


def test_the_configs_are_listed(capsys):
    assert main(["configs"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == config_names()


def leaves(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_the_configs_of_the_contract_are_there():
    assert set(config_names()) >= {"brain_t1", "body_ct", "lung_mr", "generic", "smoke"}


def test_changes_are_applied_in_order():
    config = load_config("generic", ["clustering.n_clusters=4", "training.seed=7", "clustering.n_clusters=5"])
    assert (config.clustering.n_clusters, config.training.seed) == (5, 7)
    assert load_config("generic", ["preprocessing.spacing_mm=2"]).preprocessing.spacing_mm == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("clustering.n_cluster=4", r"clustering\.n_cluster: unknown key"),
        ("clustering.n_clusters=1", r"clustering\.n_clusters: .*greater than or equal to 2, found 1"),
        ("clustering.n_clusters=64", r"clustering\.n_clusters: .*less than or equal to 32, found 64"),
        ("clustering.n_clusters=many", r"clustering\.n_clusters: .*integer"),
        ("training.max_steps", "expected section.key=value"),
        ("training.max_steps=[", "not valid YAML"),
        ("training.max_steps.deep=1", "is no section"),
        ("preprocessing.window_hu=[100, -100]", "window_hu must ascend"),
        ("preprocessing.spacing_mm=[1, -1, 1]", "spacing_mm must be positive"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        load_config("generic", [change])


def test_an_unknown_config_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"brain_t1.*generic"):
        load_config("brian")


@pytest.mark.parametrize(("text", "message"), [("a: [", "not valid YAML"), ("- 1", "found list, expected keys")])
def test_a_bad_file_is_refused(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(str(tmp_path / "c.yaml"))


def test_a_config_cannot_be_changed():
    config = load_config("generic")
    assert isinstance(config, BaseModel)
    with pytest.raises(ValueError, match="frozen"):
        config.clustering = None  # type: ignore[misc, assignment]
