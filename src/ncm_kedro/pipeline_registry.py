"""All pipelines by name."""

from __future__ import annotations

from kedro.pipeline import Pipeline, pipeline

from ncm_kedro.pipelines import (
    crop_augment,
    cycling,
    damage_attribution,
    evaluate_additives,
    expert_survey,
    half_cell,
    holo_tomography,
    particle_features,
    sem_classify,
    sem_explain,
    sem_ingest,
    sem_report,
    sem_studies,
    sem_transfer,
    synthesise,
    tomo_review,
    tomo_segment,
    tomo_train,
    tune_train,
)

JUST_TRAINED = {
    "sem_classifier": "sem_calibrated_classifier",
    "reference_sem_frames": "sem_frames",
    "reference_sem_manifest": "sem_manifest",
    "reference_sem_crops": "sem_crops",
    "reference_sem_predictions": "sem_test_predictions",
}
"""What `sem` tests on new electrodes: not the model in production, but the one of this run."""


def register_pipelines() -> dict[str, Pipeline]:
    """Return every pipeline, the groups ``sem`` and ``tomo``, the default and the demo.

    Returns
    -------
    dict
        Pipelines by name. ``__default__`` is ``sem`` and ``tomo`` on the user's own data; ``demo``
        first makes synthetic data, and runs all that can be run on it.
    """
    single = {
        "synthesise": synthesise.create_pipeline(),
        "sem_ingest": sem_ingest.create_pipeline(),
        "crop_augment": crop_augment.create_pipeline(),
        "tune_train": tune_train.create_pipeline(),
        "sem_classify": sem_classify.create_pipeline(),
        "sem_explain": sem_explain.create_pipeline(),
        "sem_transfer": sem_transfer.create_pipeline(),
        "sem_studies": sem_studies.create_pipeline(),
        "sem_report": sem_report.create_pipeline(),
        "evaluate_additives": evaluate_additives.create_pipeline(),
        "expert_survey": expert_survey.create_pipeline(),
        "cycling": cycling.create_pipeline(),
        "cycling_join": cycling.create_join_pipeline(),
        "holo_tomography": holo_tomography.create_pipeline(),
        "tomo_train": tomo_train.create_pipeline(),
        "tomo_segment": tomo_segment.create_pipeline(),
        "tomo_review": tomo_review.create_pipeline(),
        "particle_features": particle_features.create_pipeline(),
        "damage_attribution": damage_attribution.create_pipeline(),
        "half_cell": half_cell.create_pipeline(),
        "half_cell_from_labels": half_cell.create_label_pipeline(),
        "half_cell_sweep": half_cell.create_sweep_pipeline(),
    }

    def join(*names: str) -> Pipeline:
        return sum((single[name] for name in names), Pipeline([]))

    additives = pipeline(single["evaluate_additives"], inputs=JUST_TRAINED)
    sem = join("sem_ingest", "crop_augment", "tune_train", "sem_report") + additives
    tomo = join("tomo_segment", "particle_features", "damage_attribution")
    survey = pipeline(single["expert_survey"], inputs={"survey_classifier": "sem_classifier"})
    more = join("sem_classify", "sem_explain", "sem_transfer", "sem_studies")
    cells = join("cycling", "cycling_join")
    cracks = half_cell.create_case("three_particles")
    scans = single["holo_tomography"]
    demo = single["synthesise"] + sem + more + survey + scans + tomo + cells + cracks
    return {**single, "sem": sem, "tomo": tomo, "demo": demo, "__default__": sem + tomo}
