"""Results of the SEM pipeline as they are stored, small, for tests of the page."""

import io

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.plotting.sem.report import OPTIONAL_RESULTS, PIPELINE_RESULTS, STUDIES, STUDY_FIGURES
from ncm_kedro.provenance import RunRecord

CLASSES = ("333", "811<script>")
AREAS = {
    "n_frames": 5, "n_mosaics": 2, "area_px2": 1.0, "area_mm2": 0.05, "fields_of_view": 2.5,
    "repeats": 2.0,
}  # fmt: skip
RUN_IDS = {
    name: f"{number:08x}ffff"
    for number, name in enumerate((*PIPELINE_RESULTS, *OPTIONAL_RESULTS), start=0xA0000001)
}


def interval(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def part(names=CLASSES):
    return {"names": list(names)} | {
        score: interval(0.7) for score in ("accuracy", "balanced_accuracy", "macro_f1")
    }


def reference_model(value):
    scores = {role: part() for role in ("class", "composition", "state")}
    scores["class"]["balanced_accuracy"] = interval(value)
    return {
        "n_crops": 40, "n_areas": 8, "confidence_level": 0.95,
        "calibration": {"expected_error": 0.081}, **scores,
    }  # fmt: skip


def draw_png():
    figure, buffer = Figure(figsize=(1, 1)), io.BytesIO()
    figure.subplots().plot([0, 1])
    figure.savefig(buffer, format="png", dpi=20)
    return buffer.getvalue()


def make_pipeline_results():
    """All that `sem` leaves behind."""
    splits = {s: {"drawn": 8, "areas": 2} for s in ("train", "validate", "test")}
    png = draw_png()
    return {name: png for name in PIPELINE_RESULTS if "figure" in name} | {
        "sem_audit": {
            "frames": {
                "found": 15, "total": 12, "excluded": 2, "kept": 10, "rejected": 3,
                "classes": {
                    name: {"found": 7, "kept": 5, "excluded": 1, "rejected": 1} for name in CLASSES
                },
            },
            "folders": [{"folder": "NCM333", "class": "333", "frames": 6}],
            "rejected": {
                "reasons": [
                    {
                        "reason": "a name nobody knows", "files": 3, "frames": True, "warn": True,
                        "folders": {"old stuff": 3},
                        "example": {"file": "old stuff/a.png", "reason": "a name nobody knows"},
                    }
                ],
                "files": [],
            },
            "excluded": [{"reason": "bare: 8% of the frame is flat"}, {"reason": "bare: 9%"}],
            "areas": {"classes": [{"class": name, **AREAS} for name in CLASSES]},
            "verdict": {"meaning": "no confound of class and settings is detectable"},
            "warnings": ["little ground"],
        },
        "sem_crop_report": {
            "split_by": "mosaic", "size_px": 96, "warnings": [],
            "classes": {name: {"splits": splits} for name in CLASSES},
        },
        "sem_trials": pd.DataFrame(
            {"trial": ["a", "b"], "loss": [0.5, 0.4], "error": [None, "it crashed " * 50]}
        ),
        "sem_learning_curves": pd.DataFrame({"epoch": [0, 1], "seconds": [60.0, 60.0]}),
        "sem_test_report": {
            "split_by": "mosaic", "leaking": False, "model": "test_resnet", "temperature": 1.25,
            "network": reference_model(0.777), "texture baseline": reference_model(0.555),
            "candidates": {"rows": [make_candidate("frozen", 0.812)], "note": None},
            "pooled": [
                {"model": "network", "of": "frames", "count": 30, "role": "class"} | interval(0.943)
            ],
            "sets": {
                "target": 0.9, "notes": ["sets hold all classes"], "coverage": interval(0.876),
                "mean_size": interval(1.5), "singletons": interval(0.5),
            },
            "flag": {
                "nominal_false_alarm_rate": 0.04, "foreign_auroc": 0.99, "reliable": True,
                "notes": [], "false_alarms": interval(0.125),
                "n_ood": 20, "n_ood_areas": 3, "detected": 0.5, "n_ood_frames": 3,
                "n_ood_frames_flagged": 1, "auroc": {"score": interval(0.891)},
            },
        },
        "sem_promotion": {"promoted": False, "reasons": ["does not beat the baseline"]},
        "sem_test_predictions": pd.DataFrame(
            {
                "crop_id": ["c1", "c2", "c3"], "class": ["333", "333", CLASSES[1]],
                "predicted": ["333", CLASSES[1], CLASSES[1]], "probability": [0.9, 0.6543, 0.8],
                "p_333": [0.9, 0.3457, 0.2], f"p_{CLASSES[1]}": [0.1, 0.6543, 0.8],
            }
        ),
    }  # fmt: skip


def make_candidate(name, value):
    scores = {
        role + end: value + shift
        for role in ("class", "composition", "state")
        for end, shift in (("", 0.0), ("_low", -0.01), ("_high", 0.01))
    }
    return {"candidate": name, "features": 224, "frame": 0.954, "seconds": 3.0, **scores}


def make_further():
    """All that other pipelines leave behind."""
    found = {name: interval(1.1) for name in ("ratio", "control", "other_crops", "untrained")}
    condition = {
        key: interval(0.6)
        for key in ("overall", "composition_accuracy", "state_accuracy", "unknown", "coverage")
    }
    png = draw_png()
    return {name: png for name in OPTIONAL_RESULTS if "figure" in name} | {
        "sem_attention_report": {
            "crops": 48, "areas": 29, "band_um": 1.5, "boundary_fraction": 0.43,
            "maps": {"grad_cam": {**found, "p": 0.02}, "guided_grad_cam": {**found, "p": None}},
        },
        "sem_map_check": {"maps": {"grad_cam": {"warning": "hardly changes"}}},
        "sem_transfer_report": {
            "notes": ["a transfer note"],
            "skipped": [{"held_out": "session 1", "reason": "no crop is left"}],
            "summary": [
                {
                    "kind": "state", "head": "composition", "model": "texture",
                    "balanced_accuracy": 0.4321, "in_session": None, "chance": 0.25,
                }
            ],
            "rows": [
                {
                    "kind": "state", "held_out": "cycled", "head": "composition",
                    "model": "texture", "balanced_accuracy": 0.4321, "low": None, "high": None,
                    "in_session": 0.9, "chance": 0.25, "n_test_areas": 7,
                }
            ],
        },
        "additive_report": {
            "model": "test_resnet", "crop_px": 96, "rejections": [{"file": "x"}],
            "reference_problem": None, "notes": ["an additive note"],
            "pooled": {"": {**condition, "n_areas": 4}, "VC": {**condition, "n_areas": 4}},
        },
        "survey_summary": {
            "pictures": 19, "classes": 12, "experts": 2,
            "best_expert": {"right": 13.0, "accuracy": 0.684},
            "mean_of_experts": {"class": {"accuracy": 0.321, "low": 0.2, "high": 0.4}},
            "model": None, "chance": {"class": 0.0833}, "caveats": [], "what_next": [],
            "published": {"best_accuracy": 0.6842, "mean_accuracy": 0.3005},
        },
        STUDIES: {
            "split": {
                "title": "Split", "question": "What is the leak worth?", "answer": "0.2 of it.",
                "rows": [
                    {
                        "point": "by area", "model": "network", "balanced_accuracy": 0.6789,
                        "low": 0.6, "high": 0.7, "n_test_areas": 5,
                    },
                    {"point": "by file", "model": "network", "balanced_accuracy": None},
                    {"statistic": "a row without scores"},
                ],
                "skipped": [{"point": "by file", "reason": "no frames"}], "notes": [],
            }
        },
        STUDY_FIGURES: {"split": png},
    }  # fmt: skip


def make_record(name, **changes):
    values = {
        "dataset": name, "node": "a_node", "pipeline": "a_pipeline", "run_id": RUN_IDS.get(name),
        "run_name": "a_pipeline", "experiment": "ncm_kedro", "git_commit": "c" * 40,
        "git_changed": False, "at": "2026-11-21T19:00:00+00:00",
    }  # fmt: skip
    return RunRecord(**(values | changes))
