"""Whether what differs between particles is more than the segmentation could have moved."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.particles.columns import ATTRIBUTE_NAMES
from ncm_kedro.particles.compare import ANGLES
from ncm_kedro.particles.uncertainty import SUFFIX

FloatArray = NDArray[np.float64]


def weigh_uncertainty(attributes: pd.DataFrame) -> pd.DataFrame:
    """Set how far the segmentation could move each attribute beside how far particles differ.

    Parameters
    ----------
    attributes
        Attribute table of a sample, as `ncm_kedro.particles.uncertainty.add_uncertainty` made it.

    Returns
    -------
    DataFrame
        A row per attribute that has an uncertainty, over the whole particles with a value and an
        uncertainty: ``attribute, n, uncertainty`` (median), ``spread`` (between the quartiles of
        the particles; of angles, about their mean axis), ``ratio`` (null where nothing differs).
    """
    rows = []
    whole = attributes[~attributes["touches_border"].to_numpy(dtype=bool)]
    for name in ATTRIBUTE_NAMES:
        if f"{name}{SUFFIX}" not in whole:
            continue
        both = whole[[name, f"{name}{SUFFIX}"]].to_numpy(dtype=np.float64, na_value=np.nan)
        values, moved = both[np.isfinite(both).all(axis=1)].T
        if name in ANGLES:
            values = _unwrap_axes(values)
        known = len(values) > 0
        middle = float(np.median(moved)) if known else np.nan
        spread = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) if known else np.nan
        ratio = middle / spread if spread > 0 else np.nan
        rows.append((name, len(values), middle, spread, ratio))
    return pd.DataFrame(rows, columns=["attribute", "n", "uncertainty", "spread", "ratio"])


def _unwrap_axes(angles_deg: FloatArray) -> FloatArray:
    """Return angles of axes, which turn by 180 degrees into themselves, from their mean axis."""
    mean = np.rad2deg(np.angle(np.exp(2j * np.deg2rad(angles_deg)).sum())) / 2
    unwrapped: FloatArray = (angles_deg - mean + 90.0) % 180.0 - 90.0
    return unwrapped
