"""What the segmentation is measured against: two common methods, on volumes that fit in memory.

Other methods to label the same volume, to be scored beside the default one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import edt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from ncm_kedro.errors import StoreError
from ncm_kedro.params.tomo_segment import (
    SectionSegmentParams,
    TomoComputeParams,
    TomoInstanceParams,
    TomoScoringParams,
)
from ncm_kedro.tomo.detector.detector import Detector
from ncm_kedro.tomo.detector.sections import segment_section
from ncm_kedro.tomo.fusion.scale import GreyArray, read_as_detected
from ncm_kedro.tomo.instances.instances import plan_labels
from ncm_kedro.tomo.instances.refine import fill_voids
from ncm_kedro.tomo.scoring.score import LabelScores, count_overlaps, match_labels, score_labels
from ncm_kedro.tomo.volumes.identity import MADE_FROM, fingerprint, identify_sources
from ncm_kedro.tomo.volumes.volume import Spacing, Volume, VolumePlan, VolumeTarget

SegmentSection = Callable[[NDArray[np.float32]], NDArray[np.integer]]
"""Labels the particles of one section (Y, X); 0 is background."""


def label_otsu_watershed(
    grey_zyx: NDArray[np.generic],
    *,
    voxel_size_um: Spacing,
    smoothing_vx: float = 1.0,
    min_distance_um: float = 1.5,
    min_volume_um3: float = 1.0,
) -> NDArray[np.uint32]:
    """Label by Otsu's threshold and a watershed on the distance to the background.

    Parameters
    ----------
    smoothing_vx
        Standard deviation of the Gaussian over the grey values (voxels).
    min_distance_um
        Least distance between two seeds (um).
    min_volume_um3
        Smaller particles are dropped (um3).

    Returns
    -------
    ndarray of uint32, (Z, Y, X)
        Labels 1 to n; enclosed voids are filled before the distance is taken.
    """
    smooth = gaussian_filter(grey_zyx.astype(np.float32), smoothing_vx)
    if smooth.min() == smooth.max():
        return np.zeros(grey_zyx.shape, dtype=np.uint32)
    mask = fill_voids(smooth > threshold_otsu(smooth))
    depth_um = edt.edt(np.ascontiguousarray(mask), anisotropy=voxel_size_um, parallel=1)
    depth_um = gaussian_filter(depth_um, 1.0)
    reach_vx = max(1, round(min_distance_um / min(voxel_size_um)))
    seeds = peak_local_max(
        depth_um, min_distance=reach_vx, labels=mask.astype(np.int32), exclude_border=False
    )
    markers = np.zeros(mask.shape, dtype=np.int32)
    markers[tuple(seeds.T)] = np.arange(1, len(seeds) + 1)
    labels = watershed(-depth_um, markers, mask=mask)
    return _drop_small(labels, voxel_size_um, min_volume_um3)


def link_slices(
    grey_zyx: NDArray[np.generic],
    segment: SegmentSection,
    *,
    voxel_size_um: Spacing,
    min_iou: float = 0.3,
    min_volume_um3: float = 1.0,
) -> NDArray[np.uint32]:
    """Label every xy section by itself and link labels of neighbouring sections that overlap.

    Parameters
    ----------
    min_iou
        Least intersection over union of two labels that are linked (0 to 1).
    min_volume_um3
        Smaller particles are dropped (um3).

    Returns
    -------
    ndarray of uint32, (Z, Y, X)
        Labels 1 to n.
    """
    linked = np.zeros(grey_zyx.shape, dtype=np.int64)
    count = 0
    for z, section_yx in enumerate(grey_zyx):
        found = np.asarray(segment(section_yx.astype(np.float32))).astype(np.int64)
        name = np.zeros(int(found.max(initial=0)) + 1, dtype=np.int64)
        if z > 0:
            match = match_labels(count_overlaps(linked[z - 1], found), min_iou)
            name[match.predicted] = match.true
        fresh = np.unique(found[found > 0])
        fresh = fresh[name[fresh] == 0]
        name[fresh] = np.arange(count + 1, count + len(fresh) + 1)
        count += len(fresh)
        linked[z] = name[found]
    return _drop_small(linked, voxel_size_um, min_volume_um3)


def _drop_small(
    labels_zyx: NDArray[np.integer], voxel_size_um: Spacing, min_volume_um3: float
) -> NDArray[np.uint32]:
    size = np.bincount(labels_zyx.ravel())
    keep = size * float(np.prod(voxel_size_um)) >= min_volume_um3
    keep[0] = False
    name = np.zeros(len(size), dtype=np.uint32)
    name[keep] = np.arange(1, int(keep.sum()) + 1)
    return np.asarray(name[labels_zyx])


PAPER = "paper"
OTSU_WATERSHED = "otsu_watershed"
SLICE_LINKING = "slice_linking"
_SEPARATOR = "__"
_METHOD_VERSION = 3

Labeller = Callable[[GreyArray, Spacing], NDArray[np.uint32]]


def plan_baseline_methods(
    volume: Volume,
    probability: Volume,
    detector: Detector,
    *,
    instances: TomoInstanceParams,
    scoring: TomoScoringParams,
    compute: TomoComputeParams,
) -> list[VolumePlan]:
    """Plan the requested labellings, each as a volume of its own.

    Parameters
    ----------
    volume
        The tomogram; two of the methods hold it whole.
    probability
        Says how grey values were read: inverted ones count for every method.
    instances
        Settings of the default labelling; the paper's method takes over all but ``fusion``.
    compute
        Who works on the blocks of the paper's method.

    Returns
    -------
    list of VolumePlan
        Named by `name_method`; empty where the volume is larger than ``scoring.max_voxels``.
    """
    if int(np.prod(volume.shape_zyx)) > scoring.max_voxels:
        return []
    plans = []
    if scoring.paper_fusion:
        as_paper = instances.model_copy(update={"fusion": "paper"})
        plan = plan_labels(volume, probability, as_paper, compute)
        plans.append(replace(plan, name=name_method(volume.name, PAPER)))
    least_um3 = instances.min_volume_um3
    if scoring.otsu_watershed:
        label: Labeller = partial(_label_by_otsu, min_volume_um3=least_um3)
        plans.append(_plan_whole(volume, probability, OTSU_WATERSHED, (f"{least_um3}", label)))
    if scoring.slice_linking:
        diameter_um = float(probability.attributes["particle_diameter_um"])
        edge_um = float(probability.attributes["detection_voxel_um"])
        identity = f"{detector.fingerprint}|{diameter_um}|{edge_um}|{least_um3}"
        label = partial(
            _label_by_slices,
            detector=detector,
            particle_diameter_um=diameter_um,
            detection_voxel_um=edge_um,
            min_volume_um3=least_um3,
        )
        plans.append(_plan_whole(volume, probability, SLICE_LINKING, (identity, label)))
    return plans


def name_method(sample: str, method: str) -> str:
    """Name the volume of a sample that another method labelled."""
    return f"{sample}{_SEPARATOR}{method}"


def split_name(name: str) -> tuple[str, str]:
    """Take sample and method out of a name that `name_method` made."""
    sample, _, method = name.rpartition(_SEPARATOR)
    return sample, method


def _label_by_slices(
    grey: GreyArray,
    voxel_size_um: Spacing,
    detector: Detector,
    *,
    particle_diameter_um: float,
    detection_voxel_um: float,
    min_volume_um3: float,
) -> NDArray[np.uint32]:
    """Link two-dimensional instances; slices are upsampled to the detection grid at most."""
    wanted_edge_um = particle_diameter_um / detector.particle_px
    params = SectionSegmentParams(
        particle_px=particle_diameter_um / voxel_size_um[1],
        scales=(min(1.0, wanted_edge_um / detection_voxel_um),),
        turns=False,
    )
    return link_slices(
        grey[:, :, :],
        lambda section_yx: segment_section(section_yx, detector, params).labels_yx,
        voxel_size_um=voxel_size_um,
        min_volume_um3=min_volume_um3,
    )


def _label_by_otsu(
    grey: GreyArray, voxel_size_um: Spacing, *, min_volume_um3: float
) -> NDArray[np.uint32]:
    return label_otsu_watershed(
        grey[:, :, :], voxel_size_um=voxel_size_um, min_volume_um3=min_volume_um3
    )


@dataclass(frozen=True)
class _WholeWriter:
    grey: GreyArray
    voxel_size_um: Spacing
    label: Labeller

    def __call__(self, target: VolumeTarget) -> None:
        target.array[:] = self.label(self.grey, self.voxel_size_um)


def _plan_whole(
    volume: Volume, probability: Volume, method: str, labeller: tuple[str, Labeller]
) -> VolumePlan:
    """Plan a method that holds the volume whole; its identity changes with what it depends on."""
    identity, label = labeller
    grey = read_as_detected(volume, probability)
    return VolumePlan(
        name=name_method(volume.name, method),
        shape_zyx=volume.shape_zyx,
        dtype=np.uint32,
        voxel_size_um=volume.voxel_size_um,
        fingerprint=fingerprint(
            f"{method}-{_METHOD_VERSION}", volume.fingerprint, identity, str(grey.reading)
        ),
        write=_WholeWriter(grey, volume.voxel_size_um, label),
        is_label=True,
        attributes={"method": method, MADE_FROM: identify_sources(tomogram=volume)},
    )


DEFAULT_METHOD = "default"
SCORE_COLUMNS = ("sample", "method", *LabelScores.__dataclass_fields__)

Labels = NDArray[np.integer]


def score_samples(
    samples: Sequence[str],
    labels: Mapping[str, Volume],
    baseline_labels: Mapping[str, Volume],
    truth: Mapping[str, Labels],
    scoring: TomoScoringParams,
) -> pd.DataFrame:
    """Score every method on every sample with a known truth.

    Parameters
    ----------
    labels
        What the default method found.
    baseline_labels
        What others found, named by `name_method`.
    truth
        Known labels (Z, Y, X), where there are any.
    scoring
        Largest volume, and smallest particle that counts.

    Returns
    -------
    pandas.DataFrame
        A row per sample and method; no row where nothing is known.

    Raises
    ------
    StoreError
        If known labels have another shape than the tomogram.
    """
    rows = []
    for sample in samples:
        if sample not in truth or int(np.prod(labels[sample].shape_zyx)) > scoring.max_voxels:
            continue
        known = truth[sample]
        _check_shape(sample, known, labels[sample])
        for method, found in select_methods(sample, labels, baseline_labels).items():
            scores = score_labels(
                known,
                found.array,
                voxel_size_um=found.voxel_size_um,
                ignored_true=_find_small(known, found, scoring.min_volume_um3),
            )
            rows.append({"sample": sample, "method": method, **scores.to_row()})
    numbers = dict.fromkeys(LabelScores.__dataclass_fields__, "float64")
    whole = dict.fromkeys(("n_true", "n_predicted", "splits", "merges"), "int64")
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).astype(
        {"sample": "str", "method": "str", **numbers, **whole}
    )


def select_methods(
    sample: str, labels: Mapping[str, Volume], baseline_labels: Mapping[str, Volume]
) -> dict[str, Volume]:
    """Collect what every method found in a sample, the default method first."""
    others = {
        method: volume
        for (owner, method), volume in (
            (split_name(name), volume) for name, volume in baseline_labels.items()
        )
        if owner == sample
    }
    return {DEFAULT_METHOD: labels[sample], **others}


def _find_small(known_zyx: Labels, found: Volume, min_volume_um3: float) -> list[int]:
    """List known particles that are too small to count, also because the border cuts them."""
    voxel_um3 = float(np.prod(found.voxel_size_um))
    numbers, voxels = np.unique(known_zyx, return_counts=True)
    small = (voxels * voxel_um3 < min_volume_um3) & (numbers > 0)
    return [int(number) for number in numbers[small]]


def _check_shape(sample: str, known_zyx: Labels, volume: Volume) -> None:
    if tuple(known_zyx.shape) != volume.shape_zyx:
        raise StoreError(
            f"known labels of {sample}",
            found=f"{known_zyx.shape} voxels",
            expected=f"those of the tomogram, {volume.shape_zyx}",
            action="write the labels on the tomogram's own grid, or move them away",
        )
