"""Which particles a person should look at first."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ncm_kedro.errors import TableError
from ncm_kedro.params.tomo_review import TomoReviewParams

_NEEDED = (
    "particle_id", "z_um", "y_um", "x_um", "equivalent_diameter_um", "touches_border",
    "probability", "disagreement",
)  # fmt: skip
_NECK = "neck_doubt"
_POINTS_PER_REASON = 0.5


def rank_doubtful(particles: pd.DataFrame, params: TomoReviewParams) -> pd.DataFrame:
    """List the particles that are doubtful, the most doubtful first.

    A particle's doubt is its disagreement between the directions as a share of the limit, plus
    half a point for each further reason: low probability, a doubtful neck, an unusual size. The
    size of a particle that the border cuts is no reason.

    Parameters
    ----------
    particles
        Particle list: ``particle_id, z_um, y_um, x_um, equivalent_diameter_um, touches_border,
        probability, disagreement`` (both 0 to 1) and, where known, ``neck_doubt`` (0 to 1).
    params
        Limits.

    Returns
    -------
    pandas.DataFrame
        The rows of ``particles`` that have a reason, with ``rank`` (from 1), ``doubt`` and
        ``reasons`` in front.

    Raises
    ------
    TableError
        If a column is missing.
    """
    missing = [name for name in _NEEDED if name not in particles]
    if missing:
        raise TableError(
            "particle list",
            found=f"no column {', '.join(missing)}",
            expected=f"the columns {', '.join(_NEEDED)}",
            action="run tomo_segment again with this version",
        )
    reasons = _find_reasons(particles, params)
    others = sum(mask.astype(np.int64) for name, mask in reasons.items() if "direction" not in name)
    doubt = particles["disagreement"] / params.max_disagreement + _POINTS_PER_REASON * others
    texts = [
        "; ".join(name for name, mask in reasons.items() if mask.iloc[row])
        for row in range(len(particles))
    ]
    rest = particles.drop(columns=["doubt"], errors="ignore").reset_index(drop=True)
    rest.insert(0, "reasons", pd.Series(texts, dtype="str"))
    rest.insert(0, "doubt", doubt.to_numpy(dtype=np.float64))
    chosen = rest[rest["reasons"] != ""].sort_values(
        ["doubt", "particle_id"], ascending=[False, True], ignore_index=True
    )
    chosen.insert(0, "rank", np.arange(1, len(chosen) + 1))
    return chosen.head(params.max_listed)


def _find_reasons(particles: pd.DataFrame, params: TomoReviewParams) -> dict[str, pd.Series]:
    whole = ~particles["touches_border"].astype(bool)
    size = particles["equivalent_diameter_um"]
    median = size[whole].median() if whole.any() else size.median()
    reasons = {
        "the directions disagree": particles["disagreement"] >= params.max_disagreement,
        "low probability": particles["probability"] < params.min_probability,
        "much larger than the others": whole & (size > median * params.max_size_factor),
        "much smaller than the others": whole & (size < median / params.max_size_factor),
    }
    if _NECK in particles:
        reasons["joined or parted at a doubtful neck"] = particles[_NECK] >= params.max_neck_doubt
    return reasons
