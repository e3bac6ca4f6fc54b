"""What could fool the reader of a segmentation's figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

_BORDER_SHARE = 0.4
_FIELD_SHARE = 0.6
_DISAGREEMENT = 0.25
_OUTSIDE_SHARE = 0.05
_FEW = 30


def list_caveats(
    facts: Mapping[str, Any], particles: pd.DataFrame, detector: Mapping[str, Any]
) -> list[str]:
    """List what limits the conclusions from a sample.

    Parameters
    ----------
    facts
        ``shape_zyx``, ``voxel_size_um`` and, where known, ``field_of_view_fraction`` (0 to 1),
        ``detection_voxel_um``, ``edited_from``.
    particles
        Particle list.
    detector
        Facts of the detector; ``diameter_range_px``: smallest and largest diameter it was trained
        on.

    Returns
    -------
    list of str
        A sentence or two each; empty where nothing stands out.
    """
    if particles.empty:
        return [
            "no particle was found. Look at the probability below: where it is dark everywhere, "
            "the voxel size or the particle diameter is wrong, or the detector does not know this "
            "material."
        ]
    found = [
        _evaluate_border(particles),
        _evaluate_count(particles),
        _evaluate_disagreement(particles),
        _evaluate_scale(facts, particles, detector),
        _evaluate_field(facts),
        _evaluate_anisotropy(facts),
        _evaluate_edits(facts),
    ]
    return [caveat for caveat in found if caveat]


def _evaluate_border(particles: pd.DataFrame) -> str:
    border = particles["touches_border"].astype(bool)
    share = float(border.mean())
    if share < _BORDER_SHARE:
        return ""
    volume = particles["volume_um3"]
    return (
        f"{share:.0%} of the particles, {volume[border].sum() / volume.sum():.0%} of their volume, "
        "are cut by the border. Their size and shape are not those of the whole particle, and the "
        "whole ones are smaller than the average."
    )


def _evaluate_count(particles: pd.DataFrame) -> str:
    whole = int((~particles["touches_border"].astype(bool)).sum())
    if whole >= _FEW:
        return ""
    return f"only {whole} particles are whole: distributions over them are rough."


def _evaluate_disagreement(particles: pd.DataFrame) -> str:
    mean = float(np.average(particles["disagreement"], weights=particles["volume_um3"]))
    if mean < _DISAGREEMENT:
        return ""
    return (
        f"the three directions differ by {mean:.2f} in probability on average. Artefacts along one "
        "direction, a wrong voxel size along z, or unknown material make them differ."
    )


def _evaluate_scale(
    facts: Mapping[str, Any], particles: pd.DataFrame, detector: Mapping[str, Any]
) -> str:
    bounds, edge = detector.get("diameter_range_px"), facts.get("detection_voxel_um")
    if bounds is None or edge is None:
        return ""
    whole = particles[~particles["touches_border"].astype(bool)]
    diameter_px = whole["equivalent_diameter_um"].to_numpy(dtype=np.float64) / float(edge)
    outside = (diameter_px < bounds[0]) | (diameter_px > bounds[1])
    if not len(outside) or outside.mean() < _OUTSIDE_SHARE:
        return ""
    return (
        f"{outside.mean():.0%} of the whole particles are smaller or larger than what the detector "
        f"was trained on ({bounds[0] * edge:.3g} to {bounds[1] * edge:.3g} um at the scale used). "
        "Set particle_diameter_um where the scale is wrong."
    )


def _evaluate_field(facts: Mapping[str, Any]) -> str:
    share = facts.get("field_of_view_fraction")
    if share is None or share >= _FIELD_SHARE:
        return ""
    return (
        f"only {share:.0%} of the volume lies in the field of view. Shares of volume are taken of "
        "that part; particles at its edge count as cut."
    )


def _evaluate_anisotropy(facts: Mapping[str, Any]) -> str:
    sizes = facts["voxel_size_um"]
    ratio = max(sizes) / min(sizes)
    if ratio < 1.5:
        return ""
    return (
        f"voxels are {ratio:.1f} times longer along one axis than along another: cracks thinner "
        "than the longer edge are missed across it."
    )


def _evaluate_edits(facts: Mapping[str, Any]) -> str:
    if "edited_from" not in facts:
        return ""
    return "the labels were edited by hand; the log of changes lists what and by whom."
