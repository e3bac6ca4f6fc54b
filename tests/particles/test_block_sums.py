"""Sums over blocks against plain sums over whole arrays, and cut in one way against another."""

from itertools import product

import numpy as np
import pytest

from ncm_kedro.errors import TomogramError
from ncm_kedro.particles.block_sums import CELL_VX, COUNTS, GREYS, LINES, SumsTask, list_steps
from ncm_kedro.particles.specimen import Specimen
from ncm_kedro.tomo.volumes.blocks import list_blocks

SHAPE = (20, 35, 18)
UNEQUAL = (0.3, 0.1, 0.2)


def draw_labels(rng, shape=SHAPE, labels=9, share=0.5):
    """Ragged particles that touch, in seeds and their surroundings, and single voxels."""
    seeds = rng.integers(0, shape, (labels, 3))
    grid = np.moveaxis(np.indices(shape), 0, -1)
    far = np.linalg.norm((grid[None] - seeds[:, None, None, None]) * [1.5, 1, 1], axis=-1)
    far += rng.normal(0, 1.0, far.shape)
    drawn = np.where(
        far.min(axis=0) < np.quantile(far.min(axis=0), share), far.argmin(axis=0) + 1, 0
    )
    loose = rng.random(shape) < 0.01
    return np.where(loose, rng.integers(1, labels + 1, shape), drawn)


def draw_arrays(seed=0):
    rng = np.random.default_rng(seed)
    labels = draw_labels(rng)
    view = np.ones(SHAPE, np.uint8)
    view[:, :3] = view[4:9, 20:, 10:] = 0
    return {
        "labels": (7 * labels).astype(np.uint32),
        "cracks": (rng.random(SHAPE) < 0.2).astype(np.uint8),
        "view": view,
        "grey": rng.integers(0, 256, SHAPE).astype(np.uint8),
    }


def add_up(labels, *, voxel_um=UNEQUAL, gap_um=0.0, edge=64, **arrays):
    """Run the task on every block; return the sums by label and crossings by pair."""
    task = SumsTask(Specimen("sample", labels, voxel_um, **arrays), gap_um)
    parts = [task(block) for block in list_blocks(labels.shape, (edge,) * 3)]
    sums = {}
    for part in parts:
        for name in ("counts", "greys", "crossings", "solid_crossings"):
            for label, row in zip(part["label"].tolist(), part[name], strict=True):
                sums[name, label] = sums.get((name, label), 0) + row
        for label, row in zip(part["label"].tolist(), part["box"], strict=True):
            old = sums.get(("box", label), np.array([10**9] * 3 + [0] * 3))
            sums["box", label] = np.r_[np.minimum(old[:3], row[:3]), np.maximum(old[3:], row[3:])]
        for pair, row in zip(part["pair"].tolist(), part["pair_crossings"], strict=True):
            sums["pair", *pair] = sums.get(("pair", *pair), 0) + row
    return sums, parts


def shift(array, step, margin):
    """The values one step away, in an array with a margin; the inner part."""
    return array[
        tuple(slice(margin + s, n - margin + s) for s, n in zip(step, array.shape, strict=True))
    ]


def sum_plainly(arrays, voxel_um, gap_um):
    """The same sums from their definitions, on whole arrays."""
    labels, cracks, view, grey = (arrays[n] for n in ("labels", "cracks", "view", "grey"))
    known = np.where(view > 0, labels.astype(np.int64), -1)
    solid = (known > 0) & (cracks == 0)
    steps = list_steps(voxel_um)
    margin = int(np.abs(steps).max())
    padded, padded_solid = np.pad(known, margin, constant_values=-1), np.pad(solid, margin)
    inside, sums = known > 0, {}
    edge, rim, met = (np.zeros(known.shape, bool) for _ in range(3))
    names = np.unique(known[inside])
    for name in ("crossings", "solid_crossings"):
        sums |= {(name, own): np.zeros(13, int) for own in names.tolist()}
    for line, way in product(range(13), (1, -1)):
        step = way * steps[line]
        other = shift(padded, step, margin)
        crossed = inside & (other >= 0) & (other != known)
        wall = solid & (other >= 0) & ((other != known) | ~shift(padded_solid, step, margin))
        if np.abs(step).sum() == 1:
            edge |= inside & (other < 0)
            rim |= inside & (other != known)
        met |= crossed & (other > 0)
        for name, found in [("crossings", crossed), ("solid_crossings", wall)]:
            for own, number in zip(*np.unique(known[found], return_counts=True), strict=True):
                sums[name, int(own)][line] += number
        places = np.argwhere(crossed)
        faced = find_others(
            known, places + step, (known[crossed], other[crossed]), (voxel_um, gap_um)
        )
        pairs = np.stack([known[crossed], faced], axis=1)[faced > 0]
        for pair, number in zip(*np.unique(pairs, axis=0, return_counts=True), strict=True):
            sums.setdefault(("pair", *pair.tolist()), np.zeros(13, int))[line] += number
    z, y, x = np.indices(known.shape)
    one, value = np.ones_like(z), grey.astype(float)
    counts = [one, z, y, x, z * z, y * y, x * x, z * y, z * x, y * x, solid, edge, rim, rim & met]
    greys = [value * solid, value**2 * solid, value, value**2]
    for own in names.tolist():
        sums["counts", own] = np.array([a[known == own].sum() for a in counts])
        sums["greys", own] = np.array([a[known == own].sum() for a in greys])
        places = np.argwhere(known == own)
        sums["box", own] = np.r_[places.min(axis=0), places.max(axis=0) + 1]
    return sums


def find_others(known, places, labels, reach_um):
    """The nearest label other than the own one within a gap of voxels, or 0; faced ones first."""
    (own, faced), (voxel_um, gap_um) = labels, reach_um
    reach = [int(gap_um / edge + 1e-6) for edge in voxel_um]
    steps = np.array(list(product(*[range(-n, n + 1) for n in reach])))
    far = np.linalg.norm(steps * voxel_um, axis=1)
    padded = np.pad(known, [(n, n) for n in reach], constant_values=-1)
    found = np.where(faced > 0, faced, 0)
    for step in steps[np.argsort(far, kind="stable")][: (far <= gap_um * (1 + 1e-6)).sum()]:
        there = padded[tuple((places + step + reach).T)]
        found = np.where((found == 0) & (there > 0) & (there != own), there, found)
    return found


def assert_same(found, expected, names):
    for name in names:
        keys = {key for key in expected if key[0] == name}
        assert {key for key in found if key[0] == name} == keys
        for key in keys:
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-12, err_msg=str(key))


EXACT = ("counts", "greys", "crossings", "solid_crossings")


@pytest.mark.parametrize("seed", [0, 1])
def test_sums_are_those_of_their_definitions(seed):
    arrays = draw_arrays(seed)
    expected = sum_plainly(arrays, UNEQUAL, 0.0)
    found, _ = add_up(**arrays)
    assert_same(found, expected, [*EXACT, "pair", "box"])
    damaged = [row for key, row in expected.items() if key[0] == "counts" and row[10] < row[0]]
    assert len(damaged) >= 3


@pytest.mark.parametrize(
    ("voxel_um", "gap_um"),
    [
        ((0.1, 0.1, 0.1), 0.09),
        ((0.1, 0.1, 0.1), 0.1),
        ((0.1, 0.1, 0.1), 0.25),
        (UNEQUAL, 0.2),
        (UNEQUAL, 0.4),
    ],
)
def test_contacts_across_a_gap_are_those_of_their_definition(voxel_um, gap_um):
    """How much of its surface each particle has in contact; with whom, where two are as near."""
    arrays = draw_arrays(2)
    arrays["labels"] = np.where(np.indices(SHAPE).sum(axis=0) % 3 == 0, 0, arrays["labels"])
    expected = sum_plainly(arrays, voxel_um, gap_um)
    found, _ = add_up(**arrays, voxel_um=voxel_um, gap_um=gap_um)
    assert_same(found, expected, EXACT)
    facing = [{}, {}]
    for total, sums in zip(facing, (found, expected), strict=True):
        for key, row in sums.items():
            if key[0] == "pair":
                total[key[1]] = total.get(key[1], 0) + row
    assert facing[0].keys() == facing[1].keys()
    for label, row in facing[1].items():
        np.testing.assert_array_equal(facing[0][label], row, err_msg=str(label))


def test_a_gap_is_the_space_between_the_facing_voxels():
    labels = np.zeros((5, 5, 12), np.uint32)
    labels[:, :, :4], labels[:, :, 7:] = 1, 2  # three voxels between them
    for gap_um, meet in [(0.0, False), (0.29, False), (0.3, True)]:
        sums, _ = add_up(labels, voxel_um=(0.1, 0.1, 0.1), gap_um=gap_um)
        assert (("pair", 1, 2) in sums) == meet
    straight = [tuple(step) for step in list_steps((0.1, 0.1, 0.1)).tolist()].index((0, 0, 1))
    assert sums["pair", 1, 2][straight] == sums["crossings", 1][straight] == 25


@pytest.mark.parametrize("edge", [16, 32])
@pytest.mark.parametrize("gap_um", [0.0, 0.4])
def test_blocks_add_up_to_the_whole(edge, gap_um):
    arrays = draw_arrays(3)
    whole, _ = add_up(**arrays, gap_um=gap_um)
    cut, parts = add_up(**arrays, gap_um=gap_um, edge=edge)
    assert len(parts) > 1
    assert whole.keys() == cut.keys()
    for key, row in whole.items():
        np.testing.assert_array_equal(row, cut[key], err_msg=str(key))


def test_cells_count_what_is_seen_and_what_is_labelled():
    arrays = draw_arrays(4)
    _, (part,) = add_up(**arrays)
    seen = arrays["view"] > 0
    for name, marked in [("valid", seen), ("filled", seen & (arrays["labels"] > 0))]:
        total = np.zeros([-(-n // CELL_VX) for n in SHAPE], int)
        np.add.at(total, tuple(np.argwhere(marked).T // CELL_VX), 1)
        np.testing.assert_array_equal(part[name], total)
    assert part["valid"].max() == CELL_VX**3


def test_labels_outside_the_field_of_view_are_not_there():
    labels = np.zeros((16, 16, 16), np.uint16)
    labels[2:6, 2:6, 2:6], labels[10:14, 10:14, 10:14] = 1, 2
    view = np.ones(labels.shape, np.uint8)
    view[9:] = 0
    sums, _ = add_up(labels, view=view)
    assert {key[1] for key in sums} == {1}


def test_more_labels_than_the_table_starts_with():
    labels = np.random.default_rng(5).permutation(24**3).reshape(24, 24, 24).astype(np.uint32)
    labels = np.where(labels < 3000, labels, 0)
    sums, (part,) = add_up(labels)
    assert len(part["label"]) == 2999
    places = {labels[tuple(place)]: place for place in np.argwhere(labels)}
    for label in (1, 511, 512, 513, 1024, 2999):
        np.testing.assert_array_equal(sums["counts", label][:4], [1, *places[label]])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64"])
def test_types_of_labels(dtype):
    arrays = draw_arrays(6)
    expected, _ = add_up(**arrays)
    found, _ = add_up(**{**arrays, "labels": arrays["labels"].astype(dtype)})
    assert_same(found, expected, [*EXACT, "pair", "box"])


def test_large_ids_keep_their_names():
    arrays = draw_arrays(7)
    step = 2**16  # these all start at one place of a hash table
    names = {0: 0} | {7 * n: 2**32 - 1 - step * n for n in range(1, 10)}
    large = np.vectorize(names.get)(arrays["labels"])
    expected, _ = add_up(**arrays)
    found, _ = add_up(**{**arrays, "labels": large.astype(np.uint32)})
    renamed = {(k, *(names[n] for n in rest)): row for (k, *rest), row in expected.items()}
    assert_same(found, renamed, [*EXACT, "pair", "box"])


def test_negative_labels_are_refused_wherever_they_are():
    labels = np.zeros((8, 8, 40), np.int32)
    labels[2:5, 2:5, 2:5], labels[7, 7, 39] = 1, -1
    with pytest.raises(TomogramError, match=r"sample: found the label -1"):
        add_up(labels, edge=16)


def test_an_empty_block_gives_empty_sums():
    _, (part,) = add_up(np.zeros((8, 8, 8), np.uint32), gap_um=0.5)
    assert part["label"].shape == (0,)
    assert part["counts"].shape == (0, len(COUNTS))
    assert part["greys"].shape == (0, len(GREYS))
    assert part["pair"].shape == (0, 2)
    assert part["pair_crossings"].shape == (0, LINES)


def test_coordinates_of_later_blocks_count_from_the_volume():
    """Moments far from the origin, as the sums of a big volume have them."""
    labels = np.zeros((16, 16, 4096), np.uint8)
    labels[3:9, 4:8, 4000:4090] = 3
    sums, _ = add_up(labels, edge=1024)
    z, y, x = np.argwhere(labels).T
    products = [z, y, x, z * z, y * y, x * x, z * y, z * x, y * x]
    expected = [len(z), *(int(p.sum()) for p in products)]
    np.testing.assert_array_equal(sums["counts", 3][:10], expected)
