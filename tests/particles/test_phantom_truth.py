"""Attributes of a phantom's true labels against what was planted in it."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_compute import TomoComputeParams
from ncm_kedro.params.tomo_phantoms import TomoPhantomParams
from ncm_kedro.particles.attributes import tabulate_attributes
from ncm_kedro.particles.details import tabulate_details
from ncm_kedro.particles.measure import measure_specimen
from ncm_kedro.particles.specimen import Specimen
from ncm_kedro.synthetic.tomo_imaging import draw_view
from ncm_kedro.synthetic.tomo_solids import measure_radius
from ncm_kedro.synthetic.tomo_volume import iter_slabs, make_scene

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
    print("volume", ratio.describe())
