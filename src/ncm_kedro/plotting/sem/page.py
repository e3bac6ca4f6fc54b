"""Names of the results on the SEM page; light to import, for pipelines."""

STUDIES, STUDY_FIGURES = "sem_study_reports", "sem_study_figures"
PIPELINE_RESULTS = (
    "sem_audit",
    "sem_audit_figure_areas",
    "sem_audit_figure_confounding",
    "sem_crop_report",
    "sem_crops_figure_splits",
    "sem_trials",
    "sem_search_figure_trials",
    "sem_learning_curves",
    "sem_training_figure_learning_curves",
    "sem_test_report",
    "sem_test_figure_scores",
    "sem_test_figure_confusion",
    "sem_test_figure_classes",
    "sem_test_figure_reliability",
    "sem_test_figure_prediction_sets",
    "sem_test_figure_ood",
    "sem_promotion",
    "sem_test_predictions",
)
"""What the page needs."""
OPTIONAL_RESULTS = (
    "sem_explain_figure_classes",
    "sem_explain_figure_errors",
    "sem_attention_report",
    "sem_explain_figure_boundaries",
    "sem_map_check",
    "sem_map_check_figure_sanity",
    "sem_transfer_report",
    "sem_transfer_figure_scores",
    "additive_report",
    "additive_figure_accuracy",
    "additive_figure_profiles",
    "additive_figure_maps",
    "survey_summary",
    "survey_figure_scores",
    STUDIES,
    STUDY_FIGURES,
)
"""What the page shows where it is there."""
