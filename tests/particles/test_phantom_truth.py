"""Attributes of a phantom's true labels against what was simulated in it."""

import numpy as np
import pytest

from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_phantoms import TomoPhantomParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.attributes import tabulate_attributes, tabulate_details
from ncm_kedro.particles.measure import measure_specimen
from ncm_kedro.particles.specimen import Specimen
from ncm_kedro.synthetic.tomo.imaging import draw_view
from ncm_kedro.synthetic.tomo.solids import measure_radius
from ncm_kedro.synthetic.tomo.volume import iter_slabs, make_scene

EDGE_UM = 0.4
PHANTOM = TomoPhantomParams(shape_zyx=(80, 112, 112), voxel_size_um=EDGE_UM)
PARAMS = AttributeParams(closing_um=0.6)


def spread_directions(number=4000):
    """Even unit vectors z, y, x."""
    step = np.arange(number)
    z = 1 - 2 * (step + 0.5) / number
    turn = np.pi * (3 - np.sqrt(5)) * step
    flat = np.sqrt(1 - z**2)
    return np.stack([z, flat * np.sin(turn), flat * np.cos(turn)], axis=1)


def integrate(solids, n):
    """Volume, centroid and elongation of a star-shaped particle, without its neighbours."""
    unit = spread_directions()
    radius = np.array([measure_radius(solids, n, *u) for u in unit])
    weight = 4 * np.pi / len(unit)
    volume = weight * (radius**3).sum() / 3
    centre = weight * (radius[:, None] ** 4 * unit).sum(axis=0) / 4 / volume
    second = weight * np.einsum("n,ni,nj->ij", radius**5, unit, unit) / 5 / volume
    spread = np.linalg.eigvalsh(second - np.outer(centre, centre))
    return volume, solids.centre_um[n] + centre, np.sqrt(spread[2] / spread[0])


@pytest.fixture(scope="module")
def phantom():
    scene = make_scene("cyc50", PHANTOM)
    slabs = list(iter_slabs(scene, PHANTOM))
    labels, cracks, grey = (
        np.concatenate([getattr(slab, name) for slab in slabs])
        for name in ("labels_zyx", "cracks_zyx", "grey_zyx")
    )
    view = np.broadcast_to(draw_view(labels.shape[1:], PHANTOM.imaging), labels.shape)
    specimen = Specimen(
        "cyc50", labels, (EDGE_UM,) * 3, grey, cracks, view.astype(np.uint8), axis_to_collector="-z"
    )
    found = measure_specimen(specimen, PARAMS, TomoComputeParams(workers=2, block_edge_vx=64))
    attributes = tabulate_attributes(found, PARAMS).set_index("particle_id")
    details = tabulate_details(found, PARAMS).set_index("particle_id")
    return scene, specimen, attributes, details


@pytest.fixture(scope="module")
def whole(phantom):
    """Particles that touch no border, and their exact volume, centre and elongation."""
    scene, _, attributes, _ = phantom
    table = attributes[~attributes["touches_border"]]
    exact = [integrate(scene.solids, number - 1) for number in table.index]
    volume, centre, elongation = (np.array(column) for column in zip(*exact, strict=True))
    return table, volume, centre, elongation


def test_the_phantom_is_worth_it(phantom, whole):
    assert len(whole[0]) >= 12
    assert phantom[2]["damage"].max() > 0.2


def test_volume(whole):
    """Neighbours take a little where they are pressed together; the closing adds a little."""
    table, volume, _, _ = whole
    ratio = table["volume_um3"] / volume
    assert ratio.mean() == pytest.approx(0.99, abs=0.01)
    assert ratio.between(0.94, 1.02).all()
    labelled = table["volume_um3"] / (table["voxel_count"] * EDGE_UM**3)
    assert labelled.between(1.0, 1.02).all()


def test_centre(whole):
    """The phantom samples voxels at their first corner, attributes take their middle."""
    table, _, centre, _ = whole
    away = table[["z_um", "y_um", "x_um"]].to_numpy() - EDGE_UM / 2 - centre
    np.testing.assert_allclose(away.mean(axis=0), 0, atol=0.03)
    assert np.linalg.norm(away, axis=1).max() < 0.25


def test_elongation(whole):
    table, _, _, elongation = whole
    ratio = table["elongation"] / elongation
    assert ratio.mean() == pytest.approx(1, abs=0.015)
    assert ratio.between(0.95, 1.07).all()


def test_damage(phantom, whole):
    """The fraction of marked cracks, and a little that the closing finds at the outline."""
    scene, specimen, _, _ = phantom
    table = whole[0]
    voxels, cracks = (
        np.bincount(specimen.labels[marked], minlength=specimen.labels.max() + 1)[table.index]
        for marked in (specimen.labels > 0, specimen.cracks > 0)
    )
    beyond = table["damage"] - cracks / voxels
    assert beyond.between(0, 0.015).all()
    assert beyond.mean() < 0.006
    simulated = scene.simulated_damage[table.index - 1]
    assert np.corrcoef(table["damage"], simulated)[0, 1] > 0.98
    np.testing.assert_allclose(table["damage"], simulated, atol=0.03)


def test_touching_particles(phantom, whole):
    """Planted contacts lie on the line between centres; labels also meet beside it."""
    scene, _, attributes, details = phantom
    pairs = scene.contacts + 1
    pairs = pairs[np.isin(pairs, attributes.index).all(axis=1)]
    number = np.bincount(pairs.ravel(), minlength=attributes.index.max() + 1)
    beyond = details["touching_particles"] - number[details.index]
    beyond = beyond[whole[0].index]
    assert (beyond >= 0).mean() >= 0.9
    assert beyond.abs().max() <= 2
    assert (beyond == 0).mean() > 0.5


def test_depth_from_the_collectors_side(phantom, whole):
    table, _, centre, _ = whole
    depth = phantom[3].loc[table.index, "depth_um"]
    np.testing.assert_allclose(depth, centre[:, 0] + EDGE_UM / 2, atol=0.2)
