"""What the estimators of the particle attributes give on solids whose measures are known.

Every figure in ``docs/attributes.md`` comes from here. Solids are drawn on voxels at random places
and turns; the tables say what was measured against what is true.

    python benchmarks/attribute_biases.py [balls faces cubes ellipsoids closing cracks rough
        width contact packing alignment leaks uncertainty]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import edt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from scipy.special import elliprg

from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.attributes import tabulate_attributes
from ncm_kedro.particles.axes import find_voxel_scatter, measure_alignment
from ncm_kedro.particles.block_sums import CroftonWeights, list_steps
from ncm_kedro.particles.kernels.crack_width import map_crack_width
from ncm_kedro.particles.measure import measure_specimen
from ncm_kedro.particles.specimen import Specimen
from ncm_kedro.particles.variants import add_uncertainty, measure_with_uncertainty

VOXEL_UM = 0.1
SPACE_VX = 6
Level = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Solid = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def measure(
    labels: NDArray[Any], cracks: Any = None, grey: Any = None, **settings: Any
) -> pd.DataFrame:
    """Return the attributes of a labelled array, a row per particle."""
    spacing = (VOXEL_UM, VOXEL_UM, VOXEL_UM)
    specimen = Specimen("solids", labels, spacing, grey=grey, cracks=cracks)
    params = AttributeParams(**{"crack_width": False, "profile_bins": 0, **settings})
    compute = TomoComputeParams(workers=1, block_edge_vx=128)
    return tabulate_attributes(measure_specimen(specimen, params, compute), params)


def draw(
    body: Level,
    half_vx: Sequence[float],
    crack: Level | None = None,
    *,
    turn: Rotation | None = None,
    rng: np.random.Generator,
) -> Solid:
    """Draw a solid (level above 0) and its cracks, at a random place within a voxel.

    Level functions take points (..., 3) in voxels along the body's x, y, z.
    """
    matrix = (turn or Rotation.identity()).as_matrix()
    half = np.ceil(np.abs(matrix) @ np.asarray(half_vx, dtype=float))[::-1].astype(int) + 2
    shift = rng.uniform(-0.5, 0.5, 3)
    z, y, x = (np.arange(-n, n + 1) - s for n, s in zip(half, shift, strict=True))
    grid = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
    points = grid @ matrix
    inside = body(points) > 0
    return inside, inside & (crack(points) > 0) if crack else np.zeros_like(inside)


def stack(solids: Sequence[Solid], marked: bool = True) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Stand solids in a row along z; return labels and cracks.

    Without marks, cracks are background.
    """
    sizes = np.array([inside.shape for inside, _ in solids])
    shape = sizes.max(axis=0) + 2 * SPACE_VX
    shape[0] = (sizes[:, 0] + SPACE_VX).sum() + SPACE_VX
    labels, cracks = np.zeros(shape, np.uint32), np.zeros(shape, np.uint8)
    start = SPACE_VX
    for number, (inside, crack) in enumerate(solids, start=1):
        at = tuple(
            slice(low, low + n)
            for low, n in zip((start, SPACE_VX, SPACE_VX), inside.shape, strict=True)
        )
        labels[at] = number * (inside if marked else inside & ~crack)
        cracks[at] = crack
        start += len(inside) + SPACE_VX
    return labels, cracks if marked and cracks.any() else None


def measure_solids(
    solids: Iterable[Solid], batch: int = 10, marked: bool = True, **settings: Any
) -> pd.DataFrame:
    """Measure solids, some at a time."""
    listed = list(solids)
    parts = []
    for start in range(0, len(listed), batch):
        labels, cracks = stack(listed[start : start + batch], marked)
        parts.append(measure(labels, cracks, **settings))
    return pd.concat(parts, ignore_index=True)


def ball(radius: float) -> Level:
    """Ball."""
    return lambda p: radius - np.linalg.norm(p, axis=-1)


def ellipsoid(a: float, b: float, c: float) -> Level:
    """Ellipsoid by its half axes along x, y, z."""
    return lambda p: 1 - np.linalg.norm(p / np.array([a, b, c]), axis=-1)


def cuboid(a: float, b: float, c: float) -> Level:
    """Box by its edges along x, y, z."""
    return lambda p: (np.array([a, b, c]) / 2 - np.abs(p)).min(axis=-1)


def slot(width: float, floor: float = -np.inf) -> Level:
    """Slot across x that is open to the top and reaches down to z = floor."""
    return lambda p: np.minimum(width / 2 - np.abs(p[..., 0]), p[..., 2] - floor)


def wavy(radius: float, amplitude: float, period: float) -> Level:
    """Ball whose radius swings by an amplitude (standard deviation); the period is an arc."""
    waves = 2 * np.pi * radius / period
    height = _Waves(waves)

    def level(p: NDArray[np.float64]) -> NDArray[np.float64]:
        away = np.maximum(np.linalg.norm(p, axis=-1), 1e-9)
        return radius + amplitude * height(p / away[..., None]) - away

    return level


def flattened(radius: float, cut: float, gap: float, side: int) -> Level:
    """Ball on one side of x = 0, flattened at a distance from its centre, half a gap from x = 0."""
    centre = np.array([side * (cut + gap / 2), 0, 0])
    return lambda p: np.minimum(
        radius - np.linalg.norm(p - centre, axis=-1), side * p[..., 0] - gap / 2
    )


class _Waves:
    """Cosines along each axis on the unit sphere, of mean 0 and standard deviation 1."""

    def __init__(self, waves: float) -> None:
        self.waves = waves
        step = np.arange(20000)
        up = 1 - 2 * (step + 0.5) / len(step)
        turn = np.pi * (3 - np.sqrt(5)) * step
        flat = np.sqrt(1 - up**2)
        raw = np.cos(waves * np.stack([flat * np.cos(turn), flat * np.sin(turn), up], 1)).sum(1)
        self.mean, self.scale = raw.mean(), raw.std()

    def __call__(self, n: NDArray[np.float64]) -> NDArray[np.float64]:
        height: NDArray[np.float64] = (np.cos(self.waves * n).sum(-1) - self.mean) / self.scale
        return height


def spread(values: Any) -> str:
    """Mean and standard deviation."""
    return f"{np.mean(values):.4f} +- {np.std(values):.4f}"


def list_balls() -> pd.DataFrame:
    """Balls of many radii at random places, in both presets; ratios to the true measures."""
    rng = np.random.default_rng(1)
    rows = []
    for radius in (3, 5, 8, 12, 20, 30, 50):
        count = 50 if radius < 20 else 10
        solids = [draw(ball(radius), [radius] * 3, rng=rng) for _ in range(count)]
        for preset in ("corrected", "paper"):
            table = measure_solids(solids if preset == "corrected" else solids[:10], preset=preset)
            outer = table["surface_outer_um2"] / (4 * np.pi * (radius * VOXEL_UM) ** 2)
            rows.append({
                "preset": preset, "radius_vx": radius, "balls": len(table),
                "volume": spread(table["volume_um3"] / (4 / 3 * np.pi * (radius * VOXEL_UM) ** 3)),
                "outer": spread(outer), "sphericity": spread(table["sphericity"]),
                "vs_ratio": spread(table["vs_ratio"] / ((4 * np.pi / 3) ** (1 / 3)
                                                        / np.sqrt(4 * np.pi))),
                "elongation": spread(table["elongation"]),
                "rough_vx": spread(table["roughness_outer"] * radius),
                "damage": spread(table["damage"]),
                "no_axis": f"{1 - table['orientation_defined'].mean():.2f}",
            })  # fmt: skip
    return pd.DataFrame(rows)


def list_faces() -> pd.DataFrame:
    """Flat faces by their normal: surface over the true one, without edges; other constants."""
    weights = CroftonWeights.of((1.0, 1.0, 1.0))
    normals = np.random.default_rng(0).normal(size=(100_000, 3))
    normals = np.concatenate([[[1, 0, 0], [1, 1, 0], [1, 1, 1]], normals])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    (missed,) = weights.missed_area(np.ones((1, 3)), np.eye(3)[None])
    ratio = (np.abs(normals @ list_steps((1.0, 1.0, 1.0)).T) * weights.area_um2).sum(axis=1)
    found = {
        "along an axis": ratio[0], "along a face diagonal": ratio[1],
        "along a space diagonal": ratio[2], "lowest": ratio.min(), "highest": ratio.max(),
        "mean": ratio[3:].mean(), "standard deviation": ratio[3:].std(),
        "missed by grazing a ball (voxel faces)": missed,
        "scatter of voxels on a smooth surface (voxels)": find_voxel_scatter((1, 1, 1)) ** 0.5,
    }  # fmt: skip
    return pd.DataFrame({"normal": list(found), "ratio": list(found.values())}).round(4)


def list_cubes() -> pd.DataFrame:
    """Cubes and plates along the voxel axes and at 20 random turns: surface over the true one."""
    rng = np.random.default_rng(2)
    rows = []
    for a, b, c in ((20, 20, 20), (40, 40, 40), (60, 60, 10)):
        half = [a / 2, b / 2, c / 2]
        area = 2 * (a * b + b * c + c * a) * VOXEL_UM**2
        turns = {
            "along the axes": [Rotation.identity()],
            "45 degrees about z": [Rotation.from_euler("z", 45, degrees=True)],
            "random": list(Rotation.random(20, rng=rng)),
        }
        for name, chosen in turns.items():
            solids = [draw(cuboid(a, b, c), half, turn=turn, rng=rng) for turn in chosen]
            table = measure_solids(solids)
            ratio = table["surface_outer_um2"] / area
            exact = 36 * np.pi * (a * b * c) ** 2 / (area / VOXEL_UM**2) ** 3
            rows.append({
                "box": f"{a} x {b} x {c}", "turn": name, "outer": spread(ratio),
                "sphericity": spread(table["sphericity"]), "true_sphericity": round(exact, 4),
            })  # fmt: skip
    return pd.DataFrame(rows)


def list_ellipsoids() -> pd.DataFrame:
    """Ellipsoids at 20 random turns: elongation, orientation, sphericity."""
    rng = np.random.default_rng(3)
    rows = []
    for ratio in (1.05, 1.2, 1.5, 2.0, 3.0):
        for short in (5, 10):
            turns = list(Rotation.random(20, rng=rng))
            half = [ratio * short, short, short]
            table = measure_solids([draw(ellipsoid(*half), half, turn=t, rng=rng) for t in turns])
            area = 4 * np.pi * elliprg(*(np.prod(np.delete(half, k)) ** 2 for k in range(3)))
            volume = 4 / 3 * np.pi * np.prod(half)
            yaw, pitch = np.radians(table["yaw_deg"]), np.radians(table["pitch_deg"])
            found = np.stack(
                [np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), -np.sin(pitch)], axis=1
            )
            true = np.stack([turn.as_matrix()[:, 0] for turn in turns])
            angle = np.degrees(np.arccos(np.clip(np.abs((found * true).sum(1)), 0, 1)))
            rows.append({
                "ratio": ratio, "short_vx": short, "elongation": spread(table["elongation"]),
                "sphericity": spread(table["sphericity"]),
                "true_sphericity": round(float(36 * np.pi * volume**2 / area**3), 4),
                "axis_defined": float(table["orientation_defined"].mean()),
                "axis_error_deg": spread(angle[np.isfinite(angle)]),
            })  # fmt: skip
    return pd.DataFrame(rows)


def list_closings() -> pd.DataFrame:
    """Intact balls closed with a margin and within the tight box: damage."""
    rng = np.random.default_rng(4)
    rows = []
    for radius in (15, 25, 35, 50, 70):
        solids = [draw(ball(radius), [radius] * 3, rng=rng) for _ in range(5)]
        found = {
            preset: spread(measure_solids(solids, batch=2, preset=preset)["damage"])
            for preset in ("corrected", "paper")
        }
        rows.append({"radius_vx": radius, **found})
    return pd.DataFrame(rows)


def list_cracks() -> pd.DataFrame:
    """Balls of radius 30 with a slot of many widths at 12 turns: damage over the true damage."""
    rng = np.random.default_rng(5)
    rows = []
    for width in (0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12):
        half = width / 2
        exact = (np.pi * (900 * width - 2 * half**3 / 3)) / 2 / (4 / 3 * np.pi * 27000)
        turns = [Rotation.random(rng=rng) for _ in range(12)]
        solids = [draw(ball(30), [30] * 3, slot(width, 0.0), turn=turn, rng=rng) for turn in turns]
        row: dict[str, Any] = {"width_vx": width, "true_damage": round(exact, 4)}
        for name, marked in (("marked", True), ("background", False)):
            row[name] = spread(measure_solids(solids, 4, marked)["damage"] / exact)
        rows.append(row)
    return pd.DataFrame(rows)


def list_rough() -> pd.DataFrame:
    """Wavy balls of radius 25: measured over simulated roughness; closing bias."""
    rng = np.random.default_rng(6)
    rows = []
    for amplitude in (0.0, 0.25, 0.5, 1.0, 2.0):
        for period in (6, 8, 12, 20, 40):
            body = wavy(25, amplitude, period)
            top = [25 + 3 * amplitude + 1] * 3
            table = measure_solids([draw(body, top, rng=rng) for _ in range(3)], 3)
            sphere = 4 * np.pi * 2.5**2
            rows.append({
                "amplitude_vx": amplitude, "period_vx": period,
                "measured_vx": spread(
                    table["roughness_outer"] * np.cbrt(3 * table["volume_um3"] / (4 * np.pi))
                    / VOXEL_UM
                ),
                "damage": spread(table["damage"]),
                "surface": spread(table["surface_outer_um2"] / sphere),
            })  # fmt: skip
            if amplitude == 0:
                break
    return pd.DataFrame(rows)


def list_widths() -> pd.DataFrame:
    """Flat cracks of many widths: mean local thickness over the true width."""
    rng = np.random.default_rng(7)
    rows = []
    for width in (1, 2, 3, 4, 6, 8, 12, 16, 20):
        tilted = []
        for _ in range(4):
            turn = Rotation.random(rng=rng)
            inside, crack = draw(ball(40), [40] * 3, slot(width), turn=turn, rng=rng)
            core = edt.edt(inside) > 12
            found = map_crack_width(crack, (VOXEL_UM,) * 3)
            tilted.append(found[(found > 0) & core].mean() / VOXEL_UM)
        flat = np.zeros((60, 60, 60), bool)
        flat[20 : 20 + width] = True
        along = map_crack_width(flat, (VOXEL_UM,) * 3)[flat].mean() / VOXEL_UM
        rows.append({"width_vx": width, "along": round(float(along), 3), "tilted": spread(tilted)})
    return pd.DataFrame(rows)


def list_contacts() -> pd.DataFrame:
    """Two balls of radius 20, each flattened where they face: contact over the true share."""
    rng = np.random.default_rng(8)
    rows = []
    cut = 16.0
    share = np.pi * (400 - cut**2) / (2 * np.pi * 20 * (20 + cut) + np.pi * (400 - cut**2))
    for gap in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0):
        for preset, settings in (
            ("corrected", {"contact_gap_um": 0.1}),
            ("corrected", {"contact_gap_um": 0.3}),
            ("paper", {}),
        ):
            found = []
            for turn in Rotation.random(12, rng=rng):
                left, right = (flattened(20, cut, gap, side) for side in (-1, 1))
                seed = rng.integers(2**32)
                halves = [
                    draw(f, (40, 22, 22), turn=turn, rng=np.random.default_rng(seed))[0]
                    for f in (left, right)
                ]
                labels = np.pad(halves[0] + 2 * halves[1], 8).astype(np.uint32)
                found += measure(labels, preset=preset, **settings)["contact"].tolist()
            gap_um = settings.get("contact_gap_um", np.nan)
            rows.append({
                "gap_vx": gap, "preset": preset, "contact_gap_vx": gap_um / VOXEL_UM,
                "contact": spread(found), "true": round(share, 4),
            })  # fmt: skip
    return pd.DataFrame(rows)


def list_packings() -> pd.DataFrame:
    """Layer of evenly packed balls, 40 um thick: packing density in its middle and at its faces."""
    pitch, radius, voxel = 10, 4.0, 1.0
    counts = (4, 12, 12)
    grid = np.stack(np.indices([n * pitch for n in counts]), axis=-1) + 0.5
    away = np.linalg.norm(grid % pitch - pitch / 2, axis=-1)
    cell = (grid // pitch).astype(int)
    number = (cell[..., 0] * counts[1] + cell[..., 1]) * counts[2] + cell[..., 2] + 1
    labels = np.where(away < radius, number, 0).astype(np.uint32)
    share = float((labels > 0).mean())
    rows = []
    specimen = Specimen("layer", labels, (voxel,) * 3)
    for preset, window in (("corrected", 20.0), ("paper", 20.0), ("paper", None)):
        params = AttributeParams(
            preset=preset, packing_window_um=window, crack_width=False, profile_bins=0
        )
        compute = TomoComputeParams(workers=1)
        table = tabulate_attributes(measure_specimen(specimen, params, compute), params)
        middle = table.iloc[(1 * 12 + 6) * 12 + 6]
        edge = table.iloc[(0 * 12 + 6) * 12 + 6]
        corner = table.iloc[0]
        rows.append({
            "preset": preset, "window_um": params.window_um, "true": round(share, 3),
            "middle": round(middle["packing_density"], 3),
            "face": round(edge["packing_density"], 3),
            "corner": round(corner["packing_density"], 3),
        })  # fmt: skip
    return pd.DataFrame(rows)


def list_alignments(draws: int = 20000) -> pd.DataFrame:
    """Six long axes with growing scatter: S2, and the standard deviation of their Euler angles."""
    rng = np.random.default_rng(9)
    rows = []
    for scatter in (0.0, 0.1, 0.3, 1.0, np.inf):
        for name, centre in (("x", [1.0, 0, 0]), ("y", [0, 1.0, 0])):
            noise = rng.normal(size=(draws * 6, 3))
            axis = noise if np.isinf(scatter) else np.array(centre) + scatter * noise
            axis /= np.linalg.norm(axis, axis=1, keepdims=True)
            axis *= np.where(axis[:, :1] < 0, -1, 1)
            index = np.arange(draws * 6).reshape(draws, 6)
            filled = np.concatenate([index, np.zeros((draws * 5, 6), dtype=np.int64)])
            order = measure_alignment(axis, filled[: draws * 6])[:draws]
            yaw = np.degrees(np.arctan2(axis[:, 1], axis[:, 0]))
            rows.append({
                "scatter": scatter, "about": name, "s2": spread(order),
                "yaw_std_deg": spread(yaw[index].std(axis=1, ddof=1)),
            })  # fmt: skip
    return pd.DataFrame(rows)


LEAKING = (
    "electron_density", "homogeneity", "surface_inner_um2", "surface_outer_um2", "volume_um3",
    "damage", "elongation", "sphericity", "vs_ratio", "roughness_inner", "roughness_outer",
)  # fmt: skip


def list_leaks() -> pd.DataFrame:
    """Measure the same ellipsoids intact and with a slot, in both presets."""
    turns = list(Rotation.random(4, rng=np.random.default_rng(10)))
    tables = []
    for half, width in (((34, 29, 25), 5), ((68, 58, 50), 10)):
        columns: dict[str, Any] = {"size": half[2], "attribute": LEAKING}
        for state, crack in (("intact", None), ("cracked", slot(width, 0.0))):
            places = np.random.default_rng(11)
            solids = [draw(ellipsoid(*half), half, crack, turn=t, rng=places) for t in turns]
            labels, cracks = stack(solids)
            solid = (labels > 0) if cracks is None else (labels > 0) & (cracks == 0)
            grey = gaussian_filter(np.where(solid, 150.0, 60.0).astype(np.float32), 1.0)
            grey += np.random.default_rng(12).normal(0, 10, labels.shape).astype(np.float32)
            for preset in ("corrected", "paper"):
                table = measure(labels, cracks, grey, preset=preset)
                columns[f"{preset}, {state}"] = table[list(LEAKING)].mean().round(4).to_numpy()
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def list_uncertainties() -> pd.DataFrame:
    """Balls with a slot: uncertainty of each attribute, over its value."""
    rng = np.random.default_rng(11)
    rows = []
    for radius in (10, 20, 30):
        solids = [
            draw(ball(radius), [radius] * 3, slot(3, 0.0), turn=Rotation.random(rng=rng), rng=rng)
            for _ in range(4)
        ]
        labels, cracks = stack(solids)
        assert cracks is not None
        grey = np.where((labels > 0) & (cracks == 0), 150.0, 60.0)
        grey = gaussian_filter(grey, 1.0) + rng.normal(0, 5, labels.shape)
        table = measure_uncertainty(labels, cracks, grey)
        for name in ("volume_um3", "surface_outer_um2", "surface_inner_um2", "damage",
                     "sphericity", "electron_density"):  # fmt: skip
            rows.append({
                "radius_vx": radius, "attribute": name, "value": spread(table[name]),
                "uncertainty": spread(table[f"{name}_uncertainty"]),
                "relative": round(float((table[f"{name}_uncertainty"] / table[name]).mean()), 4),
            })  # fmt: skip
    return pd.DataFrame(rows)


def measure_uncertainty(
    labels: NDArray[Any], cracks: NDArray[Any], grey: NDArray[Any]
) -> pd.DataFrame:
    """Return the attributes with their uncertainties."""
    params = AttributeParams(crack_width=False, profile_bins=0, uncertainty=True)
    specimen = Specimen("solids", labels, (VOXEL_UM,) * 3, grey=grey, cracks=cracks)
    with tempfile.TemporaryDirectory() as work:
        found = measure_with_uncertainty(specimen, params, TomoComputeParams(workers=1), Path(work))
    return add_uncertainty(tabulate_attributes(found, params), found.variants)


TABLES = {
    "balls": list_balls,
    "faces": list_faces,
    "cubes": list_cubes,
    "ellipsoids": list_ellipsoids,
    "closing": list_closings,
    "cracks": list_cracks,
    "rough": list_rough,
    "width": list_widths,
    "contact": list_contacts,
    "packing": list_packings,
    "alignment": list_alignments,
    "leaks": list_leaks,
    "uncertainty": list_uncertainties,
}


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], help="default: all")
    for name in parser.parse_args().tables or TABLES:
        print(f"## {name}\n{TABLES[name]().to_string(index=False)}\n", flush=True)


if __name__ == "__main__":
    main()
