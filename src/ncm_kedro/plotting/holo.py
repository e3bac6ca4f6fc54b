"""Figures and the page of holo-tomography, by which its volumes can be trusted or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ncm_kedro.holo.quality import CORRELATION
from ncm_kedro.plotting.report import render_page
from ncm_kedro.plotting.style import BLUE, ORANGE, RED, draw_scale_bar
from ncm_kedro.tomo.volumes.volume import Volume

_QUANTITY = {
    "electron_density": "electron density (e/Å³)",
    "delta": "refractive decrement δ (no unit)",
    "attenuation": "attenuation (1/µm)",
}
_SHOWN = (1.0, 99.7)


def plot_sections(volume: Volume) -> Figure:
    """Draw sections through the middle, with their grey scale, and the histogram of their grey."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(1, 1, 0.9))
    depth, height, _ = volume.shape_zyx
    cuts = {
        f"xy, z = {depth // 2}": np.asarray(volume.array[depth // 2]),
        f"xz, y = {height // 2}": np.asarray(volume.array[:, height // 2]),
    }
    grey = np.concatenate([cut[cut != 0].ravel() for cut in cuts.values()])
    low, high = np.percentile(grey, _SHOWN) if grey.size else (0.0, 1.0)
    for panel, (title, cut) in zip(axes, cuts.items(), strict=False):
        image = panel.imshow(cut, cmap="gray", vmin=low, vmax=high)
        draw_scale_bar(panel, cut.shape, volume.voxel_size_um[2])
        panel.set_title(title, fontsize=8)
        panel.set_axis_off()
    label = _QUANTITY[str(volume.attributes["quantity"])]
    figure.colorbar(image, ax=list(axes[:2]), shrink=0.9).ax.tick_params(labelsize=7)
    axes[2].hist(grey, bins=120, range=(low, high), color=BLUE)
    axes[2].set_xlabel(label, fontsize=8)
    axes[2].set_ylabel("voxels of these sections", fontsize=8)
    axes[2].tick_params(labelsize=7)
    return figure


def plot_quality(facts: Mapping[str, Any]) -> Figure:
    """Draw a sinogram with the axis, shifts between distances, and the correlation of halves."""
    figure = Figure(figsize=(10, 3.0), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _draw_sinogram(left, facts)
    _draw_shifts(middle, facts)
    curve, voxel_um = facts["fsc"], facts["voxel_um"]
    right.plot(curve["frequency"], curve["correlation"], color=BLUE)
    right.axhline(CORRELATION, color=RED, linewidth=0.8, linestyle="--")
    right.set_xlabel("spatial frequency (1/voxel)", fontsize=8)
    right.set_ylabel("correlation of half-scans", fontsize=8)
    right.set_ylim(-0.1, 1.02)
    right.set_title(
        f"resolved: {facts['resolution_um']:.3g} µm (voxel {voxel_um:.3g} µm)", fontsize=8
    )
    for panel in (left, middle, right):
        panel.tick_params(labelsize=7)
    return figure


def _draw_sinogram(panel: Any, facts: Mapping[str, Any]) -> None:
    sinogram = np.asarray(facts["sinogram"])
    width = facts["frame_px"]
    panel.imshow(sinogram, cmap="gray", aspect="auto", extent=(-0.5, width - 0.5, 1, 0))
    panel.axvline(facts["centre_px"], color=ORANGE, linewidth=1)
    panel.set_title(f"sinogram, axis at {facts['centre_px']:.2f} px", fontsize=8)
    panel.set_xlabel("column (px)", fontsize=8)
    panel.set_ylabel("fraction of the scan", fontsize=8)


def _draw_shifts(panel: Any, facts: Mapping[str, Any]) -> None:
    known = [one is not None for one in facts["shifts_px"]]
    measured = np.asarray([one for one in facts["shifts_px"] if one is not None])
    fitted, places = (np.asarray(facts[key])[known] for key in ("shifts_fitted_px", "shift_places"))
    for distance in range(measured.shape[1]):
        for axis, colour in enumerate((BLUE, ORANGE)):
            panel.plot(places, measured[:, distance, axis], ".", markersize=3, color=colour)
            panel.plot(places, fitted[:, distance, axis], linewidth=0.8, color=colour)
    panel.set_title("shift of each distance: y blue, x orange", fontsize=8)
    panel.set_xlabel("projection", fontsize=8)
    panel.set_ylabel("shift (px)", fontsize=8)


def gather_facts(volume: Volume) -> dict[str, Any]:
    """Gather what the page states of a volume."""
    return {
        **volume.attributes,
        "voxel_um": volume.voxel_size_um[2],
        "shape_zyx": volume.shape_zyx,
        "distance_mm": [distance / 1000 for distance in volume.attributes["distance_um"]],
    }


def render_holo_report(
    volumes: Mapping[str, Volume], rejected: Mapping[str, str], figures: Mapping[str, Figure]
) -> str:
    """Render the page of all scans as one self-contained HTML file.

    Parameters
    ----------
    rejected
        Reason by scan that could not be used.
    figures
        ``<sample>_sections`` and ``<sample>_quality``.
    """
    samples = [
        {
            "name": name,
            "facts": gather_facts(volume),
            "sections": figures[f"{name}_sections"],
            "quality": figures[f"{name}_quality"],
        }
        for name, volume in volumes.items()
    ]
    return render_page("holo.html.j2", samples=samples, rejected=dict(rejected))
