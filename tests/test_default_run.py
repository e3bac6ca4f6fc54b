"""What `kedro run` without a name holds in each environment."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project

from ncm_kedro.default_run import DemoHook, NewElectrodesHook
from ncm_kedro.pipeline_registry import register_pipelines

PROJECT = Path(__file__).parents[1]
ADDITIVES = {node.name for node in register_pipelines()["evaluate_additives"].nodes}


@pytest.fixture(autouse=True)
def registered():
    bootstrap_project(PROJECT)
    yield
    bootstrap_project(PROJECT)


def make_context(folder, environment="local"):
    return SimpleNamespace(
        env=environment,
        project_path=str(folder),
        config_loader={"globals": {"sem_additive_root": "new"}},
    )


def names_of(pipeline):
    return {node.name for node in pipelines[pipeline].nodes}


@pytest.mark.parametrize("name", ["sem", "__default__"])
@pytest.mark.parametrize("file", ["811__FEC/a.JPG", "frames.csv"])
def test_new_electrodes_are_part_of_a_run_where_there_are_any(tmp_path, name, file):
    (tmp_path / "new" / "811__FEC").mkdir(parents=True)
    (tmp_path / "new" / file).touch()
    NewElectrodesHook().after_context_created(make_context(tmp_path))
    assert names_of(name) >= ADDITIVES
    asked = pipelines[name].inputs()
    assert "raw_additive_frames" in asked
    assert not asked & {"sem_classifier_to_apply", "reference_sem_crops"}


@pytest.mark.parametrize("exists", [False, True])
def test_without_any_the_run_does_without_and_says_what_to_put_where(tmp_path, caplog, exists):
    if exists:
        (tmp_path / "new" / "811__FEC").mkdir(parents=True)
        (tmp_path / "new" / ".DS_Store").touch()
    before = {name: names_of(name) for name in ("sem", "__default__", "tomo")}
    hook = NewElectrodesHook()
    hook.after_context_created(make_context(tmp_path))
    for name, nodes in before.items():
        assert names_of(name) == nodes - ADDITIVES
    assert names_of("evaluate_additives") == ADDITIVES
    with caplog.at_level(logging.WARNING):
        hook.before_pipeline_run({"pipeline_names": ["tomo"]})
        assert not caplog.messages
        hook.before_pipeline_run({"pipeline_names": None})
    assert "new/<composition>_<state>__<additive>/" in caplog.text


def test_the_demo_makes_its_own_new_electrodes(tmp_path, caplog):
    for hook in (DemoHook(), NewElectrodesHook()):
        hook.after_context_created(make_context(tmp_path, "demo"))
    assert names_of("__default__") >= ADDITIVES | {"synthesise_additive_frames"}
    assert not pipelines["__default__"].inputs() & {"raw_additive_frames", "raw_sem_frames"}
