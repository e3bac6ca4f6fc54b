"""Conventions of the configuration hold in every environment."""

from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogConfigResolver
from kedro.pipeline import pipeline
from kedro.validation.parameter_validator import ParameterValidator
from kedro.validation.utils import resolve_nested_dict_path

from ncm_kedro.contracts.sem import SemCrops, SemManifest
from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.params.tune_train import TrainParams
from ncm_kedro.pipeline_registry import register_pipelines

PROJECT = Path(__file__).parents[2]
MANIFEST = (
    "frame_id, file, class, composition, state, additive, magnification, "
    "accelerating_voltage_kv, instrument, acquired_at, height_px, width_px, banner_px, "
    "pixel_size_um, pixel_size_source, session, mosaic, mosaic_x_px, mosaic_y_px, "
    "flat_fraction, clipped_fraction, sharpness, flags, excluded, exclusion_reason"
)
CROPS = "crop_id, frame_id, x_px, y_px, size_px, split, class"


def load_configuration(environment: str) -> OmegaConfigLoader:
    return OmegaConfigLoader(
        str(PROJECT / "conf"), base_env="base", default_run_env=environment, env=environment
    )


@pytest.mark.filterwarnings("ignore:register_new_resolver:UserWarning")
@pytest.mark.parametrize("environment", ["base", "demo", "test"])
def test_every_parameter_reaches_its_node_as_a_model(environment):
    # For a node with a hint that cannot be resolved, such as a class that is imported under
    # TYPE_CHECKING, Kedro leaves all parameters plain dictionaries.
    pipelines = register_pipelines()
    parameters = ParameterValidator(pipelines).validate_raw_params(
        load_configuration(environment)["parameters"]
    )
    inputs = {name for each in pipelines.values() for node in each.nodes for name in node.inputs}
    names = {name.removeprefix("params:") for name in inputs if name.startswith("params:")}
    plain = [name for name in names if isinstance(resolve_nested_dict_path(parameters, name), dict)]
    assert len(names) > 40
    assert plain == []


@pytest.mark.filterwarnings("ignore:register_new_resolver:UserWarning")
def test_base_holds_the_papers_settings():
    parameters = load_configuration("base")["parameters"]
    train = TrainParams.model_validate(parameters["tune_train"]["train"])
    assert (train.model, train.pretrained, train.epochs) == ("tf_efficientnet_b7", True, 20)
    assert (train.batch_size, train.learning_rate) == (10, 3.5e-4)
    crops = CropParams.model_validate(parameters["crop_augment"])
    assert (crops.size_px, crops.images_per_class, crops.split.by) == (300, 400, "mosaic")


@pytest.mark.filterwarnings("ignore:register_new_resolver:UserWarning")
def test_every_dataset_of_a_pipeline_is_in_the_catalog_with_a_layer():
    entries = load_configuration("base")["catalog"]
    catalog = CatalogConfigResolver(entries, default_runtime_patterns={})
    for name, registered in register_pipelines().items():
        for dataset in registered.datasets():
            if dataset.startswith("params:") or dataset == "parameters":
                continue
            assert dataset in entries or catalog.match_dataset_pattern(dataset), (
                f"{dataset} of {name} is in no catalog: its result would be lost"
            )
    for name, entry in entries.items():
        if not entry["type"].endswith("MlflowMetricsHistoryDataset"):
            layer = entry.get("metadata", {}).get("kedro-viz", {}).get("layer")
            assert layer, f"data set {name} has no layer"


@pytest.mark.filterwarnings("ignore:register_new_resolver:UserWarning")
def test_layers_form_no_cycle_or_kedro_viz_would_hide_them():
    """Data sets point to the layers below them, through nodes, never back."""
    entries = load_configuration("demo")["catalog"]
    catalog = CatalogConfigResolver(entries, default_runtime_patterns={})

    def layer_of(name: str) -> str | None:
        entry = entries.get(name) or entries.get(catalog.match_dataset_pattern(name), {})
        return entry.get("metadata", {}).get("kedro-viz", {}).get("layer")

    pipelines = register_pipelines()
    classify = pipeline(
        pipelines["sem_classify"], inputs={"sem_classifier_to_apply": "sem_classifier"}
    )
    above: dict[str, set[str]] = {}
    for node in (pipelines["synthesise"] + pipelines["__default__"] + classify).nodes:
        for source in filter(None, map(layer_of, node.inputs)):
            for target in filter(None, map(layer_of, node.outputs)):
                if source != target:
                    above.setdefault(target, set()).add(source)
    order = list(TopologicalSorter(above).static_order())
    assert order.index("raw") < order.index("model_input") < order.index("registry")


@pytest.mark.parametrize(("model", "columns"), [(SemManifest, MANIFEST), (SemCrops, CROPS)])
def test_tables_keep_the_columns_that_others_rely_on(model, columns):
    expected = columns.split(", ")
    assert list(model.to_schema().columns)[: len(expected)] == expected


def test_the_default_run_does_not_synthesise_on_a_users_data():
    pipelines = register_pipelines()
    assert "synthesise_sem_frames" not in {node.name for node in pipelines["__default__"].nodes}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("environment", ["demo", "test"])
def test_a_self_contained_run_starts_with_its_own_data(environment, tmp_path, monkeypatch):
    from kedro.framework.project import pipelines

    bootstrap_project(PROJECT)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with KedroSession.create(
        PROJECT, env=environment, runtime_params={"globals": {}, "tracking_uri": uri}
    ) as session:
        monkeypatch.setattr("ncm_kedro.hooks.MlflowHook.after_context_created", lambda *_: None)
        session.load_context()
        names = [node.name for node in pipelines["__default__"].nodes]
    assert names[0].startswith("synthesise")
    assert names.index("classify_sem_frames") > names.index("release_sem_classifier")
    assert {"score_expert_survey", "join_cycling_to_frames"} <= set(names)
    shown = ["explain_sem_crops", "check_sem_maps", "study_sem_transfer", "report_additives"]
    for name in (*shown, "score_expert_survey", "release_sem_classifier"):
        assert names.index("write_sem_report") > names.index(name)


def test_no_telemetry():
    assert "consent: false" in (PROJECT / ".telemetry").read_text(encoding="utf-8")
