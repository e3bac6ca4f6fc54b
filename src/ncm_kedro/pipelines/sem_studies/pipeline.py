"""Wiring of ``sem_studies``."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from ncm_kedro.params.sem_studies import STUDIES, StudyName
from ncm_kedro.pipelines.sem_studies import nodes

RESULTS = ("scores", "report", "figures")


def create_pipeline() -> Pipeline:
    """Run the studies that ``params:study`` names; a node per study."""
    gather = node(
        nodes.gather_sem_studies,
        inputs={name: f"sem_study_{name}_report" for name in STUDIES},
        outputs="sem_study_reports",
        name="gather_sem_studies",
        tags="sem",
    )
    return sum((_study(name) for name in STUDIES), pipeline([gather]))


def _study(name: StudyName) -> Pipeline:
    inputs = {"frames": "sem_frames", "manifest": "sem_manifest", "folder": "sem_studies_folder"}
    settings = {"study": "study", "crops": "crop_augment", "params": "sem_studies"}
    parameters = {key: f"params:{value}" for key, value in settings.items()}
    step = node(
        nodes.make_study(name),
        inputs={**inputs, **parameters},
        outputs=list(RESULTS),
        name="run",
        tags="sem",
    )
    return pipeline(
        [step],
        namespace=f"study.{name}",
        inputs=set(inputs.values()),
        outputs={part: f"sem_study_{name}_{part}" for part in RESULTS},
        parameters=set(parameters.values()),
    )
