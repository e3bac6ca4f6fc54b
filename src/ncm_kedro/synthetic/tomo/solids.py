"""Implicit solids: damaged particles as functions of the point, compiled with numba.

A particle is star-shaped: an ellipsoid whose radius is multiplied by waves of the direction,
``1 + sum(amplitude * cos(wave . u + phase))``. What is missing of it is the union of a void
around the centre, of cracks (slabs with a wobbling middle plane, whole or on one side of the
centre) and of gaps between the grains of a pulverised rim. ``severity`` scales all three.
Points and lengths are in um.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

FAR_UM = 1e6
_DAMAGE_STEPS = 12
_SEVERITY = (0.01, 40.0)
_MAX_VOID = 0.85
_MAX_HALF_WIDTH = 0.07  # of a crack, in radii: a wider gap would part the particle in two


class Solids(NamedTuple):
    """Particles as arrays; N particles, W waves of the outline, V of the void, C cracks.

    Attributes
    ----------
    centre_um
        (N, 3), z, y, x.
    axes
        (N, 3, 3), rows are the ellipsoid's axes.
    half_um
        (N, 3), half axes.
    bound_um
        (N,), no direction's radius is longer.
    wave, phase, amplitude
        (N, W, 3), (N, W), (N, W), of the outline.
    void_wave, void_phase
        (N, V, 3), (N, V), of the void.
    void
        (N, 2), size of the void as a fraction of the radius, and how spiky it is.
    crack_normal, crack_side
        (N, C, 3) unit vectors: of the crack's plane, and into the half that is cracked.
    crack
        (N, C, 5): half-width and offset as fractions of the radius, inner and outer end as
        fractions of the way from the centre to the outline, 1 if on one side
        only. Half-width 0: none.
    rim
        (N, 2), where the rim starts, fraction of the way outwards, and its gaps; 0 gaps: none.
    severity
        (N,), scales the damage.
    tone
        (N,), grey value; 1 is usual.
    seed
        (N,), of the noise in each particle.
    """

    centre_um: FloatArray
    axes: FloatArray
    half_um: FloatArray
    bound_um: FloatArray
    wave: FloatArray
    phase: FloatArray
    amplitude: FloatArray
    void_wave: FloatArray
    void_phase: FloatArray
    void: FloatArray
    crack_normal: FloatArray
    crack_side: FloatArray
    crack: FloatArray
    rim: FloatArray
    severity: FloatArray
    tone: FloatArray
    seed: NDArray[np.int64]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def hash_lattice(i: int, j: int, k: int, seed: int) -> float:
    """Random number from -1 to 1 of a lattice point."""
    value = (i * 374761393 + j * 668265263 + k * 2147483647 + seed * 974634777) & 0xFFFFFFFF
    value = ((value ^ (value >> 13)) * 1274126177) & 0xFFFFFFFF
    value = ((value ^ (value >> 16)) * 2246822519) & 0xFFFFFFFF
    value ^= value >> 15
    return value / 2147483647.5 - 1.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def smooth_noise(z: float, y: float, x: float, seed: int) -> float:
    """Smooth random function of the point with grain 1, between -1 and 1."""
    i, j, k = int(np.floor(z)), int(np.floor(y)), int(np.floor(x))
    a, b, c = z - i, y - j, x - k
    a, b, c = a * a * (3 - 2 * a), b * b * (3 - 2 * b), c * c * (3 - 2 * c)
    total = 0.0
    for p in range(2):
        for q in range(2):
            for r in range(2):
                weight = (a if p else 1 - a) * (b if q else 1 - b) * (c if r else 1 - c)
                total += weight * hash_lattice(i + p, j + q, k + r, seed)
    return total


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def measure_radius(solids: Solids, n: int, z: float, y: float, x: float) -> float:
    """Radius (um) of a particle's outline in the direction of a unit vector."""
    inverse = 0.0
    for axis in range(3):
        part = (
            solids.axes[n, axis, 0] * z + solids.axes[n, axis, 1] * y + solids.axes[n, axis, 2] * x
        ) / solids.half_um[n, axis]
        inverse += part * part
    waves = 1.0
    for w in range(solids.amplitude.shape[1]):
        turn = solids.wave[n, w, 0] * z + solids.wave[n, w, 1] * y + solids.wave[n, w, 2] * x
        waves += solids.amplitude[n, w] * np.cos(turn + solids.phase[n, w])
    return float(min(max(waves, 0.6) / np.sqrt(inverse), solids.bound_um[n]))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _measure_void(solids: Solids, n: int, u: FloatArray, rho: float, wobble: float) -> float:
    """Signed distance to the void, in radii."""
    spikes = 0.0
    for w in range(solids.void_phase.shape[1]):
        turn = (
            solids.void_wave[n, w, 0] * u[0]
            + solids.void_wave[n, w, 1] * u[1]
            + solids.void_wave[n, w, 2] * u[2]
        )
        spikes += np.cos(turn + solids.void_phase[n, w])
    size = solids.void[n, 0] * np.sqrt(solids.severity[n])
    size *= np.exp(solids.void[n, 1] * spikes)
    return float(rho - min(size, _MAX_VOID) + 0.35 * size * wobble)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _measure_cracks(solids: Solids, n: int, p: FloatArray, rho: float, wobble: float) -> float:
    """Signed distance to the nearest crack, in radii; ``p`` is the point in radii."""
    nearest = FAR_UM
    for c in range(solids.crack.shape[1]):
        half = solids.crack[n, c, 0] * solids.severity[n]
        if half <= 0:
            continue
        half = min(half, _MAX_HALF_WIDTH) * max(0.2, 1 + 1.2 * wobble)
        across = 0.16 * wobble - solids.crack[n, c, 1]
        along = 0.0
        for axis in range(3):
            across += p[axis] * solids.crack_normal[n, c, axis]
            along += p[axis] * solids.crack_side[n, c, axis]
        signed = abs(across) - half
        if solids.crack[n, c, 4] > 0:
            signed = max(signed, solids.crack[n, c, 2] - rho, rho - solids.crack[n, c, 3], -along)
        nearest = min(nearest, signed)
    return nearest


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def measure_missing(  # noqa: PLR0917  (scalars: arrays cost numba time)
    solids: Solids, n: int, z: float, y: float, x: float, rim: float
) -> float:
    """Signed distance (um) to what is missing of a particle, negative within it.

    ``z, y, x`` count from the particle's centre, ``rim`` is the radius of its outline there.
    """
    size = (solids.half_um[n, 0] * solids.half_um[n, 1] * solids.half_um[n, 2]) ** (1 / 3)
    if solids.severity[n] <= 0:
        return FAR_UM
    distance = np.sqrt(z * z + y * y + x * x)
    rho = distance / rim
    seed = solids.seed[n]
    wobble = smooth_noise(3 * z / size + 17, 3 * y / size, 3 * x / size, seed)
    wobble += 0.5 * smooth_noise(8 * z / size + 31, 8 * y / size, 8 * x / size, seed)
    wobble += 0.35 * smooth_noise(16 * z / size + 47, 16 * y / size, 16 * x / size, seed)
    nearest = FAR_UM
    if solids.void[n, 0] > 0:
        u = np.array((z, y, x)) / max(distance, 1e-9)
        nearest = _measure_void(solids, n, u, rho, wobble)
    p = np.array((z, y, x)) / size
    nearest = min(nearest, _measure_cracks(solids, n, p, rho, wobble))
    if solids.rim[n, 1] > 0 and rho > solids.rim[n, 0] - 0.1:
        grain = 14.0
        noise = smooth_noise(grain * z / size, grain * y / size, grain * x / size, seed + 7)
        least = 1.0 - solids.rim[n, 1] * solids.severity[n]
        gaps = (max(least, 0.0) - noise) / grain
        nearest = min(nearest, max(solids.rim[n, 0] - rho + 0.1 * wobble, gaps))
    return float(nearest * size)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def measure_damage(
    solids: Solids, n: int, unit: FloatArray, share: FloatArray, rim: FloatArray
) -> float:
    """Missing fraction of a particle's volume, by sampling it.

    ``unit`` (M, 3) are even directions, ``share`` (M,) distances whose cubes are even in 0-1,
    ``rim`` (M,) the particle's radius in these directions.
    """
    missing, whole = 0.0, 0.0
    for m in range(unit.shape[0]):
        weight = rim[m] ** 3
        whole += weight
        t = share[m] * rim[m]
        z, y, x = unit[m, 0] * t, unit[m, 1] * t, unit[m, 2] * t
        if measure_missing(solids, n, z, y, x, rim[m]) < 0:
            missing += weight
    return missing / whole


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def fit_severity(
    solids: Solids, target: FloatArray, unit: FloatArray, share: FloatArray
) -> FloatArray:
    """Set each particle's severity so that its damage meets a target; (N,) damage reached."""
    reached = np.zeros(target.size)
    rim = np.empty(share.size)
    for n in range(target.size):
        for m in range(share.size):
            rim[m] = measure_radius(solids, n, unit[m, 0], unit[m, 1], unit[m, 2])
        low, high = _SEVERITY
        for _ in range(_DAMAGE_STEPS):
            solids.severity[n] = np.sqrt(low * high)
            if measure_damage(solids, n, unit, share, rim) < target[n]:
                low = solids.severity[n]
            else:
                high = solids.severity[n]
        reached[n] = measure_damage(solids, n, unit, share, rim)
    return reached


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def render_box(
    solids: Solids,
    nearby: NDArray[np.int64],
    origin_um: FloatArray,
    spacing_um: FloatArray,
    shape_zyx: tuple[int, int, int],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Evaluate particles at the points of a box.

    Parameters
    ----------
    origin_um
        (3,), z, y, x of the first point.
    spacing_um
        (3,), between points.
    shape_zyx
        Points along each axis; 1 along one of them gives a section.

    Returns
    -------
    outline_um, missing_um : arrays of shape `shape_zyx`
        Signed distances to the nearest outline and to what is missing of that particle,
        negative within; far off where no particle is near.
    owner : int32 array of the same shape
        Index of that particle plus 1; 0 where none is near.
    """
    outline = np.full(shape_zyx, FAR_UM, np.float32)
    missing = np.full(shape_zyx, FAR_UM, np.float32)
    owner = np.zeros(shape_zyx, np.int32)
    margin = 2 * spacing_um.max()
    for n in nearby:
        reach = solids.bound_um[n] + margin
        low = np.ceil((solids.centre_um[n] - reach - origin_um) / spacing_um)
        high = np.floor((solids.centre_um[n] + reach - origin_um) / spacing_um) + 1
        for i in range(max(0, int(low[0])), min(shape_zyx[0], int(high[0]))):
            z = origin_um[0] + i * spacing_um[0] - solids.centre_um[n, 0]
            for j in range(max(0, int(low[1])), min(shape_zyx[1], int(high[1]))):
                y = origin_um[1] + j * spacing_um[1] - solids.centre_um[n, 1]
                for k in range(max(0, int(low[2])), min(shape_zyx[2], int(high[2]))):
                    x = origin_um[2] + k * spacing_um[2] - solids.centre_um[n, 2]
                    distance = np.sqrt(z * z + y * y + x * x)
                    if distance > reach:
                        continue
                    if distance > 0:
                        rim = measure_radius(solids, n, z / distance, y / distance, x / distance)
                    else:  # the centre itself has no direction: any will do
                        rim = measure_radius(solids, n, 1.0, 0.0, 0.0)
                    signed = np.float32(distance - rim)
                    if signed < outline[i, j, k] and signed < margin:
                        outline[i, j, k] = signed
                        owner[i, j, k] = n + 1
                        missing[i, j, k] = measure_missing(solids, n, z, y, x, rim)
    return outline, missing, owner
