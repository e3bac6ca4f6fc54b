"""What must not change an attribute, and what must change it in a known way."""

import numpy as np
import pandas as pd
import pytest
import solids
from measured import ANGLES, angle_between, measure_arrays, measure_solids, take_axes
from scipy import spatial
from scipy.spatial.transform import Rotation

from ncm_kedro.particles.columns import ATTRIBUTE_NAMES

PLACE = ["x_um", "y_um", "z_um"]
POSED = [*PLACE, *ANGLES]
# Cells of several voxels stand for single ones at a window's faces.
COARSE = ["packing_density"]
STEADY = [name for name in ATTRIBUTE_NAMES if name not in [*POSED, *COARSE]]
VOXEL = (0.1, 0.08, 0.07)


@pytest.fixture(scope="module")
def scene():
    labels, cracks, grey = solids.draw_scene(voxel_um=VOXEL)
    return {"labels": labels, "cracks": cracks, "grey": grey}


@pytest.fixture(scope="module")
def table(scene):
    return measure_arrays(**scene, voxel_um=VOXEL, packing_window_um=3.0)


def change(scene, turn, voxel_um=VOXEL):
    arrays = {name: np.ascontiguousarray(turn(array)) for name, array in scene.items()}
    return measure_arrays(**arrays, voxel_um=voxel_um, packing_window_um=3.0)


def assert_same(found, expected, columns, rtol=1e-5):
    """Grey values are summed as floats, in another order."""
    for name in columns:
        np.testing.assert_allclose(found[name], expected[name], rtol, atol=1e-9, err_msg=name)


def test_the_scene_is_worth_it(table):
    assert len(table) > 15
    assert 3 <= (~table["touches_border"]).sum() < len(table)
    assert table["damage"].max() > 0.05
    assert table["contact"].max() > 0.01
    assert not np.isinf(table[list(ATTRIBUTE_NAMES)].to_numpy(dtype=float)).any()


def test_relabelling(scene, table):
    names = np.random.default_rng(5).permutation(10_000)[: scene["labels"].max() + 1] + 7
    names[0] = 0
    again = change({**scene, "labels": names[scene["labels"]].astype(np.uint32)}, lambda a: a)
    again = again.loc[names[table.index]]
    assert_same(again, table, ATTRIBUTE_NAMES, rtol=1e-12)
    assert (again["voxel_count"].to_numpy() == table["voxel_count"].to_numpy()).all()


def test_translation(scene):
    def widen(low):
        return lambda a: np.pad(a, [(n, 32 - n) for n in low])

    table = change(scene, widen((8, 8, 8)))
    again = change(scene, widen((9, 16, 24)))
    steps = np.array([16, 8, 1]) * VOXEL[::-1]
    for name, step in zip(PLACE, steps, strict=True):
        np.testing.assert_allclose(again[name] - step, table[name], rtol=1e-9)
    assert_same(again, table, [*STEADY, *ANGLES], rtol=1e-6)


def turn_table(table, matrix):
    """Places and long axes as x, y, z of a table, moved by a matrix."""
    axes = np.array([take_axes(row) for _, row in table[ANGLES].iterrows()])
    return table[PLACE].to_numpy() @ matrix.T, axes @ matrix.T


QUARTERS = {
    "z": (lambda a: np.rot90(a, axes=(1, 2)), (0.1, 0.07, 0.08)),
    "y": (lambda a: np.rot90(a, axes=(0, 2)), (0.07, 0.08, 0.1)),
    "x": (lambda a: np.rot90(a, axes=(0, 1)), (0.08, 0.1, 0.07)),
}


def move_like(turn, size):
    """Matrix and shift (x, y, z) of what ``turn`` does to voxel centres, in voxels."""
    corners = [np.zeros(3, int), *np.eye(3, dtype=int)]
    marks = np.zeros(size, int)
    for number, corner in enumerate(corners, start=1):
        marks[tuple(corner)] = number
    moved = turn(marks)
    places = [np.argwhere(moved == n)[0][::-1] for n in range(1, 5)]
    # e_z, e_y, e_x in the order of the array's axes
    columns = [places[k] - places[0] for k in (3, 2, 1)]
    return np.stack(columns, axis=1).astype(float)


@pytest.mark.parametrize("kind", [*QUARTERS, "mirror"])
def test_quarter_turns_and_mirrors(scene, table, kind):
    turn, voxel_um = QUARTERS.get(kind, (lambda a: a[:, :, ::-1], VOXEL))
    again = change(scene, turn, voxel_um)
    matrix = move_like(turn, scene["labels"].shape)
    places, axes = turn_table(table, matrix)
    extent = np.array(turn(scene["labels"]).shape[::-1]) * voxel_um[::-1]
    shift = extent * (matrix.sum(axis=1) < 0)
    np.testing.assert_allclose(again[PLACE], places + shift, rtol=1e-9)
    assert_same(again, table, STEADY, rtol=1e-4)  # heights of the surface are float32
    np.testing.assert_allclose(again["packing_density"], table["packing_density"], rtol=0.05)
    pd.testing.assert_series_equal(again["orientation_defined"], table["orientation_defined"])
    whole = table[ANGLES].notna().all(axis=1).to_numpy()
    assert whole.sum() >= 3
    for row, expected in zip(again.loc[whole].iloc, axes[whole], strict=True):
        for found, line in zip(take_axes(row), expected, strict=True):
            assert angle_between(found, line) < 1e-3


VOXELS = {"cubic": (0.1,) * 3, "mixed": (0.1, 0.07, 0.07)}


@pytest.fixture(scope="module")
def sampled():
    """The same five solids at two voxel sizes."""
    shapes = [
        solids.ball(1.2),
        solids.ellipsoid(2.0, 1.4, 1.0),
        solids.capsule(1.6, 0.9),
        solids.hollow_ball(1.5, 0.8, 0.2),
        solids.ball_with_disc(1.6, 0.4, 1.0),
    ]
    turns = list(Rotation.random(len(shapes), rng=np.random.default_rng(8)))
    return {
        name: measure_solids(
            [solids.digitise(s, turn=t, voxel_um=v) for s, t in zip(shapes, turns, strict=True)],
            closing_um=0.4,
        )
        for name, v in VOXELS.items()
    }


@pytest.mark.parametrize(
    "name", ["volume_um3", "surface_outer_um2", "sphericity", "vs_ratio", "elongation"]
)
def test_physical_units_stay_put(sampled, name):
    # sphericity has three times the surface's error
    limit = 0.05 if name == "sphericity" else 0.03
    np.testing.assert_allclose(sampled["mixed"][name], sampled["cubic"][name], rtol=limit)


def test_cracks_stay_put(sampled):
    fine, coarse = (sampled[name].iloc[3:] for name in ("mixed", "cubic"))
    np.testing.assert_allclose(fine["damage"], coarse["damage"], rtol=0.03)
    np.testing.assert_allclose(fine["surface_inner_um2"], coarse["surface_inner_um2"], rtol=0.05)


# Surroundings.


def test_two_halves_of_a_box_are_in_contact_across_their_face():
    edges = (2.4, 1.6, 1.6)
    for turn in solids.random_rotations(4, seed=3)[1:]:
        table = measure_arrays(solids.cut_box(edges, turn))
        area = table["contact"] * table["surface_outer_um2"]
        np.testing.assert_allclose(area, edges[1] * edges[2], rtol=0.08)
        half = solids.box(edges[0] / 2, *edges[1:]).exact
        share = edges[1] * edges[2] / half.outer
        # the outer surface of a box is seen too small, and so the fraction too large
        np.testing.assert_allclose(table["contact"], share, rtol=0.12)


def test_a_curved_face_shared_by_two_particles():
    """A ball within a ball: the whole surface of the inner one, exactly as it is measured."""
    inner = solids.digitise(solids.ball(1.0), margin_vx=13)
    outer = solids.draw_shapes(
        inner.labels.shape, [solids.ball(2.0)], [np.array(inner.centre_um) / 0.1]
    )
    labels = np.where(inner.labels > 0, 2, outer).astype(np.uint32)
    table = measure_arrays(labels)
    assert table.loc[2, "contact"] == pytest.approx(1, abs=0.01)


def test_balls_are_in_contact_across_a_gap_that_is_small_enough():
    radius, voxel = 1.0, 0.05
    gap_um = 0.2
    shares = {}
    for apart in (0.1, 0.3):
        step = (2 * radius + apart) / voxel
        centres = [(24.5, 24.5, 24.5), (24.5, 24.5, 24.5 + step)]
        labels = solids.draw_shapes(
            (49, 49, 49 + int(step)), [solids.ball(radius)] * 2, centres, voxel_um=(voxel,) * 3
        )
        for allowed in (0.0, gap_um):
            found = measure_arrays(labels, voxel_um=(voxel,) * 3, contact_gap_um=allowed)
            shares[apart, allowed] = found["contact"].to_numpy()
    for key in [(0.3, 0.2), (0.3, 0.0), (0.1, 0.0)]:
        assert (shares[key] == 0).all()
    # points of one ball no farther than the gap from the other
    between = 2 * radius + 0.1
    cosine = (radius**2 + between**2 - (radius + gap_um) ** 2) / (2 * radius * between)
    np.testing.assert_allclose(shares[0.1, 0.2], (1 - cosine) / 2, rtol=0.35)


@pytest.fixture(scope="module")
def lattice():
    """Ellipsoids of five lengths on a cubic lattice; the middle one has six nearest."""
    rng = np.random.default_rng(2)
    centres = solids.lattice_centres((3, 3, 3), 26, 20) + rng.uniform(-1.5, 1.5, (27, 3))
    lengths = rng.uniform(0.75, 1.1, 27)
    shapes = [solids.ellipsoid(a, 0.6, 0.6) for a in lengths]
    one = Rotation.from_euler("ZYX", [25, -30, 0], degrees=True)
    turned = [one] * 27, list(Rotation.random(27, rng=rng))
    return centres, [
        measure_arrays(solids.draw_shapes((92, 92, 92), shapes, centres, turns)) for turns in turned
    ]


def find_six(table):
    places = table[PLACE].to_numpy()
    return spatial.cKDTree(places).query(places, k=7)


def test_nearest_six(lattice):
    centres, (table, _) = lattice
    far, index = find_six(table)
    np.testing.assert_allclose(table["distance_nearest_um"], far[:, 1:].mean(axis=1), rtol=1e-9)
    exact = spatial.cKDTree(centres * 0.1).query(centres * 0.1, k=7)[0][:, 1:].mean(axis=1)
    np.testing.assert_allclose(table["distance_nearest_um"], exact, rtol=0.01)
    for spread, value in [
        ("volume_std_um3", "volume_um3"),
        ("elongation_std", "elongation"),
        ("sphericity_std", "sphericity"),
    ]:
        near = table[value].to_numpy()[index[:, 1:]]
        np.testing.assert_allclose(table[spread], near.std(axis=1, ddof=1), rtol=1e-6)


def test_alignment(lattice):
    _, (aligned, random) = lattice
    assert aligned["orientation_isotropy"].min() > 0.99
    assert random["orientation_isotropy"].max() < 0.9
    axes = np.array([take_axes(row.fillna({"roll_deg": 0.0}))[0] for row in random.iloc])
    for row, near in zip(random.iloc, find_six(random)[1][:, 1:], strict=True):
        mean = 1.5 * np.einsum("ni,nj->ij", axes[near], axes[near]) / 6 - 0.5 * np.eye(3)
        assert row["orientation_isotropy"] == pytest.approx(np.linalg.eigvalsh(mean)[-1], abs=1e-6)


def test_fewer_than_six_others_leave_neighbour_statistics_undefined():
    shapes = [solids.ball(0.6)] * 5
    centres = solids.lattice_centres((1, 1, 5), 16, 12)
    table = measure_arrays(solids.draw_shapes((24, 24, 92), shapes, centres))
    names = ["distance_nearest_um", "volume_std_um3", "elongation_std", "sphericity_std"]
    assert table[[*names, "orientation_isotropy"]].isna().all().all()


def count_window(labels, row, window_um, voxel_um, view=None):
    """Labelled fraction of a cube around a particle, clipped, with voxels cut at its faces."""
    share = np.ones(())
    for n, edge, name in zip(labels.shape, voxel_um, ("z_um", "y_um", "x_um"), strict=True):
        low, high = row[name] - window_um / 2, row[name] + window_um / 2
        start = np.arange(n) * edge
        weight = np.clip(np.minimum(start + edge, high) - np.maximum(start, low), 0, None)
        share = np.multiply.outer(share, weight)
    valid = share if view is None else share * (view > 0)
    return (valid * (labels > 0)).sum() / valid.sum()


def test_packing_of_a_random_scene(scene):
    labels = scene["labels"]
    view = np.zeros(labels.shape, np.uint8)
    view[:, 8:, :70] = 1
    # whether labels count outside the field of view is not at stake here
    seen = np.where(view > 0, labels, 0)
    table = measure_arrays(seen, view=view, voxel_um=VOXEL, packing_window_um=3.0)
    exact = [count_window(seen, row, 3.0, VOXEL, view) for row in table.iloc]
    np.testing.assert_allclose(table["packing_density"], exact, atol=0.03)
