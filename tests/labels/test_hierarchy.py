"""The tree over the labels: nested cuts of one fit, outputs that follow, refusals."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from medseg import ConfigError, Model, read_labels
from medseg.cli.label import Changes
from medseg.cli.main import main
from medseg.errors import ModelError
from medseg.labels.description import Sample
from medseg.labels.growth import grown
from medseg.labels.hierarchy import FINEST, Hierarchy
from medseg.report.mosaic import HEADER
from sample_data.phantom import phantom
from tests.support.cohorts import manifest, small_grid, write_cohort
from tests.support.mosaics import tiles_in

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def tree():
    """Five labels by intensity; each holds two kinds by its surroundings."""
    labels = RNG.integers(0, 5, 6000)
    kind = RNG.integers(0, 2, 6000)
    own = labels + 0.1 * RNG.standard_normal(6000)
    around = np.stack([kind + 0.05 * RNG.standard_normal(6000), 0.05 * RNG.standard_normal(6000)], axis=1)
    rows = np.column_stack([own, around])
    halves = [Sample(rows[part], labels[part], 1) for part in (slice(0, 3000), slice(3000, None))]
    return grown(halves, 5, seed=0), rows, labels, kind


def test_every_cut_has_its_labels_and_coarser_ones_are_unions(tree):
    tree = tree[0]
    assert len(tree) == FINEST
    for cut in range(2, FINEST + 1):
        numbers = tree.numbers(cut)
        assert set(numbers[1:]) == set(range(1, cut + 1))
        if cut > 2:
            assert len({(a, b) for a, b in zip(numbers, tree.numbers(cut - 1), strict=True)}) == cut + 1
    assert np.array_equal(tree.numbers(5)[1:], tree.owners)
    assert np.array_equal(tree.numbers(FINEST), np.arange(FINEST + 1))


def test_labels_divide_where_the_data_do_and_join_with_their_neighbours(tree):
    tree, rows, labels, kind = tree
    lookup = tree.numbers(10)
    scaled = (rows - tree.shift) * tree.scale
    distance = ((scaled[:, None] - tree.centres) ** 2).sum(-1) + 1e9 * (tree.owners != labels[:, None] + 1)
    found = lookup[distance.argmin(1) + 1]
    assert len({(a, b, c) for a, b, c in zip(found, labels, kind, strict=True)}) < 14  # ten pure parts, few strays
    for cut in (2, 3, 4):
        joined = [tree.fitted(leaves) for leaves in tree.parts(cut)]
        assert all(part == tuple(range(part[0], part[-1] + 1)) for part in joined)
    assert tree.shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("cut", [0, 1, FINEST + 1])
def test_a_cut_that_does_not_exist_is_refused(tree, cut):
    with pytest.raises(ConfigError, match=f"a cut of {cut} labels does not exist; this model has cuts of 2 to 32"):
        tree[0].parts(cut)


def test_the_tree_is_saved_whole(tree):
    tree = tree[0]
    again = Hierarchy.from_arrays(tree.arrays())
    assert all(np.array_equal(value, getattr(again, name)) for name, value in vars(tree).items())
    broken = {name: value for name, value in tree.arrays().items() if name != "joins"}
    with pytest.raises(ModelError, match="damaged"):
        Hierarchy.from_arrays(broken)


def test_few_voxels_make_a_smaller_tree():
    sample = Sample(RNG.standard_normal((30, 2)), RNG.integers(0, 2, 30), 1)
    tree = grown([sample], 2, seed=0)
    assert 2 <= len(tree) < FINEST


def test_segment_gives_nested_labels_at_any_cut(model):
    scan = phantom(small_grid(), noise=8.0, seed=1)[0]
    plain = model.segment(scan, outputs={"finest"})
    assert set(np.unique(plain.finest)) - {0} <= set(range(1, FINEST + 1))
    assert len(np.unique(plain.finest)) > 20
    assert np.array_equal(np.r_[0, model.scheme.hierarchy.owners][plain.finest], plain.labels)
    for cut in (2, 7):
        found = model.cut_to(cut).segment(scan, outputs={"confidence"})
        assert np.array_equal(found.labels, model.scheme.hierarchy.numbers(cut)[plain.finest])
        assert [label.number for label in found.table] == list(range(1, cut + 1))
        assert (found.confidence[found.labels > 0] > 80).all()
    total = sum(label.volume_ml for label in model.table)
    assert sum(label.volume_ml for label in model.cut_to(7).table) == pytest.approx(total, rel=1e-3)


def test_fractions_of_divided_labels_are_refused(model):
    scan = phantom(small_grid(), noise=8.0, seed=1)[0]
    with pytest.raises(ConfigError, match="fractions exist for the 3 fitted labels"):
        model.cut_to(7).segment(scan, outputs={"fractions"})


def test_a_model_without_its_tree_is_refused(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    (folder / "hierarchy.safetensors").unlink()
    with pytest.raises(ModelError, match=r"hierarchy\.safetensors is missing"):
        Model.load(folder, device="cpu")


@pytest.fixture(scope="module")
def outputs(model, tmp_path_factory):
    """One scan with and without its finest labels, each beside a model of its own."""
    folder = tmp_path_factory.mktemp("cuts")
    write_cohort(folder / "scans", 1)
    for name, formats in (("with", "nifti,seg.nrrd,finest"), ("without", "nifti")):
        model.save(folder / name / "model")
        words = [str(folder / "scans"), "--model", str(folder / name / "model"), "--out", str(folder / name)]
        assert main(["segment", *words, "--device", "cpu", "--workers", "0", "--write", formats]) == 0
    return folder


def labels_in(folder):
    return read_labels(folder / "good000_seg.nii.gz")[0]


def test_outputs_follow_a_cut_without_a_scan_and_nest(outputs, capsys):
    out = outputs / "with"
    fitted, made = labels_in(out), (out / "good000_finest.nii.gz").read_bytes()
    picture, before = np.asarray(Image.open(out / "report" / "good000.png")), tiles_in(out / "report" / "good000.png")
    found = {}
    for cut in (2, 6, 32, 3):
        assert main(["label", str(out / "model"), "--cut", str(cut)]) == 0
        found[cut] = labels_in(out)
        assert set(np.unique(found[cut])) <= set(range(cut + 1))
        assert found[cut].max() >= 0.8 * cut
        assert sum(key.endswith("mm3") for key in manifest(out)["good000"]) == cut
    assert np.array_equal(found[3], fitted)
    for coarse, fine in ((2, 3), (3, 6), (6, 32)):
        pairs = {(int(a), int(b)) for a, b in zip(found[fine].ravel(), found[coarse].ravel(), strict=True)}
        assert len({a for a, _ in pairs}) == len(pairs)
    assert (out / "good000_finest.nii.gz").read_bytes() == made
    again = np.asarray(Image.open(out / "report" / "good000.png"))
    # Back at three labels, the picture is the first one, without the confidence: of the other cuts it was not known.
    after = tiles_in(out / "report" / "good000.png")
    assert (before.shape[2], after.shape[2]) == (3, 2)
    assert np.array_equal(after, before[:, :, :2])
    assert np.array_equal(again[:HEADER, :600], picture[:HEADER, :600])
    assert main(["label", str(out / "model"), "--merge", "1,2"]) == 0
    assert set(np.unique(labels_in(out))) == {0, 1, 3}
    assert main(["label", str(out / "model"), "--cut", "3"]) == 0  # cutting again undoes the merge
    assert np.array_equal(labels_in(out), fitted)
    capsys.readouterr()
    assert main(["describe", str(out / "model")]) == 0
    said = capsys.readouterr().out
    assert "tree of 32 leaves" in said
    assert said.count("from cut") == 2 * 32 - 2
    assert said.count("= label") == 3


def test_unions_need_no_finest_labels_and_divisions_are_refused_before_anything_changes(outputs, capsys):
    out = outputs / "without"
    fitted = labels_in(out)
    assert main(["label", str(out / "model"), "--cut", "6"]) == 2
    assert "segment it again with --write nifti,finest" in capsys.readouterr().err
    assert Model.load(out / "model", device="cpu").scheme.cut is None
    assert np.array_equal(labels_in(out), fitted)
    assert main(["label", str(out / "model"), "--cut", "2"]) == 0
    numbers = Model.load(out / "model", device="cpu").scheme.hierarchy
    assert np.array_equal(
        labels_in(out), np.r_[0, numbers.numbers(2)[1:][np.searchsorted(numbers.owners, (1, 2, 3))]][fitted]
    )


def test_names_stay_with_labels_that_stay_the_same(model):
    named = model.relabelled(model.table.replace(1, name="fluid").replace(3, name="white"), {})
    names = [label.name for label in named.cut_to(2).table]
    assert sorted(names)[0] in ("fluid", "label 1")
    assert ("fluid" in names) != ("white" in names)  # one of the outer two was joined with the middle one


def test_merges_given_with_a_cut_are_made_in_it(model):
    """Cutting undoes what was merged before, also when the same labels are to be merged again."""
    merged = model.relabelled(model.table, {2: 1})
    changes = Changes(names={}, colors={}, codes={}, merges={2: 1}, cut=3)
    assert changes.apply(merged).scheme.merged == {2: 1}
    assert merged.cut_to(3).scheme.merged == {}
