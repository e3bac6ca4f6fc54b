"""Wiring of ``tomo_train``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.pipelines.tomo_train import nodes

TRAIN = "params:tomo_train.train"
SECTIONS = "params:tomo_train.sections"


def create_pipeline() -> Pipeline:
    """Train on phantom sections and the user's pairs, evaluate beside the one in use, register."""
    return pipeline(
        [
            node(
                nodes.train_particle_detector,
                inputs=[TRAIN, SECTIONS, "tomo_training_folder"],
                outputs=[
                    "tomo_trained_detector",
                    "tomo_training_record",
                    "tomo_training_history",
                    "tomo_epoch_metrics",
                    "tomo_train_figures",
                ],
                name="train_particle_detector",
            ),
            node(
                nodes.evaluate_particle_detector,
                inputs={
                    "detector": "tomo_trained_detector",
                    "in_use": "particle_production_detector",
                    "folder": "tomo_training_folder",
                    "train": TRAIN,
                    "sections": SECTIONS,
                },
                outputs=["tomo_detector_scores", "tomo_detector_promotion", "tomo_test_metrics"],
                name="evaluate_particle_detector",
            ),
            node(
                nodes.release_particle_detector,
                inputs={
                    "detector": "tomo_trained_detector",
                    "record": "tomo_training_record",
                    "scores": "tomo_detector_scores",
                    "promotion": "tomo_detector_promotion",
                    "folder": "tomo_training_folder",
                    "train": TRAIN,
                    "sections": SECTIONS,
                },
                outputs="particle_detector",
                name="release_particle_detector",
            ),
        ],
        tags="tomo",
    )
