"""Input that is rejected before a voxel is read, and the join of labels and grey values."""

from pathlib import Path

import numpy as np
import pytest

from ncm_kedro.errors import TomogramError
from ncm_kedro.particles.specimen import Specimen, check_specimen, take_specimen
from ncm_kedro.tomo.volumes.volume import Volume

VOXEL = (0.1, 0.1, 0.1)
SHAPE = (4, 5, 6)


def make_volume(array, voxel_um=VOXEL, extras=None, **attributes):
    return Volume("one", Path("one.zarr"), array, (array,), voxel_um, extras or {}, attributes)


LABELS = np.zeros(SHAPE, np.uint32)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"labels": np.zeros((5, 6), np.uint8)}, r"labels of shape \(5, 6\)"),
        ({"labels": np.zeros((0, 5, 6), np.uint8)}, r"labels of shape \(0, 5, 6\)"),
        ({"labels": np.zeros(SHAPE, np.float32)}, "labels of type float32"),
        ({"labels": np.zeros(SHAPE, bool)}, "labels of type bool"),
        ({"grey": np.zeros((4, 5, 7))}, r"labels of \(4, 5, 6\) voxels, grey of \(4, 5, 7\)"),
        ({"cracks": np.zeros((4, 5))}, "labels of .*cracks of"),
        ({"view": np.zeros((5, 5, 6))}, "labels of .*view of"),
        ({"voxel_size_um": None}, "voxel size None"),
        ({"voxel_size_um": (0.1, 0.1)}, "voxel size"),
        ({"voxel_size_um": 0.1}, "voxel size"),
        ({"voxel_size_um": (0.1, np.nan, 0.1)}, "voxel size"),
        ({"voxel_size_um": (0.1, 0.0, 0.1)}, "voxel size"),
        ({"voxel_size_um": (0.1, -0.1, 0.1)}, "voxel size"),
        ({"voxel_size_um": (0.1, np.inf, 0.1)}, "voxel size"),
    ],
)
def test_what_cannot_be_measured_is_refused(change, found):
    settings = {"name": "one", "labels": LABELS, "voxel_size_um": VOXEL} | change
    with pytest.raises(TomogramError, match=f"sample one: found {found}.*What to do"):
        check_specimen(Specimen(**settings))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int16", "int64"])
def test_labels_of_whole_numbers_pass(dtype):
    check_specimen(Specimen("one", LABELS.astype(dtype), VOXEL))


def test_labels_bring_their_cracks_and_the_volume_its_view():
    cracks, view = np.ones(SHAPE, np.uint8), np.full(SHAPE, 2, np.uint8)
    labels = make_volume(LABELS, (0.3, 0.1, 0.2), {"cracks": cracks})
    grey = np.full(SHAPE, 7, np.uint8)
    extras = {"field_of_view": view}
    specimen = take_specimen(
        labels, make_volume(grey, (0.3, 0.1, 0.2), extras, axis_to_collector="-z")
    )
    assert specimen.name == "one"
    assert specimen.labels is LABELS
    assert specimen.grey is grey
    assert specimen.cracks is cracks
    assert specimen.view is view
    assert specimen.voxel_size_um == (0.3, 0.1, 0.2)
    assert specimen.axis_to_collector == "-z"


def test_labels_alone():
    specimen = take_specimen(make_volume(LABELS), None)
    assert specimen.grey is specimen.cracks is specimen.view is specimen.axis_to_collector is None


def test_labels_and_grey_values_of_other_voxels_are_refused():
    labels = make_volume(LABELS)
    assert take_specimen(labels, make_volume(LABELS, (0.10005, 0.1, 0.1))).name == "one"
    with pytest.raises(TomogramError, match=r"one\.zarr: found labels with voxels of .* um"):
        take_specimen(labels, make_volume(LABELS, (0.101, 0.1, 0.1)))
    with pytest.raises(TomogramError, match=r"found labels of .* grey of"):
        take_specimen(labels, make_volume(np.zeros((4, 5, 7), np.uint8)))
