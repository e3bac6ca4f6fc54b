"""Where the rotation axis meets the detector, and whole turns with the axis at a side.

Centre: Vo et al., Opt. Express 22, 19078 (2014), and its variant for half acquisition, Vo et al.,
Opt. Express 29, 17849 (2021), as algotom has them.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from ncm_kedro.errors import TomogramError

FloatArray = NDArray[np.float32]

_HALF_TURN_DEG = 180.0


def find_centre(
    sinogram_zax: FloatArray, angles_deg: NDArray[np.float64], *, half_acquisition: bool
) -> tuple[float, float]:
    """Find the axis from several rows.

    Parameters
    ----------
    sinogram_zax
        (Z, A, X), rows of the detector.
    angles_deg
        (A,), in any order.

    Returns
    -------
    centre_px, spread_px
        Median over the rows, and half the distance of its quartiles; the spread is half the width
        of the frame where most rows have no axis within the range that is searched.
    """
    from algotom.prep import calculation

    width = sinogram_zax.shape[-1]
    rising = np.argsort(angles_deg, kind="stable")
    if not half_acquisition:
        rising = rising[angles_deg[rising] - angles_deg[rising[0]] < _HALF_TURN_DEG]
    found = []
    with warnings.catch_warnings(record=True) as beyond:
        warnings.filterwarnings("always", message="Global minimum is out of the searching range")
        for sinogram in sinogram_zax[:, rising]:
            if half_acquisition:
                window = max(8, width // 6)
                found.append(float(calculation.find_center_360(sinogram, window, ncore=1)[0]))
            else:
                found.append(float(calculation.find_center_vo(sinogram, ncore=1)))
    low, middle, high = np.percentile(found, [25, 50, 75])
    if 2 * len(beyond) > len(found):
        return float(middle), width / 2
    return float(middle), float((high - low) / 2)


def stitch_half_turns(
    sinogram_zax: FloatArray, angles_deg: NDArray[np.float64], centre_px: float, source: str
) -> tuple[FloatArray, NDArray[np.float64], float]:
    """Join each projection with the one from behind to one of twice the width.

    Parameters
    ----------
    source
        The scan, for errors.

    Returns
    -------
    sinogram_zax, angles_deg, centre_px
        Of half as many projections.

    Raises
    ------
    TomogramError
        If projections have no counterpart half a turn away.
    """
    width = sinogram_zax.shape[-1]
    if centre_px < (width - 1) / 2:  # seen from behind, the axis is at the other side
        angles = (angles_deg + _HALF_TURN_DEG) % (2 * _HALF_TURN_DEG)
        return stitch_half_turns(sinogram_zax[..., ::-1], angles, width - 1 - centre_px, source)
    turned = angles_deg % (2 * _HALF_TURN_DEG)
    first = np.flatnonzero(turned < _HALF_TURN_DEG - 1e-6)
    apart = np.abs((turned[None] - turned[first, None] - _HALF_TURN_DEG + 180) % 360 - 180)
    behind = apart.argmin(axis=1)
    step = float(np.median(np.diff(np.sort(turned))))
    worst = float(apart[np.arange(len(first)), behind].max())
    if worst > step:
        raise TomogramError(
            source,
            found=f"a projection whose counterpart half a turn away is {worst:.3g} degrees off",
            expected="half acquisition over a whole turn, in even steps",
            action="remove `half_acquisition` from the sample's .yml if the axis is in the middle, "
            "or supply the angles that are missing",
        )
    long = int(np.ceil(2 * centre_px)) + 1
    place = np.arange(long)
    share = np.clip((place - (2 * centre_px - width + 1)) / (2 * (width - 1 - centre_px) + 1), 0, 1)
    front = np.pad(sinogram_zax[:, first], ((0, 0), (0, 0), (0, max(long - width, 0))), "edge")
    back = affine_transform(
        sinogram_zax[:, behind, ::-1],
        np.ones(3),
        (0, 0, width - 1 - 2 * centre_px),
        output_shape=(len(sinogram_zax), len(first), long),
        order=3,
        mode="nearest",
        output=np.float32,
    )
    joined = (1 - share) * front[..., :long] + share * back
    return joined.astype(np.float32), angles_deg[first], centre_px
