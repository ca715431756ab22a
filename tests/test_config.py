from __future__ import annotations

import pytest
import yaml
from pydantic import BaseModel

from medseg.config import Config, config_names, load_config
from medseg.errors import ConfigError


@pytest.mark.parametrize("name", config_names())
def test_every_config_is_complete_and_commented(name, request):
    path = request.config.rootpath / "configs" / f"{name}.yaml"
    text = path.read_text()
    assert set(leaves(yaml.safe_load(text))) == set(leaves(Config().model_dump()))
    assert text.startswith("#")
    assert load_config(str(path)) == load_config(name)
    for line in text.splitlines():
        if line.startswith("  ") and ":" in line:
            assert "#" in line, f"{line.strip()} has no comment"


def leaves(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


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
        config.clustering = None
