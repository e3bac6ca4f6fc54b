"""Sections in three directions, fused: against balls, the full volume, after an interruption."""

import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from scipy import ndimage

from ncm_kedro.errors import StoreError
from ncm_kedro.params.tomo_segment import TomoComputeParams, TomoFusionParams
from ncm_kedro.tomo.fusion import fusion
from ncm_kedro.tomo.fusion.fusion import plan_probability
from ncm_kedro.tomo.fusion.scale import choose_source, make_grid
from ncm_kedro.tomo.volumes.volume import Volume, VolumeTarget

PARAMS = TomoFusionParams(particle_diameter_um=24.0, slab_vx=32, contrast="bright")


@dataclass(frozen=True)
class Maps:
    prob_nyx: np.ndarray
    dist_nkyx: np.ndarray


@dataclass(frozen=True)
class PerfectNetwork:
    """Answers with the true distance to the outline of what is brighter than half."""

    grid: int = 2
    particle_px: float = 24.0
    receptive_px: int = 32
    prob_threshold: float = 0.5
    fingerprint: str = "perfect"
    calls: Path | None = None
    fail_after: int = 1 << 30

    def predict(self, sections_nyx):
        if self.calls is not None:
            with self.calls.open("a") as file:
                file.write(f"{sections_nyx.shape}\n")
            if len(self.calls.read_text().splitlines()) > self.fail_after:
                raise KeyboardInterrupt
        inside = np.pad(sections_nyx > 0.5, ((0, 0), (1, 1), (1, 1)), mode="edge")
        dist = np.stack([ndimage.distance_transform_edt(one) for one in inside])
        dist = np.clip(dist - 0.5, 0, self.receptive_px - 1)[:, 1:-1, 1:-1]
        dist = dist[:, :: self.grid, :: self.grid].astype(np.float32)
        prob = np.clip(dist / 12, 0, 1).astype(np.float32)
        return Maps(prob, np.repeat(dist[:, None], 8, axis=1))


def make_balls(shape, centres, radius, voxel=(1.0, 1.0, 1.0)):
    """Grey 200 within balls (um), 50 outside, with a ramp one voxel wide at the surface."""
    grids = np.meshgrid(
        *[(np.arange(n) + 0.5) * s for n, s in zip(shape, voxel, strict=True)], indexing="ij"
    )
    depth = np.full(shape, -np.inf)
    for centre in centres:
        ways = np.sqrt(sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True)))
        depth = np.maximum(depth, radius - ways)
    grey = 50 + 150 * np.clip(depth / min(voxel) + 0.5, 0, 1)
    return np.rint(grey).astype(np.uint8), depth


def store_volume(folder, grey, voxel=(1.0, 1.0, 1.0), levels=1, inside=None):
    """Write a volume with its pyramid of means."""
    arrays, values = [], grey
    for number in range(levels):
        arrays.append(
            zarr.create_array(folder / f"level{number}", data=values, chunks=(32, 32, 32))
        )
        halves = values[tuple(slice(0, n // 2 * 2) for n in values.shape)].astype(float)
        z, y, x = (n // 2 for n in values.shape)
        values = np.rint(halves.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5))).astype(grey.dtype)
    extras = {}
    if inside is not None:
        extras["field_of_view"] = zarr.create_array(folder / "fov", data=inside.astype(np.uint8))
    sizes = tuple(tuple(s * 2**number for s in voxel) for number in range(levels))
    return Volume(
        "balls", folder, arrays[0], tuple(arrays), voxel, extras, {"fingerprint": "b"}, sizes
    )


def make_target(folder, shape, edge=32):
    """Make empty arrays for a plan to write into."""
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    names = ("probability", "distance", "disagreement")
    arrays = {
        name: zarr.create_array(folder / name, shape=shape, chunks=(edge,) * 3, dtype=np.uint8)
        for name in names
    }
    return VolumeTarget(arrays.pop("probability"), arrays, work)


def fuse(folder, volume, network=None, *, params=PARAMS, edge=32, workers=2):
    """Run a plan; return probability, distance, disagreement and what is noted beside them."""
    compute = TomoComputeParams(workers=workers, block_edge_vx=edge)
    plan = plan_probability(volume, network or PerfectNetwork(), params, compute)
    target = make_target(folder, volume.shape_zyx, edge)
    pickle.loads(pickle.dumps(plan.write))(target)  # as a cluster's worker gets it  # noqa: S301
    names = ("distance", "disagreement")
    maps = (np.asarray(target.extras[name]) for name in names)
    return np.asarray(target.array), *maps, dict(target.array.attrs)


@pytest.fixture(scope="module")
def one_ball(tmp_path_factory):
    grey, depth = make_balls((63, 63, 63), [(31.5, 31.5, 31.5)], 14.3)
    return store_volume(tmp_path_factory.mktemp("ball") / "volume", grey), depth


@pytest.fixture(scope="module")
def fused_ball(one_ball, tmp_path_factory):
    return fuse(tmp_path_factory.mktemp("fused"), one_ball[0])


def measure_radius_um(inside, voxel_um3=1.0):
    return (3 * inside.sum() * voxel_um3 / (4 * np.pi)) ** (1 / 3)


def test_distance_is_above_zero_within_the_outline_and_rises_to_the_radius(one_ball, fused_ball):
    depth = one_ball[1]
    prob, dist, disagreement, notes = fused_ball
    assert notes["distance_step_um"] == 0.25
    assert abs(depth[dist > 0].min()) < 1.0
    assert measure_radius_um(dist > 0) == pytest.approx(14.3, abs=0.5)
    # the middle is between grid points, which are up to 1.4 voxels from it in a section
    assert 14.3 - 2.0 < dist.max() * 0.25 < 14.3
    assert prob[31, 31, 31] == 255
    assert prob[depth < -2].max() == 0
    assert disagreement[depth < -2].max() == 0


def test_symmetric_ball_gives_symmetric_maps(fused_ball):
    prob, dist, disagreement, _ = fused_ball
    for one in (prob, dist, disagreement):
        for axis in range(3):
            np.testing.assert_array_equal(one, np.flip(one, axis))
        np.testing.assert_array_equal(one, one.transpose(2, 0, 1))


@pytest.mark.parametrize("diameter_um", [14.0, 40.0])
def test_same_maps_whatever_slabs_tiles_blocks_and_workers(tmp_path, diameter_um):
    rng = np.random.default_rng(3)
    grey, _ = make_balls((48, 56, 104), rng.uniform(10, 44, (5, 3)) * [1, 1.1, 2.1], 11.0)
    volume = store_volume(tmp_path / "volume", grey, levels=2)
    wanted = {"particle_diameter_um": diameter_um, "max_upsampling": 1.0}
    whole = PARAMS.model_copy(update={**wanted, "slab_vx": 160, "tile_px": 1024})
    tiles = PARAMS.model_copy(update={**wanted, "tile_px": 64, "batch_px": 10_000})
    first = fuse(tmp_path / "a", volume, params=whole, edge=160, workers=1)
    second = fuse(tmp_path / "b", volume, params=tiles, edge=48)
    assert first[0].max() > 100
    for one, other in zip(first[:3], second[:3], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("voxel", "shape"),
    [
        ((0.5, 0.5, 0.5), (72, 72, 72)),
        ((1, 0.5, 0.5), (36, 72, 72)),
        ((2.5, 2.5, 2.5), (16, 16, 16)),
    ],
)
def test_outline_stays_where_it_is_on_another_grid(tmp_path, voxel, shape):
    centre = [n * s / 2 + 0.1 for n, s in zip(shape, voxel, strict=True)]
    grey, _ = make_balls(shape, [centre], 12.0, voxel)
    volume = store_volume(tmp_path / "volume", grey, voxel, levels=2)
    _, dist, _, notes = fuse(tmp_path, volume)
    edge = notes["detection_voxel_um"]
    assert edge == pytest.approx(1.0)
    assert notes["distance_step_um"] == pytest.approx(edge / 4)
    assert measure_radius_um(dist > 0, np.prod(voxel)) == pytest.approx(12.0, abs=0.5)
    middle = ndimage.center_of_mass(dist > 0)
    np.testing.assert_allclose(
        [(m + 0.5) * s for m, s in zip(middle, voxel, strict=True)], centre, atol=0.25
    )


def test_nothing_is_found_outside_the_field_of_view(tmp_path):
    grey, _ = make_balls((64, 64, 64), [(20, 32, 32), (50, 32, 32)], 11.0)
    inside = np.ones(grey.shape, bool)
    inside[40:] = False
    grey[40:] = 255
    volume = store_volume(tmp_path / "volume", grey, inside=inside)
    prob, dist, _, _ = fuse(tmp_path, volume)
    assert prob[40:].max() == dist[40:].max() == 0
    assert measure_radius_um(dist > 0) == pytest.approx(11.0, abs=0.5)


def test_killed_run_goes_on_and_ends_the_same(tmp_path):
    grey, _ = make_balls((40, 63, 63), [(20, 31.5, 31.5)], 14.3)
    volume = store_volume(tmp_path / "volume", grey)
    whole = fuse(tmp_path / "whole", volume, PerfectNetwork(calls=tmp_path / "whole.txt"))
    total = len((tmp_path / "whole.txt").read_text().splitlines())
    compute = TomoComputeParams(workers=1, block_edge_vx=32)
    target = make_target(tmp_path / "killed", volume.shape_zyx)
    calls = tmp_path / "calls.txt"
    made = 0
    for more in (3, 4, 5, 100):
        network = PerfectNetwork(calls=calls, fail_after=made + more)
        plan = plan_probability(volume, network, PARAMS, compute)
        try:
            plan.write(target)
        except KeyboardInterrupt:
            made = len(calls.read_text().splitlines())
    made = len(calls.read_text().splitlines())
    # each start times two calls on a blank section, and each kill loses the slab that it hits
    assert made <= total + 3 * 2 + 3 * 2
    for one, other in zip(whole[:3], (target.array, *target.extras.values()), strict=True):
        np.testing.assert_array_equal(one, np.asarray(other))
    left = {path.name for path in target.work.iterdir() if (path / "zarr.json").exists()}
    assert left == {"maps-yz"}


def test_never_are_maps_of_three_directions_kept(tmp_path, one_ball, monkeypatch):
    channels = []
    original = fusion._ensure_array

    def record(path, shape, chunks, dtype):
        original(path, shape, chunks, dtype)
        channels.append(sum(zarr.open_array(p).shape[0] for p in path.parent.glob("maps-??")))

    monkeypatch.setattr(fusion, "_ensure_array", record)
    fuse(tmp_path, one_ball[0])
    assert channels == [0, 2, 2 + 4, 4 + 3]


def test_scale_is_found_from_the_volume(tmp_path):
    rng = np.random.default_rng(0)
    lattice = np.stack(np.meshgrid(*[np.arange(20, 128, 40)] * 3, indexing="ij"), -1).reshape(-1, 3)
    grey, _ = make_balls((128, 128, 128), lattice + rng.uniform(-2, 2, lattice.shape), 17.0)
    volume = store_volume(tmp_path / "volume", grey, levels=2)
    automatic = PARAMS.model_copy(update={"particle_diameter_um": None})
    *_, notes = fuse(tmp_path / "fused", volume, params=automatic)
    # sections at random depths of a ball of 34: their median diameter is 34 sqrt(3) / 2
    assert notes["particle_diameter_um"] == pytest.approx(29.4, rel=0.2)


def test_planning_costs_no_prediction(tmp_path, one_ball):
    calls = tmp_path / "calls.txt"
    automatic = PARAMS.model_copy(update={"particle_diameter_um": None})
    plan_probability(one_ball[0], PerfectNetwork(calls=calls), automatic, TomoComputeParams())
    assert not calls.exists()


def test_factors_of_levels_are_those_of_their_scales(tmp_path):
    sizes = tuple((s, s, s) for s in (1.0, 2.0, 4.0, 8.0))
    shapes = ((45, 40, 40), (23, 20, 20), (12, 10, 10), (6, 5, 5))  # 45 / 6 is 7.5
    levels = tuple(
        zarr.create_array(tmp_path / str(n), shape=s, dtype="u1", chunks=(8, 8, 8))
        for n, s in enumerate(shapes)
    )
    volume = Volume("odd", tmp_path, levels[0], levels, sizes[0], level_sizes_um=sizes)
    assert choose_source(volume, make_grid(volume, 9.0)).factors == (8, 8, 8)
    last = replace(volume, levels=(*levels[:3], levels[3][:5]))
    assert choose_source(last, make_grid(last, 9.0)).factors == (8, 8, 8)


def test_plan_is_another_one_when_what_it_rests_on_changes(one_ball):
    def identify(volume=one_ball[0], network=PerfectNetwork(), params=PARAMS, workers=1):
        compute = TomoComputeParams(workers=workers)
        return plan_probability(volume, network, params, compute).fingerprint

    first = identify()
    assert identify(workers=2) == first
    assert identify(network=PerfectNetwork(fingerprint="other")) != first
    assert identify(volume=replace(one_ball[0], attributes={"fingerprint": "c"})) != first
    assert identify(params=PARAMS.model_copy(update={"min_probability": 0.2})) != first


def test_constant_volume_is_refused(tmp_path):
    volume = store_volume(tmp_path / "volume", np.full((40, 40, 40), 7, np.uint8))
    with pytest.raises(StoreError, match="the grey value 7 throughout"):
        fuse(tmp_path, volume)


def test_corrupt_scratch_is_named(tmp_path, one_ball):
    volume, _ = one_ball
    target = make_target(tmp_path, volume.shape_zyx)
    compute = TomoComputeParams(workers=1)
    calls = tmp_path / "calls.txt"
    plan = plan_probability(volume, PerfectNetwork(calls=calls, fail_after=3), PARAMS, compute)
    with pytest.raises(KeyboardInterrupt):
        plan.write(target)
    (target.work / "grey" / "c" / "1" / "1" / "1").write_bytes(b"cut short")
    with pytest.raises(StoreError, match="cannot be decoded"):
        plan_probability(volume, PerfectNetwork(), PARAMS, compute).write(target)
