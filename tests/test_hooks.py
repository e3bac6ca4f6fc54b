"""What surrounds a run: prerequisites, what is omitted, hashes, commits, lineage."""

import logging
import re
import subprocess
from pathlib import Path

import mlflow
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import AbstractDataset, DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline
from kedro.runner import ParallelRunner, SequentialRunner, ThreadRunner

from ncm_kedro.errors import SettingsError, StoreError
from ncm_kedro.hooks import (
    LineageHook,
    _hash_input,
    is_new_to_log,
    list_producers,
    report_error,
)
from ncm_kedro.prerequisites import NcmSession, PrerequisiteHook
from ncm_kedro.provenance import describe_commit, hash_path

PROJECT = Path(__file__).parents[1]
PARQUET = "pandas.ParquetDataset"


def test_hash_follows_content_and_name_but_not_time(tmp_path):
    folder = tmp_path / "frames"
    (folder / "333").mkdir(parents=True)
    frame = folder / "333" / "a.jpg"
    frame.write_bytes(b"one")
    first = hash_path(folder)
    frame.touch()
    assert hash_path(folder) == first
    frame.rename(folder / "333" / "b.jpg")
    renamed = hash_path(folder)
    (folder / "333" / "b.jpg").write_bytes(b"two")
    assert len({first, renamed, hash_path(folder)}) == 3


def test_hash_of_a_single_file_is_taken(tmp_path):
    file = tmp_path / "x.bin"
    file.write_bytes(b"1")
    before = hash_path(file)
    file.write_bytes(b"2")
    assert hash_path(file) != before


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    (tmp_path / "a.txt").write_text("a")
    git("add", "a.txt")
    git("commit", "-q", "-m", "first")
    return tmp_path


def test_commit_and_changes_are_told(checkout):
    clean = describe_commit(checkout)
    assert len(clean["git_commit"]) == 40
    assert clean["git_changed"] == "no"
    (checkout / "a.txt").write_text("b")
    assert describe_commit(checkout)["git_changed"] == "yes"


def test_no_checkout_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert describe_commit(tmp_path) == {"git_commit": "not a git checkout"}


def test_volumes_are_hashed_by_what_they_say_of_themselves():
    class Known:
        def content_hash(self):
            return "abc"

    catalog = {"tomograms": Known()}
    assert _hash_input(catalog, "tomograms") == "abc"
    assert _hash_input(catalog, "params:x") is None


@pytest.fixture
def catalog(tmp_path):
    def file(kind, name, **more):
        return {"type": kind, "filepath": str(tmp_path / name), **more}

    return DataCatalog.from_config(
        {
            "lineage": {
                "type": "ncm_kedro.datasets.wrappers.LineageFolder",
                "path": str(tmp_path / "lineage"),
            },
            "numbers": file("json.JSONDataset", "numbers.json"),
            "optional": {
                "type": "ncm_kedro.datasets.wrappers.OptionalDataset",
                "dataset": file("json.JSONDataset", "optional.json"),
            },
            "studies": {
                "type": "partitions.PartitionedDataset",
                "path": str(tmp_path / "studies"),
                "dataset": {"type": "json.JSONDataset"},
                "filename_suffix": ".json",
            },
            "scores": {"type": "kedro_mlflow.io.metrics.MlflowMetricsHistoryDataset"},
            "page": {
                "type": "kedro_mlflow.io.artifacts.MlflowArtifactDataset",
                "dataset": file("text.TextDataset", "page.html"),
                "artifact_path": "pages",
            },
        }
    )


def make_results(scale):
    metrics = {"score": {"value": 1.0, "step": 0}}
    return [scale], [scale], {"one": 1, "two": 2}, metrics, "<html>", "kept in memory"


def save_one():
    return [3]


def run_small_pipeline(catalog, *, tracked):
    outputs = ["numbers", "optional", "studies", "page", "passing"]
    outputs.insert(3, "scores" if tracked else "unsaved")
    small = pipeline([node(make_results, "params:scale", outputs, name="make")])
    catalog["params:scale"] = 2
    manager = _create_hook_manager()
    manager.register(LineageHook())
    groups = {"group": pipeline([*small.nodes, node(save_one, None, "x", name="x")])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ncm_kedro.hooks.pipelines", {"small": small, **groups})
        manager.hook.before_pipeline_run(run_params={}, pipeline=small, catalog=catalog)
    SequentialRunner().run(small, catalog, hook_manager=manager)
    return catalog.load("lineage")


@pytest.fixture
def tracking(track, tmp_path):
    with track(tmp_path):
        yield


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_each_saved_data_set_gets_the_run_that_made_it(catalog, tracking, tmp_path):
    with mlflow.start_run(run_name="a run") as run:
        records = run_small_pipeline(catalog, tracked=True)
    assert set(records) == {"numbers", "optional", "studies/one", "studies/two", "page"}
    assert {record.run_id for record in records.values()} == {run.info.run_id}
    record = records["studies/two"]
    assert (record.node, record.pipeline) == ("make", "small")
    assert (record.run_name, record.experiment) == ("a run", "test")
    tags = mlflow.get_run(run.info.run_id).data.tags
    assert tags["page.page"] == "pages/page.html"
    assert "`pages/page.html`" in tags["mlflow.note.content"]
    assert tags["git_commit"] == record.git_commit
    assert (tmp_path / "artifacts" / run.info.run_id / "artifacts/pages/page.html").is_file()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_later_run_takes_over_only_what_it_saves(catalog, tracking):
    with mlflow.start_run():
        first = run_small_pipeline(catalog, tracked=True)["numbers"]
    part = pipeline([node(save_one, None, "optional", name="again")])
    manager = _create_hook_manager()
    manager.register(LineageHook())
    with mlflow.start_run() as run:
        manager.hook.before_pipeline_run(run_params={}, pipeline=part, catalog=catalog)
        SequentialRunner().run(part, catalog, hook_manager=manager)
    records = catalog.load("lineage")
    assert records["numbers"] == first
    assert records["optional"].run_id == run.info.run_id
    assert records["optional"].pipeline == "not registered"


def test_without_mlflow_the_run_is_recorded_as_untracked(catalog):
    catalog["page"] = DataCatalog.from_config(
        {"page": {"type": "text.TextDataset", "filepath": "unused.html"}}
    ).get("page")
    catalog["page"].save = lambda _: None
    records = run_small_pipeline(catalog, tracked=False)
    assert records["numbers"].run_id is None
    assert "unsaved" not in records


@pytest.fixture(scope="module")
def registered():
    bootstrap_project(PROJECT)


def make_catalog(folder, kinds):
    datasets = {
        name: AbstractDataset.from_config(name, {"type": kind, "filepath": str(folder / name)})
        for name, kind in kinds.items()
    }
    return DataCatalog(datasets)


def check(names, catalog, runner=None):
    run_params = {"pipeline_names": names, "runner": str(runner)}
    PrerequisiteHook().before_pipeline_run(run_params, pipelines[names[0]], catalog)


@pytest.mark.usefixtures("registered")
def test_what_is_missing_and_what_makes_it_is_named_in_the_order_of_the_road(tmp_path):
    names = ("sem_manifest", "sem_crops", "sem_crop_report")
    with pytest.raises(StoreError) as caught:
        check(["tune_train"], make_catalog(tmp_path, dict.fromkeys(names, PARQUET)))
    assert caught.value.where == "tune_train"
    assert "sem_crop_report, sem_crops, sem_manifest" in caught.value.found
    assert "`kedro run --pipelines sem_ingest,crop_augment` first" in caught.value.action


@pytest.mark.usefixtures("registered")
def test_a_run_that_starts_behind_what_it_needs_is_told_where_to_begin(tmp_path):
    """The advice works: from there on nothing is missing."""
    saved = ("sem_frames", "sem_crops", "sem_manifest", "sem_best_settings")
    catalog = make_catalog(tmp_path, dict.fromkeys(saved, PARQUET))
    catalog["sem_crop_set"] = MemoryDataset()
    for name in saved:
        (tmp_path / name).write_bytes(b"")
    run_params = {"pipeline_names": ["tune_train"]}
    part = pipelines["tune_train"].from_nodes("train_sem_classifier")
    with pytest.raises(StoreError) as caught:
        PrerequisiteHook().before_pipeline_run(run_params, part, catalog)
    begin = re.fullmatch(r"set `--from-nodes (.+)`", caught.value.action)[1].split(",")
    assert begin == ["join_sem_crops"]
    whole = pipelines["tune_train"].from_nodes(*begin)
    PrerequisiteHook().before_pipeline_run(run_params, whole, catalog)
    (tmp_path / "sem_frames").unlink()
    with pytest.raises(StoreError, match="sem_ingest"):
        PrerequisiteHook().before_pipeline_run(run_params, part, catalog)


@pytest.mark.usefixtures("registered")
def test_what_is_there_is_not_asked_for(tmp_path):
    catalog = make_catalog(tmp_path, {"sem_manifest": PARQUET})
    with pytest.raises(StoreError, match="sem_ingest"):
        check(["crop_augment"], catalog)
    (tmp_path / "sem_manifest").write_bytes(b"")
    check(["crop_augment"], catalog)


@pytest.mark.usefixtures("registered")
def test_raw_data_and_what_may_be_missing_are_not_asked_for(tmp_path):
    folder = {"raw_sem_frames": "ncm_kedro.datasets.frames.raw.RawFrameFolder"}
    check(["sem_ingest"], make_catalog(tmp_path, folder))
    report = {"type": "json.JSONDataset", "filepath": str(tmp_path / "none.json")}
    optional = AbstractDataset.from_config(
        "x", {"type": "ncm_kedro.datasets.wrappers.OptionalDataset", "dataset": report}
    )
    check(["sem_report"], DataCatalog({"sem_transfer_report": optional}))
    plain = AbstractDataset.from_config("x", report)
    with pytest.raises(StoreError, match="sem_transfer"):
        check(["sem_report"], DataCatalog({"sem_transfer_report": plain}))


@pytest.mark.usefixtures("registered")
def test_makers_are_single_pipelines():
    producers = list_producers()
    assert producers["sem_crops"] == "crop_augment"
    assert producers["particle_attributes"] == "particle_features"
    assert producers["additive_report"] == "evaluate_additives"
    assert "raw_sem_frames" not in producers


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("runner", [ParallelRunner, ThreadRunner])
def test_a_runner_that_would_lose_lineage_is_refused(runner):
    with pytest.raises(SettingsError, match="leave --runner out"):
        check(["sem_ingest"], DataCatalog(), runner())
    check(["sem_ingest"], DataCatalog(), SequentialRunner())
    check(["sem_ingest"], DataCatalog())


OMEGACONF = "ignore:register_new_resolver:UserWarning"


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Run a session in a project with nothing but globals; return what it asks for."""
    for environment in ("base", "local"):
        (tmp_path / "conf" / environment).mkdir(parents=True)
    (tmp_path / "conf" / "base" / "globals.yml").write_text("sem_additive_root: new\n")
    seen = []
    monkeypatch.setattr(KedroSession, "run", lambda _, **options: seen.append(options))

    def ask(names):
        session = NcmSession.create(tmp_path, save_on_close=False)
        session.run(pipeline_names=names, tags=("sem",))
        options = seen.pop()
        assert options["tags"] == ("sem",)
        return options["pipeline_names"]

    return ask


@pytest.mark.filterwarnings(OMEGACONF)
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("file", ["811__FEC/a.JPG", "frames.csv"])
def test_new_electrodes_are_part_of_a_run_where_there_are_any(asked, tmp_path, file):
    (tmp_path / "new" / "811__FEC").mkdir(parents=True)
    (tmp_path / "new" / file).touch()
    assert asked(["sem"]) == ["sem"]
    assert asked(None) == ["__default__"]


@pytest.mark.filterwarnings(OMEGACONF)
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("exists", [False, True])
def test_without_any_the_run_does_without_and_says_what_to_put_where(
    asked, tmp_path, caplog, exists
):
    if exists:
        (tmp_path / "new" / "811__FEC").mkdir(parents=True)
        (tmp_path / "new" / ".DS_Store").touch()
    additives = {node.name for node in pipelines["evaluate_additives"].nodes}
    with caplog.at_level(logging.WARNING):
        for name in ("tomo", "evaluate_additives", "demo"):
            assert asked([name]) == [name]
        assert not caplog.messages
        for names in (["sem"], []):
            left = [node.name for name in asked(names) for node in pipelines[name].nodes]
            whole = {node.name for node in pipelines[(names or ["__default__"])[0]].nodes}
            assert set(left) == whole - additives
    assert "new/<composition>_<state>__<additive>/" in caplog.text


@pytest.mark.usefixtures("registered")
def test_a_run_for_both_kinds_of_data_names_the_kind_that_is_missing(tmp_path):
    kinds = {
        "raw_sem_frames": "ncm_kedro.datasets.frames.raw.RawFrameFolder",
        "raw_tomograms": "ncm_kedro.datasets.tomograms.raw.RawTomogramFolder",
    }
    with pytest.raises(StoreError) as caught:
        check(["__default__"], make_catalog(tmp_path, kinds))
    assert str(tmp_path / "raw_sem_frames") in caught.value.action
    (tmp_path / "raw_sem_frames" / "811").mkdir(parents=True)
    with pytest.raises(StoreError, match="one kind alone") as caught:
        check(["__default__"], make_catalog(tmp_path, kinds))
    assert str(tmp_path / "raw_sem_frames") not in caught.value.action
    assert str(tmp_path / "raw_tomograms") in caught.value.action


def test_volumes_from_projections_stand_in_for_raw_tomograms(tmp_path):
    kinds = {
        "raw_sem_frames": "ncm_kedro.datasets.frames.raw.RawFrameFolder",
        "raw_tomograms": "ncm_kedro.datasets.tomograms.raw.RawTomogramFolder",
        "holo_tomograms": "ncm_kedro.datasets.tomograms.raw.RawTomogramFolder",
    }
    (tmp_path / "raw_sem_frames" / "811").mkdir(parents=True)
    (tmp_path / "raw_tomograms").mkdir()
    (tmp_path / "raw_tomograms" / ".gitkeep").touch()
    with pytest.raises(StoreError, match="one kind alone"):
        check(["__default__"], make_catalog(tmp_path, kinds))
    (tmp_path / "holo_tomograms" / "scan.ome.zarr").mkdir(parents=True)
    check(["__default__"], make_catalog(tmp_path, kinds))


def test_an_error_to_act_on_is_written_without_a_traceback(capsys):
    known = SettingsError("a.yml", found="x", expected="y", action="z")
    for error, shown in ((known, False), (ValueError("a fault"), True)):
        try:
            raise RuntimeError("outer") from error
        except RuntimeError as outer:
            report_error(type(outer), outer, outer.__traceback__)
        written = capsys.readouterr().err
        assert str(error) in written
        assert ("Traceback" in written) == shown


@pytest.mark.parametrize(
    ("error", "logged"),
    [(StoreError("a", found="b", expected="c", action="d"), False), (KeyError("bug"), True)],
)
def test_the_message_of_a_node_s_error_is_not_written_twice(error, logged):
    records: list[logging.LogRecord] = []
    log = logging.getLogger("kedro.pipeline.node")
    listener = logging.Handler()
    listener.emit = records.append

    def fail(_):
        raise error

    log.addFilter(is_new_to_log)
    log.addHandler(listener)
    try:
        with pytest.raises(type(error)):
            node(fail, "x", "y").run({"x": 1})
    finally:
        log.removeFilter(is_new_to_log)
        log.removeHandler(listener)
    assert [record.levelname for record in records] == (["ERROR"] if logged else [])
