"""From raw scans to reconstructed volumes, and the page that says whether to trust them."""

from __future__ import annotations

from functools import partial

from matplotlib.figure import Figure

from ncm_kedro.holo.scan import RawScans
from ncm_kedro.params.holo import HoloComputeParams, HoloParams
from ncm_kedro.tomo.volumes.volume import PlanMaker, Volumes


def reconstruct_scans(
    scans: RawScans, methods: HoloParams, compute: HoloComputeParams
) -> dict[str, PlanMaker]:
    """Plan the volume of every scan: corrections, phase retrieval, filtered back projection."""
    from ncm_kedro.holo.reconstruct import plan_reconstruction

    return {
        name: partial(plan_reconstruction, scan, methods, compute) for name, scan in scans.items()
    }


def report_scans(scans: RawScans, volumes: Volumes) -> tuple[dict[str, Figure], str]:
    """Draw sections and figures of quality of every scan, and write the page that holds them."""
    from ncm_kedro.plotting.holo import (
        gather_facts,
        plot_quality,
        plot_sections,
        render_holo_report,
    )

    figures: dict[str, Figure] = {}
    for name, volume in volumes.items():
        figures[f"{name}_sections"] = plot_sections(volume)
        figures[f"{name}_quality"] = plot_quality(gather_facts(volume))
    page = render_holo_report(volumes, {**scans.rejected, **volumes.rejections}, figures)
    return {f"{name}.png": figure for name, figure in figures.items()}, page
