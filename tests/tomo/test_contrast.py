"""Garbage is named: phase maps, inverted contrast, hot voxels, no contrast."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from instance_cases import draw_balls, perfect_maps, run_labels, store_case, store_volume
from scipy import ndimage
from scipy.spatial import cKDTree
from test_fusion import PARAMS, PerfectNetwork, fuse, make_balls
from test_fusion import store_volume as store_grey

from ncm_kedro.errors import StoreError
from ncm_kedro.params.tomo_segment import TomoFusionParams, TomoInstanceParams
from ncm_kedro.tomo.fusion.contrast import find_contrast
from ncm_kedro.tomo.scoring.score import score_labels

SHAPE = (64, 72, 80)
CENTRES = [(20, 20, 20), (20, 20, 43), (40, 48, 22), (42, 44, 56)]  # the first two overlap
NO_MINIMUM = TomoInstanceParams(min_volume_um3=0)
AUTO = PARAMS.model_copy(update={"contrast": "auto"})


@dataclass(frozen=True)
class BlobNetwork(PerfectNetwork):
    """Sees what is brighter than half and does not reach the rim of the section."""

    def predict(self, sections_nyx):
        inside = []
        for section_yx in sections_nyx:
            parts, _ = ndimage.label(section_yx > 0.5)
            rim = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
            inside.append(~np.isin(parts, np.append(rim, 0)))
        return super().predict(np.array(inside, dtype=np.float32))


@dataclass(frozen=True)
class NoNetwork(PerfectNetwork):
    def predict(self, sections_nyx):
        raise AssertionError


@dataclass(frozen=True)
class BlindNetwork(PerfectNetwork):
    """Finds nothing."""

    def predict(self, sections_nyx):
        return super().predict(np.zeros_like(sections_nyx))


@pytest.fixture(scope="module")
def truth():
    return draw_balls(SHAPE, CENTRES, [12, 12, 13, 14])


def label(folder, phases, params=None, *, network=None, edge=128):
    """Run both plans on a map of phases, or on what a network is of no use for."""
    folder.mkdir(exist_ok=True)
    volume = store_volume(folder / "grey", phases)
    prob, dist, _, notes = fuse(
        folder / "maps", volume, network or NoNetwork(), params=params or TomoFusionParams(),
        edge=edge,
    )  # fmt: skip
    probability = store_volume(
        folder / "probability", prob, extras={"distance": dist},
        attributes={**notes, "made_from": {"tomogram": volume.fingerprint}},
    )  # fmt: skip
    labels, cracks = run_labels(folder, (volume, probability), NO_MINIMUM, edge=edge)
    return labels, cracks, notes


def test_a_binary_map_is_cut_by_its_distance_transform(tmp_path, truth):
    phases = np.where(truth > 0, 170, 3).astype(np.uint8)
    labels, cracks, notes = label(tmp_path, phases)
    assert labels.max() == len(CENTRES)
    assert not cracks.any()
    np.testing.assert_array_equal(labels > 0, truth > 0)
    agreed = [np.bincount(truth[labels == n]).max() / (labels == n).sum() for n in range(1, 5)]
    assert min(agreed) > 0.95
    assert notes["contrast"] == "phases"
    assert len(notes["contrast_warnings"]) == 1


def test_the_particles_of_a_map_of_three_phases_are_the_brightest_or_the_ones_that_are_named(
    tmp_path, truth
):
    binder = (truth == 0) & (np.indices(SHAPE)[0] < 8)
    phases = np.where(truth > 0, 85, np.where(binder, 170, 0)).astype(np.uint8)
    for name, params, part in [
        ("default", TomoFusionParams(), binder),
        ("named", TomoFusionParams(particle_phase=85), truth > 0),
    ]:
        labels, _, _ = label(tmp_path / name, phases, params)
        np.testing.assert_array_equal(labels > 0, part)
    with pytest.raises(StoreError, match="particle_phase"):
        label(tmp_path / "none", phases, TomoFusionParams(particle_phase=84))


def test_a_map_of_phases_is_the_same_whatever_the_blocks(tmp_path, truth):
    phases = (truth > 0).astype(np.uint8)
    whole = label(tmp_path / "whole", phases)[0]
    np.testing.assert_array_equal(label(tmp_path / "blocks", phases, edge=32)[0], whole)


def pack_cells(wall_vx):
    """Cells that touch all around, 0 in the walls between them."""
    lattice = np.stack(np.meshgrid(*[np.arange(0.5, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    centres = (lattice + np.random.default_rng(3).uniform(-0.2, 0.2, lattice.shape)) * 20
    places = np.moveaxis(np.indices((60, 60, 60)), 0, -1).reshape(-1, 3)
    (near, next_near), (first, second) = (part.T for part in cKDTree(centres).query(places, k=2))
    apart = np.linalg.norm(centres[first] - centres[second], axis=1)
    to_wall = (next_near**2 - near**2) / (2 * apart)
    return np.where(to_wall > wall_vx / 2, first + 1, 0).reshape(60, 60, 60)


def test_particles_that_touch_all_around_are_cut_by_their_distance_transform(tmp_path):
    cells = pack_cells(2.0)
    noise = np.random.default_rng(0).normal(0, 12, cells.shape)
    blurred = ndimage.gaussian_filter(np.where(cells > 0, 180.0, 80.0), 0.6)
    grey = np.clip(blurred + noise, 1, 254).astype(np.uint8)
    labels, _, notes = label(tmp_path / "whole", grey, network=BlindNetwork())
    assert notes["contrast"] == "phases"
    assert "touch all around" in notes["contrast_warnings"][0]
    assert score_labels(cells, labels, voxel_size_um=(1.0, 1.0, 1.0)).ap_70 > 0.85
    blocks, _, _ = label(tmp_path / "blocks", grey, network=BlindNetwork(), edge=32)
    np.testing.assert_array_equal(blocks, labels)


def test_hot_and_dead_voxels_change_next_to_nothing(tmp_path):
    grey, _ = make_balls(SHAPE, CENTRES, 12)
    clean = grey.astype(np.float32) * 40 + 2000
    spotted = clean.copy()
    chance = np.random.default_rng(0).random(SHAPE)
    spotted[chance < 2e-4], spotted[chance > 1 - 2e-4] = 1e30, -1e9
    found = []
    for name, values in (("clean", clean), ("spotted", spotted)):
        volume = store_grey(tmp_path / name, values)
        prob, dist, _, notes = fuse(tmp_path / f"{name}-maps", volume, params=AUTO)
        assert notes["contrast"] == "bright"
        probability = store_volume(
            tmp_path / f"{name}-probability", prob, extras={"distance": dist},
            attributes={**notes, "made_from": {"tomogram": volume.fingerprint}},
        )  # fmt: skip
        (tmp_path / f"{name}-labels").mkdir()
        case = (volume, probability)
        found.append(run_labels(tmp_path / f"{name}-labels", case, NO_MINIMUM)[0])
    assert found[0].max() == found[1].max() > 0
    assert ((found[0] > 0) == (found[1] > 0)).mean() > 0.995


def test_two_sharp_values_are_parted_in_their_middle(tmp_path):
    """As of a map of phases that was compressed with loss: no value lies between the two."""
    near = np.random.default_rng(0).integers(-3, 4, SHAPE)
    full = np.ones(SHAPE, bool)
    full[::16], full[:, ::18], full[:, :, ::16] = False, False, False
    volume = store_volume(tmp_path / "grey", (30 + 200 * full + near).astype(np.uint8))
    known = find_contrast(volume, BlindNetwork(), TomoFusionParams())
    assert known.kind == "phases"
    assert known.phase == pytest.approx(130, abs=10)


def test_labels_in_place_of_grey_values_are_named(tmp_path, truth):
    steps = store_volume(tmp_path / "labels", (3 * truth + (truth > 0)).astype(np.uint16))
    known = find_contrast(steps, BlindNetwork(), TomoFusionParams())
    assert "labels or a map of 5 phases" in known.warnings[0]
    grey, _ = make_balls(SHAPE, CENTRES, 12)
    noisy = grey + np.random.default_rng(0).normal(0, 2, SHAPE).astype(np.int64)
    volume = store_grey(tmp_path / "grey", noisy.clip(0, 255).astype(np.uint8))
    assert not find_contrast(volume, BlobNetwork(), TomoFusionParams()).warnings


def test_grey_values_far_from_zero_are_read(tmp_path):
    """As far as their type tells them apart: 1e7 and 170 steps of 1 above it in float32."""
    grey, _ = make_balls(SHAPE, CENTRES, 12)
    volume = store_grey(tmp_path / "grey", grey.astype(np.float32) + 1e7)
    assert find_contrast(volume, BlobNetwork(), TomoFusionParams()).kind == "bright"


def test_dark_particles_are_found_in_inverted_grey_values_with_a_warning(tmp_path):
    grey, _ = make_balls(SHAPE, CENTRES, 12)
    params = AUTO.model_copy(update={"particle_diameter_um": None})
    found = []
    for name, values in (("bright", grey), ("dark", 250 - grey)):
        volume = store_grey(tmp_path / name, values)
        maps = fuse(tmp_path / f"{name}-maps", volume, BlobNetwork(), params=params)
        assert maps[3]["contrast"] == name
        told = [one for one in maps[3]["contrast_warnings"] if "darker" in one]
        assert len(told) == (name == "dark")
        found.append(maps[0])
    np.testing.assert_allclose(found[0].astype(int), found[1], atol=1)


def test_a_setting_overrules_what_the_detector_finds(tmp_path):
    grey, _ = make_balls(SHAPE, CENTRES, 12)
    volume = store_grey(tmp_path / "grey", 250 - grey)
    known = find_contrast(volume, BlobNetwork(), TomoFusionParams(contrast="bright"))
    assert known.kind == "bright"
    assert "hardly any particles" in known.warnings[-1]


def test_outlines_of_dark_particles_follow_inverted_grey_values(tmp_path):
    truth = draw_balls(SHAPE, CENTRES[2:], [13, 14])
    prob, dist = perfect_maps(truth)
    grey = np.where(truth > 0, 180, 60).astype(np.uint8)
    found = []
    for name, values in (("bright", grey), ("dark", 240 - grey)):
        (tmp_path / name).mkdir()
        volume, probability = store_case(tmp_path / name, values, prob, dist)
        known = {**probability.attributes, "contrast": name, "grey_limits": [60.0, 180.0]}
        case = (volume, replace(probability, attributes=known))
        found.append(run_labels(tmp_path / name, case, NO_MINIMUM)[0])
    np.testing.assert_array_equal(found[0], found[1])


def make_pillar(surroundings, *, matrix=90.0):
    """Balls of 220 in a pillar of matrix, with noise, within air of 20 or of the matrix itself."""
    balls, _ = make_balls(SHAPE, [(30, 36, 34), (30, 30, 52)], 7)
    _, y, x = np.indices(SHAPE)
    grey = np.where(np.hypot(y - 36, x - 40) < 27, matrix, surroundings)
    grey[balls > 125] = 220.0
    noise = np.random.default_rng(0).normal(0, 4, SHAPE)
    return np.clip(ndimage.gaussian_filter(grey, 0.7) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("round_view", [True, False])
def test_air_around_a_sample_is_read_as_its_matrix_with_a_warning(tmp_path, round_view):
    _, y, x = np.indices(SHAPE)
    inside = np.hypot(y - 36, x - 40) < 35 if round_view else None
    volume = store_grey(tmp_path / "grey", make_pillar(20.0), levels=2, inside=inside)
    known = find_contrast(volume, BlobNetwork(), AUTO)
    assert known.low == pytest.approx(90, abs=3)
    assert "air surrounds" in known.warnings[0]
    read = known.reading.apply(volume.array[:])
    assert read.min() == pytest.approx(90, abs=3)


@pytest.mark.parametrize("case", ["no air", "no matrix", "pores up to the edges"])
def test_what_is_no_air_around_a_sample_is_read_as_it_is(tmp_path, case):
    grey = make_pillar(
        90.0 if case == "no air" else 20.0, matrix=20.0 if case == "no matrix" else 90.0
    )
    if case == "pores up to the edges":
        blobs = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=SHAPE), 3)
        grey = np.where(grey > 150, grey, np.where(blobs > 0, 90, 20)).astype(np.uint8)
    known = find_contrast(store_grey(tmp_path / "grey", grey), BlobNetwork(), AUTO)
    assert known.low < 15
    assert not any("air surrounds" in warning for warning in known.warnings)


@pytest.mark.parametrize("kind", ["noise", "flat"])
def test_grey_values_without_contrast_are_named(tmp_path, kind):
    rng = np.random.default_rng(0)
    grey = rng.normal(120, 20, SHAPE) if kind == "noise" else rng.integers(0, 256, SHAPE)
    volume = store_grey(tmp_path / "grey", np.clip(grey, 0, 255).astype(np.uint8))
    known = find_contrast(volume, BlobNetwork(), TomoFusionParams())
    assert known.kind == "bright"
    assert "no contrast" in known.warnings[0]
