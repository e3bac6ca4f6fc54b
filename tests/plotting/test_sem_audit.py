"""Figures of the audit agree with the tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from manifest_cases import list_frame
from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.plotting.sem.audit import (
    plot_class_areas,
    plot_confounding,
    plot_flagged_frames,
    plot_mosaic_splits,
)
from ncm_kedro.sem.crops.crops import plan_crops


@pytest.fixture
def manifest():
    return pd.DataFrame([
        list_frame(
            name, n, mosaic_x_px=10.0 * (n % 12), mosaic_y_px=60.0 * (n % 12), width_px=160,
            height_px=120, pixel_size_um=0.5, excluded=n == 3,
            exclusion_reason="bare" if n == 3 else None, flags="duplicate" if n == 5 else "",
        )
        for n, name in enumerate(["333"] * 12 + ["811_cycled"] * 12)
    ])  # fmt: skip


def save(figure, tmp_path):
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png", dpi=50)
    return (tmp_path / "figure.png").stat().st_size


def texts_of(figure):
    return " ".join(text.get_text() for axis in figure.axes for text in axis.texts)


def test_mosaic_map_has_a_panel_per_class(manifest, tmp_path):
    crops, _ = plan_crops(manifest, CropParams(size_px=40, images_per_class=20))
    figure = plot_mosaic_splits(manifest, crops)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["333: 12 frames, 1 mosaic", "811_cycled: 12 frames, 1 mosaic"]
    assert save(figure, tmp_path) > 0
    assert save(plot_mosaic_splits(manifest, crops.iloc[:0]), tmp_path) > 0


def test_confounding_table_shows_every_score(tmp_path):
    row = {
        "features": "focus", "target": "class", "chance": 0.08, "by_file": 1.0, "by_area": 0.97,
        "by_mosaic": None, "by_session": None, "strictest": "by_area", "verdict": "confounded",
    }  # fmt: skip
    figure = plot_confounding([row])
    assert "1.00 0.97 n/a n/a 0.08 confounded" in texts_of(figure)
    assert save(figure, tmp_path) > 0
    assert save(plot_confounding([]), tmp_path) > 0


def test_bars_show_classes_without_kept_frames_too(tmp_path):
    audit = {
        "frames": {
            "classes": {
                "333": {"kept": 0, "excluded": 4, "rejected": 0},
                "811": {"kept": 9, "excluded": 0, "rejected": 0},
            }
        },
        "areas": {"classes": [{"class": "811", "area_mm2": 0.5, "fields_of_view": 6.1}]},
    }
    figure = plot_class_areas(audit)
    assert "6.1 fields of view" in texts_of(figure)
    assert save(figure, tmp_path) > 0


def test_flagged_frames_are_shown_with_their_reason(manifest, tmp_path):
    frames = dict.fromkeys(manifest["frame_id"], np.full((120, 160), 90, np.uint8))
    figure = plot_flagged_frames(manifest, frames)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["333/3\nbare", "333/5\nincluded: duplicate"]
    assert save(figure, tmp_path) > 0
    clean = manifest.assign(excluded=False, flags="")
    assert save(plot_flagged_frames(clean, frames), tmp_path) > 0
