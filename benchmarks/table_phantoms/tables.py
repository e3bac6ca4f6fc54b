"""Ground-truth damage of a table phantom: the model of the phantom volumes, with more options.

Drivers may act as a step, and the unexplained part may be correlated among particles in contact.

Table phantoms: attribute tables of samples whose damage follows a known model.

Geometry is real: contacts, packing and neighbours come from packed ellipsoids. What a tomogram
would add (surfaces of cracks, grey values, roughness) is drawn from simple models, with the traces
of damage that ``docs/attributes.md`` lists under "Which attributes carry the damage".
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array
from scipy.special import expit, logit

from ncm_kedro.synthetic.tomo.scene import simulate_damage
from table_phantoms.columns import (
    Bodies,
    draw_columns,
    find_directed,
    list_uncertainties,
    measure_bodies,
    measure_surroundings,
)
from table_phantoms.electrode import Electrode, pack_electrode
from table_phantoms.params import Driver, ParticleTableParams, TableSampleParams

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def simulate_table_damage(
    rng: np.random.Generator,
    drivers: dict[Driver, FloatArray],
    pairs: IntArray,
    sample: TableSampleParams,
    params: ParticleTableParams,
) -> pd.DataFrame:
    """Draw each particle's damage from the damage model (logistic).

    Parameters
    ----------
    drivers
        ``depth`` (um), ``contact`` (fraction of the surface) and ``size`` (um), (N,) each.
    pairs
        (M, 2), indices of particles in contact, both ways.

    Returns
    -------
    DataFrame
        A row per particle: ``simulated_damage``; ``depth, contact, size`` as they enter the
        model (a step where it is one, standardised); ``noise``, unexplained, of the model's
        standard deviation. The logit of ``simulated_damage / max_damage`` is ``base +
        asynchrony * (sum of weight * driver + noise)``.
    """
    law, shaped = params.law, {**drivers}
    if params.threshold_driver is not None:
        values = drivers[params.threshold_driver]
        threshold = np.quantile(values, params.threshold_quantile)
        shaped[params.threshold_driver] = (values > threshold).astype(np.float64)
    explained = simulate_damage(
        rng, shaped["depth"], shaped["contact"], shaped["size"],
        (sample, law.model_copy(update={"noise": 0.0})),
    )  # fmt: skip
    noise = law.noise * draw_neighbour_noise(rng, len(explained), pairs, sample.neighbour_noise)
    simulated = (
        expit(logit(explained / law.max_damage) + sample.asynchrony * noise) * law.max_damage
    )
    truth = pd.DataFrame({"simulated_damage": simulated})
    for name, values in shaped.items():
        truth[name] = (values - values.mean()) / (values.std() or 1.0)
    return truth.assign(noise=noise)


def draw_neighbour_noise(
    rng: np.random.Generator, count: int, pairs: IntArray, share: float
) -> FloatArray:
    """Draw standard normal numbers that are correlated among particles in contact.

    Parameters
    ----------
    pairs
        (M, 2), indices of particles in contact, both ways.
    share
        Fraction of the variance that comes from the sum over a particle, its neighbours and theirs;
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


TABLE_COLUMNS = (
    "sample", "particle_id", "touches_border", "voxel_count", "orientation_defined",
    "x_um", "y_um", "z_um", "yaw_deg", "pitch_deg", "roll_deg", "electron_density", "homogeneity",
    "surface_inner_um2", "surface_outer_um2", "volume_um3", "damage", "elongation", "sphericity",
    "vs_ratio", "roughness_inner", "roughness_outer", "sphericity_std", "contact",
    "packing_density", "distance_nearest_um", "elongation_std", "volume_std_um3",
    "orientation_isotropy",
)  # fmt: skip
"""Columns of the attribute table."""

DRIVERS: dict[Driver, str] = {"depth": "z_um", "contact": "contact", "size": "volume_um3"}
"""The attribute that shows each driver. Size acts by the diameter, of which volume is the cube."""

_TOMOGRAM_TYPES = {
    "sample": "str", "file": "str", "size_z_vx": "Int64", "size_y_vx": "Int64",
    "size_x_vx": "Int64", "dtype": "str", "cycles": "float64", "c_rate": "float64",
    "voxel_size_source": "str", "axis_to_collector": "str", "rejected_reason": "str",
    "fingerprint": "str", "warnings": "str",
}  # fmt: skip


@dataclass(frozen=True)
class ParticleTablePhantom:
    """What measured samples would hand over, and the truth.

    Attributes
    ----------
    attributes
        By sample, the columns `TABLE_COLUMNS`, and ``<name>_uncertainty`` on request; ``attrs`` as
        of a measured table.
    contacts
        By sample, both directions: ``sample, particle_id, neighbour_id, area_um2``.
    details
        By sample: ``sample, particle_id, equivalent_diameter_um, depth_um, touching_particles,
        crack_width_mean_um, crack_width_max_um`` (null), ``pieces, flags``.
    table
        A row per sample, the columns of the tomogram table; its grey values are null.
    drivers
        Weight in the model by the name of the attribute, without those of weight 0; a
        sample's ``drift`` comes on top of the first one.
    truth
        By sample: ``particle_id, simulated_damage, depth, contact, size`` (standardised, as they
        enter the model), ``noise``, and the columns ``noise_1...`` that nothing depends on.
    """

    attributes: dict[str, pd.DataFrame]
    contacts: dict[str, pd.DataFrame]
    details: dict[str, pd.DataFrame]
    table: pd.DataFrame
    drivers: dict[str, float]
    truth: dict[str, pd.DataFrame]


def draw_particle_tables(params: ParticleTableParams, seed: int) -> ParticleTablePhantom:
    """Draw the tables of a phantom.

    Parameters
    ----------
    seed
        Of all samples. Particles depend on the seed, the sample's name and the packing alone, and
        simulated damage on these and the model, so that presets are compared on the same particles.

    Returns
    -------
    ParticleTablePhantom
        Tables in um.
    """
    drawn = {name: _draw_sample(name, params, seed) for name in params.samples}
    attributes, contacts, details, truth = (
        {name: tables[part] for name, (tables, _) in drawn.items()} for part in range(4)
    )
    table = pd.DataFrame([row for _, row in drawn.values()]).astype(_TOMOGRAM_TYPES)
    return ParticleTablePhantom(
        attributes, contacts, details, table.sort_values("sample", ignore_index=True),
        _name_drivers(params), truth,
    )  # fmt: skip


def _draw_sample(
    name: str, params: ParticleTableParams, seed: int
) -> tuple[tuple[pd.DataFrame, ...], dict[str, object]]:
    """Draw attributes, contacts, details and truth of a sample, and its row."""
    packing, body, law, measurement, further = (
        np.random.default_rng([seed, zlib.crc32(name.encode()), stream]) for stream in range(5)
    )
    electrode = pack_electrode(packing, params.particles, params.electrode)
    bodies = measure_bodies(body, electrode, params)
    drivers: dict[Driver, FloatArray] = {
        "depth": electrode.centre_um[:, 0],
        "contact": bodies.contact,
        "size": electrode.diameter_um,
    }
    truth = simulate_table_damage(law, drivers, bodies.pairs, params.samples[name], params)
    damage = truth["simulated_damage"].to_numpy()
    columns = draw_columns(measurement, electrode, bodies, damage, params)
    columns |= measure_surroundings(electrode, columns, bodies, params.attributes)
    identity = _identify(electrode, bodies, columns["volume_um3"], params)
    attributes = _name_rows(pd.DataFrame({**identity, **columns}), name)[list(TABLE_COLUMNS)]
    if params.measurement_noise > 0:
        attributes = attributes.join(list_uncertainties(attributes, params.measurement_noise))
    attributes.attrs = {
        "sample": name,
        "preset": params.preset,
        "settings": params.attributes.model_dump(mode="json"),
    }
    truth.insert(0, "particle_id", identity["particle_id"])
    for column in range(1, params.law.noise_columns + 1):
        truth[f"noise_{column}"] = further.standard_normal(len(truth))
    contacts, details = _list_contacts(bodies, name), _list_details(attributes, bodies)
    described = _describe_sample(name, electrode, params)
    for table in (attributes, contacts, details):
        table.attrs["made_from"] = {"tomogram": described["fingerprint"]}
    return (attributes, contacts, details, truth), described


def _identify(
    electrode: Electrode, bodies: Bodies, volume_um3: FloatArray, params: ParticleTableParams
) -> dict[str, NDArray[np.generic]]:
    """Return number, position and details of each particle."""
    settings = params.attributes
    place = np.clip(electrode.centre_um, 0, electrode.extent_um)
    directed = find_directed(electrode, settings)
    voxels = np.rint(volume_um3 / params.voxel_size_um**3).astype(np.int64)
    return {
        "particle_id": np.arange(1, len(place) + 1, dtype=np.int64),
        "touches_border": ~bodies.whole,
        "voxel_count": np.maximum(voxels, 1),
        "orientation_defined": directed & (bodies.whole | (settings.preset == "paper")),
        **{f"{axis}_um": place[:, column] for column, axis in enumerate("zyx")},
    }


def _list_contacts(bodies: Bodies, name: str) -> pd.DataFrame:
    own, other = bodies.pairs.T + 1
    table = pd.DataFrame({"particle_id": own, "neighbour_id": other, "area_um2": bodies.area_um2})
    return _name_rows(table, name)


def _list_details(attributes: pd.DataFrame, bodies: Bodies) -> pd.DataFrame:
    """Tabulate what the attribute table has no column for; the collector lies at z = 0."""
    number = len(attributes)
    border = attributes["touches_border"]
    table = pd.DataFrame(
        {
            "particle_id": attributes["particle_id"],
            "equivalent_diameter_um": np.cbrt(6 / np.pi * attributes["volume_um3"]),
            "depth_um": attributes["z_um"],
            "touching_particles": np.bincount(bodies.pairs[:, 0], minlength=number),
            "crack_width_mean_um": np.full(number, np.nan),
            "crack_width_max_um": np.full(number, np.nan),
            "pieces": np.ones(number, dtype=np.int64),
            "flags": pd.Series(np.where(border, "touches_border", ""), dtype="str"),
        }
    )
    return _name_rows(table, str(attributes["sample"].iloc[0]))


def _describe_sample(
    name: str, electrode: Electrode, params: ParticleTableParams
) -> dict[str, object]:
    """Return the sample's row of the tomogram table."""
    voxels = np.ceil(electrode.extent_um / params.voxel_size_um).astype(np.int64)
    sample = params.samples[name]
    return {
        "sample": name,
        "file": f"{name} (drawn)",
        **{f"size_{axis}_vx": voxels[place] for place, axis in enumerate("zyx")},
        "dtype": "uint8",
        **{f"voxel_{axis}_um": params.voxel_size_um for axis in "zyx"},
        "voxel_size_source": "drawn",
        "cycles": sample.cycles,
        "c_rate": sample.c_rate,
        "axis_to_collector": "-z",
        "field_of_view_fraction": 1.0,
        **dict.fromkeys(("grey_low", "grey_median", "grey_high"), np.nan),
        "rejected_reason": None,
        "fingerprint": f"drawn {name}",
        "warnings": None,
    }


def _name_rows(table: pd.DataFrame, name: str) -> pd.DataFrame:
    table.insert(0, "sample", pd.Series(name, index=table.index, dtype="str"))
    return table


def _name_drivers(params: ParticleTableParams) -> dict[str, float]:
    weights: dict[Driver, float] = {
        "depth": params.law.depth, "contact": params.law.contact, "size": params.law.size,
    }  # fmt: skip
    drifts = any(sample.drift != 0 for sample in params.samples.values())
    return {
        DRIVERS[name]: weight
        for name, weight in weights.items()
        if weight != 0 or (name == "depth" and drifts)
    }
