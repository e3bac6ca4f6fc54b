"""The audit finds simulated confounds, and none where there is none."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from manifest_cases import list_frame
from ncm_kedro.params.sem_ingest import AuditParams
from ncm_kedro.plotting.sem.audit import plot_class_areas, plot_confounding, plot_flagged_frames
from ncm_kedro.plotting.sem.report import render_sem_audit
from ncm_kedro.sem.audit.audit import audit_frames, measure_grey, plan_bands
from ncm_kedro.sem.audit.usage import list_pixel_sizes
from ncm_kedro.sem.io.sidecar import focus_columns, read_settings

HEIGHT, WIDTH = 60, 80
NONE_REJECTED = pd.DataFrame(columns=["file", "class", "folder", "kind", "reason"], dtype="str")
PARAMS = AuditParams(workers=1, histogram_bins=16, n_folds=3)
CLASSES = [f"{c}{s}" for c in ("333", "811") for s in ("", "_cycled")]


def make_data(settings_of, classes=CLASSES, n_series=3, n_frames=3):
    """`settings_of(class index, series)` gives focus and grey level of a series."""
    rng = np.random.default_rng(0)
    frames, rows = {}, []
    for index, name in enumerate(classes):
        for series in range(n_series):
            focus, grey = settings_of(index, series)
            sidecar = {
                "Image Info": {"Date": "2019-09-02", "Time": "00:09:36.5"},
                "Running Info": {"Focus": str(focus), "Magnification": "x500 "},
                "   - Focus": {"OL1 Val": str(focus)},
            }
            for number in range(n_frames):
                row = list_frame(
                    name, f"{series}_{number}", session=f"{name}/s{series * (focus < 5000):02d}",
                    mosaic=f"{name}/m{series:02d}", mosaic_y_px=20.0 * number, height_px=HEIGHT,
                    width_px=WIDTH, flags="sidecar_missing" if number == 2 else "",
                    sidecar_json=json.dumps(sidecar),
                )  # fmt: skip
                noise = rng.normal(grey, 20, (HEIGHT, WIDTH))
                frames[row["frame_id"]] = np.clip(noise, 0, 255).astype(np.uint8)
                rows.append(row)
    names = [row["frame_id"] for row in rows]
    links = pd.DataFrame({"frame_a": names[:-1:2], "frame_b": names[1::2]}).assign(
        score=30.0, overlap=2 / 3, scale=1.0, refined=True, used=True, residual_px=0.1,
        kind="same_class",
    )  # fmt: skip
    return pd.DataFrame(rows), frames, links


def shared_settings(_, series):
    return 1000 + 100 * series, 80 + 30 * series


def own_settings(index, _):
    return 6000 + 100 * index, 60 + 25 * index


def unrelated_settings(index, series):
    """Every series differently, in no order: settings identify the series, not the class."""
    place = (7 * (3 * index + series)) % 12
    return 1000 + 100 * place, 60 + 9 * place


def find_row(report, features, target):
    rows = report["confounding"]
    return next(r for r in rows if (r["features"], r["target"]) == (features, target))


@pytest.fixture(scope="module")
def reports():
    sources = {"shared": shared_settings, "own": own_settings, "unrelated": unrelated_settings}
    data = {name: make_data(source) for name, source in sources.items()}
    few = PARAMS.model_copy(update={"n_folds": 2})
    return {
        name: audit_frames(*parts, NONE_REJECTED, PARAMS if name == "unrelated" else few)
        for name, parts in data.items()
    }


def test_planted_confound_is_found(reports):
    report = reports["own"]
    assert report["verdict"]["acquisition"] == "confounded"
    assert report["verdict"]["identifiable"] is False
    assert "cannot be identified" in report["verdict"]["meaning"]
    for features in ("settings", "focus", "brightness_contrast", "histogram"):
        row = find_row(report, features, "class")
        assert row["by_area"] > 0.95
        assert row["by_mosaic"] > 0.95
        assert row["by_session"] is None
        assert row["verdict"] == "confounded"
    assert any("confounded" in text for text in report["warnings"])


def test_no_confound_is_found_where_there_is_none(reports):
    report = reports["shared"]
    assert report["verdict"]["acquisition"] == "not detectable"
    assert report["verdict"]["grey_levels"] == "not detectable"
    assert report["verdict"]["identifiable"] is True
    assert {row["verdict"] for row in report["confounding"]} == {"not detectable"}
    assert report["warnings"] == []


def test_settings_that_tell_the_series_only_are_session_bound(reports):
    row = find_row(reports["unrelated"], "focus", "class")
    assert row["by_area"] > 0.95
    assert row["by_session"] < row["bound"]["by_session"]
    assert row["verdict"] == "session-bound"
    assert reports["unrelated"]["verdict"]["acquisition"] == "session-bound"


def test_report_is_json_and_counts_are_right(reports):
    report = json.loads(json.dumps(reports["own"], allow_nan=False))
    assert report["frames"]["total"] == report["frames"]["kept"] == 36
    assert report["frames"]["classes"]["333"] == {
        "found": 9, "total": 9, "kept": 9, "excluded": 0, "rejected": 0,
        "sessions": 1, "mosaics": 3,
    }  # fmt: skip
    assert report["flagged"] == {"sidecar_missing": 12}
    area = next(row for row in report["areas"]["classes"] if row["class"] == "333")
    assert area["area_px2"] == 3 * 80 * 100
    assert area["fields_of_view"] == pytest.approx(5)
    assert area["repeats"] == pytest.approx(9 / 5)
    assert report["overlaps"]["links"] == 18


def test_contradicting_pixel_sizes_and_skipped_pairs_are_said():
    manifest, frames, links = make_data(shared_settings, ["333"])
    links.loc[0, "scale"] = 0.5
    links.attrs = {"pairs_compared": 3, "pairs_skipped": 7}
    report = audit_frames(manifest, frames, links, NONE_REJECTED, PARAMS)
    (pair,) = report["pixel_size_conflicts"]
    assert (pair["measured"], pair["stated"]) == (0.5, 1.0)
    assert any(pair["frame_a"] in text and "0.5" in text for text in report["warnings"])
    assert any(text.startswith("7 pairs") for text in report["warnings"])


def test_excluded_frames_and_label_conflicts_are_listed_and_not_measured():
    manifest, frames, links = make_data(shared_settings, ["333", "811"])
    manifest.loc[0, ["excluded", "exclusion_reason"]] = [True, "bare: 68 % flat"]
    del frames["333/0_0"]
    links.loc[0, ["frame_b", "kind", "used"]] = ["811/0_0", "label_conflict", False]
    report = audit_frames(manifest, frames, links, NONE_REJECTED, PARAMS)
    assert report["excluded"] == [
        {"frame_id": "333/0_0", "class": "333", "folder": "333", "reason": "bare: 68 % flat"}
    ]
    assert [pair["frame_b"] for pair in report["label_conflicts"]] == ["811/0_0"]
    assert "333/0_0 and 811/0_0" in report["warnings"][0]
    assert report["overlaps"]["links"] == len(links) - 1


def test_one_class_has_nothing_to_be_confounded_with():
    report = audit_frames(*make_data(shared_settings, ["333"]), NONE_REJECTED, PARAMS)
    assert report["confounding"] == []
    assert report["verdict"]["acquisition"] == "not applicable"


def test_bands_are_disjoint_and_row_order_does_not_matter():
    manifest, _, _ = make_data(shared_settings)
    bands = plan_bands(manifest, PARAMS)
    again = plan_bands(manifest.sample(frac=1, random_state=0), PARAMS)
    pd.testing.assert_frame_equal(bands, again)
    placed = bands.merge(manifest[["frame_id", "mosaic_y_px"]], on="frame_id")
    span = pd.DataFrame(
        {
            "mosaic": placed["mosaic"],
            "band": placed["band"],
            "low": placed["mosaic_y_px"] + placed["y0_px"],
            "high": placed["mosaic_y_px"] + placed["y1_px"],
        }
    ).groupby(["mosaic", "band"])
    for _, group in pd.concat([span["low"].min(), span["high"].max()], axis=1).groupby("mosaic"):
        assert (group["high"].to_numpy()[:-1] <= group["low"].to_numpy()[1:]).all()
        assert len(group) == 4


def test_grey_levels_of_known_frames():
    manifest, frames, _ = make_data(shared_settings)
    ramp = np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1))
    frames = dict.fromkeys(frames, ramp)
    grey = measure_grey(frames, plan_bands(manifest, PARAMS), PARAMS)
    np.testing.assert_allclose(grey["mean"], 39.5)
    np.testing.assert_allclose(grey["std"], np.arange(80).std())
    np.testing.assert_allclose(grey.filter(like="h0").sum(axis=1), 1)
    np.testing.assert_allclose(grey["h004"], 16 / 80)
    np.testing.assert_allclose(grey["h005"], 0)


def test_settings_are_numbers_without_dates_and_readings():
    fields = {
        "Image Info": {"Date": "2019", "Time": "12", "Accelerated Voltage": " 20 kV"},
        "Running Info": {"Focus": "1898", "Magnification": "x500 ", "Scan": "fast"},
        "   - Accelerated Voltage": {"Filament Current": "5487.5", "Grid": 129},
        "   - Focus": {"OL1 Val": "1898", "OL2 Val": "7"},
        "Copy": {"Lens": "1898"},
    }
    manifest = pd.DataFrame({"sidecar_json": [json.dumps(fields), None]}, index=[4, 7])
    settings = read_settings(manifest)
    assert settings.loc[4].to_dict() == {
        "Accelerated Voltage|Grid": 129, "Copy|Lens": 1898, "Focus|OL1 Val": 1898,
        "Focus|OL2 Val": 7, "Image Info|Accelerated Voltage": 20, "Running Info|Focus": 1898,
        "Running Info|Magnification": 500,
    }  # fmt: skip
    assert settings.loc[7].isna().all()
    assert focus_columns(settings) == [
        "Copy|Lens", "Focus|OL1 Val", "Focus|OL2 Val", "Running Info|Focus",
    ]  # fmt: skip


def test_frames_without_sidecars_can_be_audited():
    manifest, frames, links = make_data(own_settings)
    manifest["sidecar_json"] = None
    report = audit_frames(manifest, frames, links, NONE_REJECTED, PARAMS)
    assert {row["features"] for row in report["confounding"]} == {
        "histogram",
        "brightness_contrast",
    }
    assert report["verdict"]["acquisition"] == "not applicable"
    assert report["verdict"]["grey_levels"] == "confounded"


def test_pixel_sizes_are_counted_by_instrument_and_source():
    rows = [("SEC", "metadata", 0.26701), ("SEC", "metadata", 0.26704), (None, "parameter", 0.05)]
    manifest = pd.DataFrame(rows, columns=["instrument", "pixel_size_source", "pixel_size_um"])
    assert [tuple(row.values()) for row in list_pixel_sizes(manifest)] == [
        ("SEC", "metadata", 0.267, 2),
        ("not known", "parameter", 0.05, 1),
    ]


def test_a_data_set_of_which_nothing_can_be_used_is_audited_too():
    manifest, frames, links = make_data(shared_settings, ["811"])
    manifest = manifest.assign(excluded=True, exclusion_reason="coloured: drawn on")
    report = audit_frames(manifest, frames, links, NONE_REJECTED, PARAMS)
    assert (report["frames"]["found"], report["frames"]["kept"]) == (9, 0)
    assert any("coloured (9)" in text for text in report["warnings"])
    page = render_sem_audit(
        report,
        {
            "areas.png": plot_class_areas(report),
            "confounding.png": plot_confounding(report["confounding"]),
            "flagged.png": plot_flagged_frames(manifest, frames),
        },
    )
    assert "coloured" in page
