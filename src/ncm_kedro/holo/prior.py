"""Materials told apart in a volume, and the absorption that they would have.

One ratio of absorption to phase holds for one material. Where the materials of a first volume are
told apart by their grey (multi-Otsu), each ray knows the mixture that it went through.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_multiotsu

from ncm_kedro.errors import TomogramError
from ncm_kedro.holo.fbp import project_sections
from ncm_kedro.params.holo import PriorParams

FloatArray = NDArray[np.float32]

_SAMPLES = 2_000_000
_LEAST = 0.02  # of a row of the lightest material: rays with less go through air
_log = logging.getLogger(__name__)


def describe_materials(volume: Any, prior: PriorParams) -> list[float]:
    """Find the grey values between air and the materials of ``prior``, by multi-Otsu.

    Parameters
    ----------
    volume
        Zarr array (Z, Y, X).

    Returns
    -------
    list of float
        One a material, rising.
    """
    step = max(1, int(np.ceil((np.prod(volume.shape) / _SAMPLES) ** (1 / 3))))
    layers = [np.asarray(volume[z])[::step, ::step] for z in range(0, volume.shape[0], step)]
    grey = np.stack(layers)
    grey = grey[grey != 0]
    low, high = np.percentile(grey, [0.1, 99.9]) if grey.size else (0.0, 0.0)
    if not high > low:
        raise TomogramError(
            "materials of the first volume", found="no contrast", expected="materials",
            action="set prior.iterations to 0 and look at the volume",
        )  # fmt: skip
    limits = threshold_multiotsu(np.clip(grey, low, high), classes=len(prior.delta_over_beta) + 1)
    _log.info("materials begin at %s", ", ".join(f"{value:.3g}" for value in limits))
    return [float(value) for value in limits]


def mix_absorption(
    volume_zyx: FloatArray,
    limits: list[float],
    prior: PriorParams,
    *,
    angles_deg: NDArray[np.float64],
    centre_px: float,
    width_px: int,
) -> FloatArray:
    """Project the materials, and mix their ratios of absorption to phase along every ray.

    Returns
    -------
    ndarray of float32
        (Z, A, X), beta over delta.
    """
    shape = len(volume_zyx), len(angles_deg), width_px
    total, mixed = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    material = np.digitize(volume_zyx, limits)
    for number, ratio in enumerate(prior.delta_over_beta, start=1):
        part = np.where(material == number, volume_zyx, 0).astype(np.float32)
        lines = project_sections(part, angles_deg, centre_px, width_px)
        total += lines
        mixed += lines / np.float32(ratio)
    least = np.float32(_LEAST * limits[0] * width_px)
    # Air has neither: any ratio holds there, and the largest one says most firmly that phase is 0.
    air = 1 / np.float32(min(prior.delta_over_beta))
    return np.where(total > least, mixed / np.maximum(total, least), air).astype(np.float32)
