"""From the raw folder to the manifest and its audit."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.datasets.frames.store import FrameStore
from ncm_kedro.params.sem_ingest import (
    AuditParams,
    LabelParams,
    MosaicParams,
    QualityParams,
    ReadingParams,
)
from ncm_kedro.sem.io.frames import DecodedFrames, RawFrames


def plan_sem_decoding(raw: RawFrames, labels: LabelParams, reading: ReadingParams) -> DecodedFrames:
    """List the frames and how they are decoded; the store decodes them."""
    from ncm_kedro.sem.io.reading import plan_decoding

    return plan_decoding(raw, labels, reading)


def assess_sem_frames(
    frames: FrameStore, quality: QualityParams, workers: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the quality of every frame, and decide which are excluded."""
    from ncm_kedro.sem.audit.exclusion import decide_exclusions
    from ncm_kedro.sem.audit.quality import assess_frames

    described = frames.describe()
    pixel_size_um = dict(zip(described["frame_id"], described["pixel_size_um"], strict=True))
    measured = assess_frames(frames, pixel_size_um, quality, workers=workers)
    table = described.merge(measured, on="frame_id", validate="one_to_one")
    return decide_exclusions(table, quality), frames.rejected


def find_sem_overlaps(
    frames: FrameStore, assessed: pd.DataFrame, mosaic: MosaicParams
) -> pd.DataFrame:
    """Find frames that show a common region."""
    from ncm_kedro.sem.mosaic.overlaps import find_overlaps

    return find_overlaps(frames, assessed, mosaic)


def build_sem_manifest(
    assessed: pd.DataFrame, overlaps: pd.DataFrame, mosaic: MosaicParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Place frames in mosaics, and exclude those that show a region of another class."""
    from ncm_kedro.sem.mosaic.merging import exclude_conflicts
    from ncm_kedro.sem.mosaic.mosaic import build_mosaics

    placed, links = build_mosaics(assessed, overlaps, mosaic)
    manifest = exclude_conflicts(placed, links)
    return order_columns(manifest), links


def audit_sem_frames(
    manifest: pd.DataFrame, frames: FrameStore, links: pd.DataFrame, audit: AuditParams
) -> tuple[dict[str, Any], dict[str, Figure], str]:
    """Count, measure areas and look for short cuts that a classifier could take."""
    from ncm_kedro.plotting.sem.audit import plot_class_areas, plot_confounding, plot_flagged_frames
    from ncm_kedro.plotting.sem.report import render_sem_audit
    from ncm_kedro.sem.audit.audit import audit_frames

    report = audit_frames(manifest, frames, links, frames.rejected, audit)
    figures = {
        "confounding.png": plot_confounding(report["confounding"]),
        "areas.png": plot_class_areas(report),
        "flagged.png": plot_flagged_frames(manifest, frames),
    }
    return report, figures, render_sem_audit(report, figures)


def require_sem_classes(audit: dict[str, Any]) -> None:
    """End the run if a class has lost all its frames; the audit that shows why is saved."""
    from ncm_kedro.sem.audit.usage import require_classes

    require_classes(audit)


def order_columns(manifest: pd.DataFrame) -> pd.DataFrame:
    """Put the columns that others rely on first, in their order."""
    from ncm_kedro.contracts.sem import SemManifest

    first = [column for column in SemManifest.to_schema().columns if column in manifest]
    return manifest[[*first, *(name for name in manifest.columns if name not in first)]]
