"""What is called suspect on a phantom, beside what is wrong there."""

import numpy as np
import pytest
from instance_cases import run_labels
from test_fusion import fuse, store_volume

from ncm_kedro.params.tomo_phantoms import TomoPhantomParams
from ncm_kedro.params.tomo_segment import TomoComputeParams, TomoFusionParams, TomoReviewParams
from ncm_kedro.synthetic.tomo.volume import iter_slabs, make_scene
from ncm_kedro.tomo.detector.detector import load_detector
from ncm_kedro.tomo.instances.particle_list import list_particles
from ncm_kedro.tomo.review.review import rank_suspects

PARAMS = TomoPhantomParams(
    samples={"one": {"cycles": 50, "damage_level": 0.2}},
    shape_zyx=(72, 128, 128),
    voxel_size_um=0.36,
    packing={"median_diameter_um": 8.0, "diameter_range_um": (4.5, 13.0)},
    seed=11,
)


def find_wrong(labels, truth):
    """Mark labels whose best IoU is below 0.5, or that hold most of two or more particles."""
    size = int(truth.max()) + 1
    overlap = np.bincount(labels.ravel().astype(np.int64) * size + truth.ravel(), minlength=0)
    overlap = np.pad(overlap, (0, -len(overlap) % size)).reshape(-1, size)
    own, known = overlap.sum(axis=1), overlap.sum(axis=0)
    both = overlap[1:, 1:]
    iou = both / np.maximum(own[1:, None] + known[1:] - both, 1)
    large = known[1:] * PARAMS.voxel_size_um**3 > 1
    merged = ((both > known[1:] / 2) & large).sum(axis=1) > 1
    return (iou.max(axis=1) < 0.5) | merged


@pytest.mark.slow
def test_the_list_is_short_and_holds_most_wrong_particles(tmp_path):
    slabs = list(iter_slabs(make_scene("one", PARAMS), PARAMS))
    grey = np.concatenate([slab.grey_zyx for slab in slabs])
    truth = np.concatenate([slab.labels_zyx for slab in slabs])
    voxel_um = (PARAMS.voxel_size_um,) * 3
    volume = store_volume(tmp_path / "grey", grey, voxel_um)
    prob, dist, disagreement, notes = fuse(
        tmp_path / "maps", volume, load_detector(), params=TomoFusionParams(), edge=128
    )
    probability = store_volume(tmp_path / "probability", prob, voxel_um)
    for name, values in (("distance", dist), ("disagreement", disagreement)):
        probability.extras[name] = store_volume(tmp_path / name, values).array
    probability.attributes.update(
        {**notes, "fingerprint": "p", "made_from": {"tomogram": volume.fingerprint}}
    )
    (tmp_path / "labels").mkdir()
    found, _ = run_labels(tmp_path / "labels", (volume, probability))
    labels = store_volume(tmp_path / "labels-volume", found, voxel_um)
    listed = list_particles(labels, volume, probability, TomoComputeParams())
    suspects = rank_suspects(listed, TomoReviewParams())["particle_id"].to_numpy()
    wrong = 1 + np.flatnonzero(find_wrong(found, truth))
    assert len(listed) > 40
    assert len(wrong) > 3
    assert len(suspects) <= 0.25 * len(listed)
    assert np.isin(wrong, suspects).mean() >= 0.6
    assert np.isin(suspects, wrong).mean() >= 0.4
