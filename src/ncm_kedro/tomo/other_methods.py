"""Other ways to label the same volume, to be scored beside the default one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.params.tomo_compute import TomoComputeParams
from ncm_kedro.params.tomo_instances import TomoInstanceParams
from ncm_kedro.params.tomo_scoring import TomoScoringParams
from ncm_kedro.params.tomo_sections import SectionSegmentParams
from ncm_kedro.tomo.baselines import label_otsu_watershed, link_slices
from ncm_kedro.tomo.detector import Detector
from ncm_kedro.tomo.instances import plan_labels
from ncm_kedro.tomo.sections import segment_section
from ncm_kedro.tomo.volume import Volume, VolumePlan, VolumeTarget

PAPER = "paper"
OTSU_WATERSHED = "otsu_watershed"
SLICE_LINKING = "slice_linking"
_SEPARATOR = "__"
_METHOD_VERSION = 1

Labeller = Callable[[Volume], NDArray[np.integer]]


def plan_other_methods(
    volume: Volume,
    probability: Volume,
    detector: Detector,
    *,
    instances: TomoInstanceParams,
    scoring: TomoScoringParams,
    compute: TomoComputeParams,
) -> list[VolumePlan]:
    """Plan the labellings that are asked for, each as a volume of its own.

    Parameters
    ----------
    volume
        The tomogram; two of the methods hold it whole.
    probability
        Its fused probability.
    detector
        For the linking of slices.
    instances
        Settings of the default labelling; the paper's way takes over all but ``fusion``.
    scoring
        Which methods are asked for.
    compute
        Who works on the blocks of the paper's way.

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
    least_um3, diameter_um = instances.min_volume_um3, _read_diameter(probability)
    if scoring.otsu_watershed:
        plans.append(_plan_whole(volume, OTSU_WATERSHED, f"{least_um3}", _OtsuWatershed(least_um3)))
    if scoring.slice_linking:
        edge_um = float(probability.attributes["working_edge_um"])
        told = f"{detector.fingerprint}|{diameter_um}|{edge_um}|{least_um3}"
        linked = _SliceLinking(detector, diameter_um, edge_um, least_um3)
        plans.append(_plan_whole(volume, SLICE_LINKING, told, linked))
    return plans


def name_method(sample: str, method: str) -> str:
    """Name the volume of a sample that another method labelled."""
    return f"{sample}{_SEPARATOR}{method}"


def split_name(name: str) -> tuple[str, str]:
    """Take sample and method out of a name that `name_method` made."""
    sample, _, method = name.rpartition(_SEPARATOR)
    return sample, method


@dataclass(frozen=True)
class _SliceLinking:
    """StarDist's two-dimensional instances, slice by slice, linked along z.

    Slices are enlarged no further than the working grid of the fused probability.
    """

    detector: Detector
    particle_diameter_um: float
    working_edge_um: float
    min_volume_um3: float

    def __call__(self, volume: Volume) -> NDArray[np.integer]:
        wanted_edge_um = self.particle_diameter_um / self.detector.particle_px
        params = SectionSegmentParams(
            particle_px=self.particle_diameter_um / volume.voxel_size_um[1],
            scales=(min(1.0, wanted_edge_um / self.working_edge_um),),
            turns=False,
        )
        return link_slices(
            np.asarray(volume.array[:]),
            lambda section_yx: segment_section(section_yx, self.detector, params).labels_yx,
            voxel_size_um=volume.voxel_size_um,
            min_volume_um3=self.min_volume_um3,
        )


@dataclass(frozen=True)
class _OtsuWatershed:
    """The classical way: a threshold, and a watershed on the distance to the background."""

    min_volume_um3: float

    def __call__(self, volume: Volume) -> NDArray[np.integer]:
        return label_otsu_watershed(
            np.asarray(volume.array[:]),
            voxel_size_um=volume.voxel_size_um,
            min_volume_um3=self.min_volume_um3,
        )


def _read_diameter(probability: Volume) -> float:
    return float(probability.attributes["particle_diameter_um"])


@dataclass(frozen=True)
class _WholeWriter:
    volume: Volume
    label: Labeller

    def __call__(self, target: VolumeTarget) -> None:
        target.array[:] = self.label(self.volume).astype(np.uint32)


def _plan_whole(volume: Volume, method: str, told: str, label: Labeller) -> VolumePlan:
    text = f"{method}-{_METHOD_VERSION}|{volume.fingerprint}|{told}"
    return VolumePlan(
        name=name_method(volume.name, method),
        shape_zyx=volume.shape_zyx,
        dtype=np.uint32,
        voxel_size_um=volume.voxel_size_um,
        fingerprint=hashlib.sha256(text.encode()).hexdigest()[:16],
        write=_WholeWriter(volume, label),
        is_label=True,
        attributes={"method": method},
    )
