"""Wiring of ``tune_train``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline, node, pipeline

from ncm_kedro.pipelines.crop_augment.pipeline import create_crop_set_pipeline
from ncm_kedro.pipelines.tune_train import nodes

CROPS = {"crop_set": "sem_crop_set"}
DEVICE = "params:tune_train.train.device"


def create_pipeline() -> Pipeline:
    """Search, train, calibrate, test beside the baseline, evaluate and register."""
    steps = pipeline([*_training(), *_testing(), *_releasing()], tags="sem")
    return create_crop_set_pipeline() + steps


def _training() -> list[Node]:
    return [
        node(
            nodes.search_sem_settings,
            inputs={
                **CROPS,
                "folder": "sem_search_folder",
                "train": "params:tune_train.train",
                "search": "params:tune_train.search",
            },
            outputs=["sem_best_settings", "sem_trials", "sem_search_figures"],
            name="search_sem_settings",
            tags="training",
        ),
        node(
            nodes.measure_sem_textures,
            inputs=CROPS,
            outputs="sem_textures",
            name="measure_sem_textures",
            tags="training",
        ),
        node(
            nodes.compare_sem_candidates,
            inputs={
                **CROPS,
                "textures": "sem_textures",
                "manifest": "sem_manifest",
                "best_settings": "sem_best_settings",
                "evaluation": "params:tune_train.evaluation",
                "folder": "sem_training_folder",
            },
            outputs="sem_candidates",
            name="compare_sem_candidates",
            tags="training",
        ),
        node(
            nodes.train_sem_classifier,
            inputs={
                **CROPS,
                "best_settings": "sem_best_settings",
                "folder": "sem_training_folder",
                "train": "params:tune_train.train",
                "evaluation": "params:tune_train.evaluation",
            },
            outputs=[
                "sem_trained_classifier",
                "sem_learning_curves",
                "sem_epoch_metrics",
                "sem_training_figures",
            ],
            name="train_sem_classifier",
            tags="training",
        ),
        node(
            nodes.calibrate_sem_classifier,
            inputs={
                **CROPS,
                "classifier": "sem_trained_classifier",
                "calibration": "params:tune_train.calibration",
                "device": DEVICE,
            },
            outputs="sem_calibrated_classifier",
            name="calibrate_sem_classifier",
            tags="training",
        ),
    ]


def _testing() -> list[Node]:
    return [
        node(
            nodes.predict_sem_test,
            inputs={**CROPS, "classifier": "sem_calibrated_classifier", "device": DEVICE},
            outputs="sem_test_predictions",
            name="predict_sem_test",
            tags="testing",
        ),
        node(
            nodes.predict_sem_baseline,
            inputs={
                **CROPS,
                "textures": "sem_textures",
                "seed": "params:tune_train.train.seed",
            },
            outputs="sem_baseline_predictions",
            name="predict_sem_baseline",
            tags="testing",
        ),
        node(
            nodes.classify_ood_material,
            inputs={
                "frames": "sem_frames",
                "manifest": "sem_manifest",
                "classifier": "sem_calibrated_classifier",
                "device": DEVICE,
            },
            outputs="sem_ood_predictions",
            name="classify_ood_material",
            tags="testing",
        ),
        node(
            nodes.evaluate_sem_test,
            inputs={
                "predictions": "sem_test_predictions",
                "baseline": "sem_baseline_predictions",
                "ood": "sem_ood_predictions",
                "crop_report": "sem_crop_report",
                "candidates": "sem_candidates",
                "classifier": "sem_calibrated_classifier",
                "evaluation": "params:tune_train.evaluation",
                "calibration": "params:tune_train.calibration",
            },
            outputs=["sem_test_report", "sem_test_metrics", "sem_test_figures"],
            name="evaluate_sem_test",
            tags="testing",
        ),
    ]


def _releasing() -> list[Node]:
    return [
        node(
            nodes.decide_sem_promotion,
            inputs={
                **CROPS,
                "manifest": "sem_manifest",
                "predictions": "sem_test_predictions",
                "baseline": "sem_baseline_predictions",
                "report": "sem_test_report",
                "production": "sem_production_classifier",
                "evaluation": "params:tune_train.evaluation",
                "device": DEVICE,
            },
            outputs="sem_promotion",
            name="decide_sem_promotion",
            tags="registry",
        ),
        node(
            nodes.release_sem_classifier,
            inputs={
                "classifier": "sem_calibrated_classifier",
                "frames": "sem_frames",
                "crops": "sem_crops",
                "report": "sem_test_report",
                "promotion": "sem_promotion",
            },
            outputs="sem_classifier",
            name="release_sem_classifier",
            tags="registry",
        ),
    ]
