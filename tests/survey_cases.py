"""Surveys with a known key, and responses with a known number of correct ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ncm_kedro.sem.crops.crop_set import REGION_COLUMNS
from ncm_kedro.sem.experiments.survey import CSV_COLUMNS, KEY_COLUMNS, ResponseFile, Survey
from ncm_kedro.sem.io.frames import ClassLabel

COMPOSITIONS, STATES = ("333", "622", "811"), ("pristine", "cycled")
LABELS = [ClassLabel(composition, state) for composition in COMPOSITIONS for state in STATES]
WIDTH_PX, HEIGHT_PX, CUT_PX = 120, 100, 70


def make_tables(frames_per_class=4, *, labels=LABELS, step_px=200):
    """Frames, manifest and crops; the left 70 px of every frame are the test region."""
    rng = np.random.default_rng(1)
    frames, manifest, crops = {}, [], []
    for label in labels:
        for number in range(frames_per_class):
            frame_id = f"{label.name}/{number}"
            frames[frame_id] = rng.integers(0, 256, (HEIGHT_PX, WIDTH_PX)).astype(np.uint8)
            manifest.append(
                {
                    "frame_id": frame_id, "class": label.name, "composition": label.composition,
                    "state": label.state, "additive": label.additive or None, "excluded": False,
                    "pixel_size_um": 0.25, "mosaic_x_px": float(number * step_px),
                    "mosaic_y_px": 0.0,
                }
            )  # fmt: skip
            for split, (x0, x1) in (("test", (0, CUT_PX)), ("train", (CUT_PX + 8, WIDTH_PX))):
                region = dict(zip(REGION_COLUMNS, (x0, 0, x1, HEIGHT_PX), strict=True))
                crops += [
                    {
                        "crop_id": f"{frame_id}@{split}{crop}", "frame_id": frame_id,
                        "split": split, "class": label.name, "mosaic": label.name, **region,
                    }
                    for crop in range(3)
                ]  # fmt: skip
    return frames, pd.DataFrame(manifest), pd.DataFrame(crops)


def make_survey(pictures=19, survey_id="abc123"):
    """A survey whose images go through the classes in turn."""
    labels = [LABELS[number % len(LABELS)] for number in range(pictures)]
    key = pd.DataFrame(
        {
            "survey_id": survey_id,
            "question": np.arange(1, pictures + 1),
            "frame_id": [f"f{number}" for number in range(pictures)],
            "x0_px": 0,
            "y0_px": 0,
            "x1_px": WIDTH_PX,
            "y1_px": HEIGHT_PX,
            "class": [label.name for label in labels],
            "composition": [label.composition for label in labels],
            "state": [label.state for label in labels],
            "pixel_size_um": 0.25,
            "split": "test",
            "overlaps_other": False,
            "split_hash": "s1",
        }
    )[list(KEY_COLUMNS)]
    classes = pd.DataFrame(
        {
            "class": [label.name for label in LABELS],
            "composition": [label.composition for label in LABELS],
            "state": [label.state for label in LABELS],
            "pictures": [labels.count(label) for label in LABELS],
        }
    )
    return Survey(key, classes)


def fill_survey(survey, right, *, expert="", file="a.csv", saved_at="2026-01-01"):
    """A returned file with the first `right` images correct, the rest wrong in both parts."""
    rows = survey.key[["question", "composition", "state"]].copy()
    wrong = rows["question"] > right
    next_one = dict(zip(COMPOSITIONS, (*COMPOSITIONS[1:], COMPOSITIONS[0]), strict=True))
    other = dict(zip(STATES, STATES[::-1], strict=True))
    rows["composition"] = rows["composition"].mask(wrong, rows["composition"].map(next_one))
    rows["state"] = rows["state"].mask(wrong, rows["state"].map(other))
    rows = rows.assign(
        survey_id=survey.survey_id, respondent="", expert=expert, role="", saved_at=saved_at
    )
    return ResponseFile(file, rows[list(CSV_COLUMNS)].astype(str))
