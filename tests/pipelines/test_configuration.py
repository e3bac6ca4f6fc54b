"""Conventions of the configuration hold in every environment."""

import shutil
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.framework.project import pipelines as project_pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogConfigResolver, MemoryDataset
from kedro.validation.parameter_validator import ParameterValidator
from kedro.validation.utils import resolve_nested_dict_path

from ncm_kedro.contracts.sem import SemCrops, SemManifest
from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.params.sem_ingest import ReadingParams
from ncm_kedro.params.tune_train import TrainParams
from ncm_kedro.pipeline_registry import register_pipelines
from ncm_kedro.settings import CONFIG_LOADER_ARGS

pytestmark = pytest.mark.filterwarnings("ignore:register_new_resolver:UserWarning")
PROJECT = Path(__file__).parents[2]
MANIFEST = (
    "frame_id, file, class, composition, state, additive, magnification, "
    "accelerating_voltage_kv, instrument, acquired_at, height_px, width_px, banner_px, "
    "pixel_size_um, pixel_size_source, session, mosaic, mosaic_x_px, mosaic_y_px, "
    "mosaic_scale, mosaic_angle_deg, mosaic_mirrored, "
    "flat_fraction, clipped_fraction, sharpness, flags, excluded, exclusion_reason"
)
CROPS = "crop_id, frame_id, x_px, y_px, size_px, split, class"


def load_configuration(environment: str, source: Path = PROJECT / "conf") -> OmegaConfigLoader:
    return OmegaConfigLoader(str(source), env=environment, **CONFIG_LOADER_ARGS)


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


def test_base_holds_the_papers_settings():
    parameters = load_configuration("base")["parameters"]
    train = TrainParams.model_validate(parameters["tune_train"]["train"])
    assert (train.model, train.pretrained, train.epochs) == ("tf_efficientnet_b7", True, 20)
    assert (train.batch_size, train.learning_rate) == (10, 3.5e-4)
    crops = CropParams.model_validate(parameters["crop_augment"])
    assert (crops.size_px, crops.images_per_class, crops.split.by) == (300, 400, "mosaic")


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
        layer = entry.get("metadata", {}).get("kedro-viz", {}).get("layer")
        assert layer, f"data set {name} has no layer"


WITHOUT_PREVIEW = {
    "survey_quiz", "particle_measurements", "half_cell_fields", "tomo_review_projects",
}  # fmt: skip
"""A form, and folders of parts."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_table_figure_page_metric_and_model_has_a_preview(monkeypatch):
    monkeypatch.chdir(PROJECT)
    configuration = load_configuration("base")
    context = KedroContext(PROJECT, configuration, "local", None, _create_hook_manager())
    catalog = context.catalog
    made = [every for name, every in register_pipelines().items() if name != "synthesise"]
    names = {name for every in made for name in every.all_outputs() if name[:4] != "raw_"}
    bare = {
        name
        for name in names
        if not isinstance(catalog[name], MemoryDataset) and not hasattr(catalog[name], "preview")
    }
    assert bare - WITHOUT_PREVIEW == set()


def test_layers_form_no_cycle_or_kedro_viz_would_hide_them():
    """Data sets point to the layers below them, through nodes, never back."""
    entries = load_configuration("demo")["catalog"]
    catalog = CatalogConfigResolver(entries, default_runtime_patterns={})

    def layer_of(name: str) -> str | None:
        entry = entries.get(name) or entries.get(catalog.match_dataset_pattern(name), {})
        return entry.get("metadata", {}).get("kedro-viz", {}).get("layer")

    above: dict[str, set[str]] = {}
    for node in {node for made in register_pipelines().values() for node in made.nodes}:
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


def test_the_demo_is_a_pipeline_of_its_own_that_starts_with_its_own_data():
    pipelines = register_pipelines()
    demo, default = pipelines["demo"], pipelines["__default__"]
    names = [node.name for node in demo.nodes]
    made = {"raw_survey_responses", "lineage", "sem_production_classifier", "tomogram_truth"}
    needed = {name for name in demo.inputs() if not name.startswith("params:")}
    assert not {name for name in needed if name.startswith("raw_")} - made
    assert {node.name for node in default.nodes} < set(names)
    assert names.index("classify_sem_frames") > names.index("release_sem_classifier")
    shown = [
        "explain_sem_crops",
        "check_sem_maps",
        "report_sem_transfer",
        "gather_sem_studies",
        "report_additives",
    ]
    for name in (*shown, "score_expert_survey", "release_sem_classifier"):
        assert names.index("write_sem_report") > names.index(name)


def test_loading_the_demo_leaves_the_pipelines_of_base_alone(tmp_path, monkeypatch):
    """Environments change configuration only: no hook touches what is registered."""
    monkeypatch.setattr("ncm_kedro.hooks.MlflowHook.after_context_created", lambda *_: None)
    bootstrap_project(PROJECT)
    for environment in ("demo", "base"):
        with KedroSession.create(PROJECT, env=environment, save_on_close=False) as session:
            session.load_context()
        assert "synthesise_sem_frames" not in {node.name for node in project_pipelines["sem"].nodes}
        registered = {name: set(found.nodes) for name, found in project_pipelines.items()}
        assert registered == {name: set(p.nodes) for name, p in register_pipelines().items()}


def test_no_model_of_the_demo_bears_a_name_that_base_looks_up():
    """Of every registered model, whatever its pipeline."""
    named = {
        env: {
            entry[key]
            for entry in load_configuration(env)["catalog"].values()
            for key in ("model_name", "model_uri", "source")
            if key in entry
        }
        for env in ("base", "demo", "test")
    }
    assert {"ncm-sem-classifier", "nmc-particle-detector"} < named["base"]
    assert named["base"] & named["demo"] == {"auto"}
    assert named["base"] & named["test"] == {"auto"}
    assert all("ncm-sem-classifier" not in name.split("/")[-1].split("@") for name in named["demo"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_single_changed_leaf_reaches_its_node_and_leaves_the_rest(tmp_path):
    for name in ("base", "demo"):
        shutil.copytree(PROJECT / "conf" / name, tmp_path / name)
    local = tmp_path / "local" / "parameters.yml"
    local.parent.mkdir()
    before = load_configuration("base", tmp_path)["parameters"]
    local.write_text("sem_ingest: {reading: {pixel_size: {fallback_um: 0.05}}}\n")
    after = load_configuration("local", tmp_path)["parameters"]
    assert after["sem_ingest"]["reading"]["pixel_size"].pop("fallback_um") == 0.05
    assert before["sem_ingest"]["reading"]["pixel_size"].pop("fallback_um") is None
    assert after == before
    context = KedroContext(
        tmp_path, load_configuration("local", tmp_path), "local", None, _create_hook_manager()
    )
    given = context.catalog.load("params:sem_ingest.reading")
    assert ReadingParams.model_validate(given).pixel_size.fallback_um == 0.05


def test_no_telemetry():
    assert "consent: false" in (PROJECT / ".telemetry").read_text(encoding="utf-8")
