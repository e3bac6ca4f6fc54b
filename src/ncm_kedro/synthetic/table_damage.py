"""Planted damage of a table phantom: the law of the phantom volumes, with more to choose.

Drivers may act as a step, and the unexplained part may be alike among particles in contact.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array
from scipy.special import expit, logit

from ncm_kedro.params.particle_tables import Driver, ParticleTableParams, TableSampleParams
from ncm_kedro.synthetic.tomo_damage_law import plant_damage

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def plant_table_damage(
    rng: np.random.Generator,
    drivers: dict[Driver, FloatArray],
    pairs: IntArray,
    sample: TableSampleParams,
    params: ParticleTableParams,
) -> pd.DataFrame:
    """Draw each particle's damage from the planted law.

    Parameters
    ----------
    rng
        Source of the unexplained part.
    drivers
        ``depth`` (um), ``contact`` (share of the surface) and ``size`` (um), (N,) each.
    pairs
        (M, 2), indices of particles in contact, both ways.
    sample
        The sample's level.
    params
        Law and shape.

    Returns
    -------
    DataFrame
        A row per particle: ``planted_damage``; ``depth, contact, size`` as the law adds them up
        (a step where it is one, standardised); ``noise``, unexplained, of the law's standard
        deviation. The logit of ``planted_damage / max_damage`` is ``base + asynchrony * (sum of
        weight * driver + noise)``.
    """
    law, shaped = params.law, {**drivers}
    if params.threshold_driver is not None:
        values = drivers[params.threshold_driver]
        threshold = np.quantile(values, params.threshold_quantile)
        shaped[params.threshold_driver] = (values > threshold).astype(np.float64)
    explained = plant_damage(
        rng, shaped["depth"], shaped["contact"], shaped["size"],
        (sample, law.model_copy(update={"noise": 0.0})),
    )  # fmt: skip
    noise = law.noise * draw_neighbour_noise(rng, len(explained), pairs, sample.neighbour_noise)
    planted = expit(logit(explained / law.max_damage) + sample.asynchrony * noise) * law.max_damage
    truth = pd.DataFrame({"planted_damage": planted})
    for name, values in shaped.items():
        truth[name] = (values - values.mean()) / (values.std() or 1.0)
    return truth.assign(noise=noise)


def draw_neighbour_noise(
    rng: np.random.Generator, count: int, pairs: IntArray, share: float
) -> FloatArray:
    """Draw standard normal numbers that are alike among particles in contact.

    Parameters
    ----------
    rng
        Source of the numbers.
    count
        N, particles.
    pairs
        (M, 2), indices of particles in contact, both ways.
    share
        Share of the variance that comes from the sum over a particle, its neighbours and theirs;
        the rest is each particle's own.

    Returns
    -------
    (N,) array
        Each of variance 1.
    """
    own, common = rng.standard_normal((2, count))
    linked = csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    step = linked + eye_array(count, format="csr")
    reach = step @ step
    spread = np.sqrt((reach * reach).sum(axis=1))
    noise: FloatArray = np.sqrt(1 - share) * own + np.sqrt(share) * (reach @ common) / spread
    return noise
