import logging
from types import SimpleNamespace

from kedro.config import MissingConfigException
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline
from kedro_datasets.text import TextDataset

from ncm_kedro.progress import ProgressHook, logger


class NothingMeasured(dict):
    def __missing__(self, key):
        raise MissingConfigException(key)


def run_through(measured, monkeypatch, caplog):
    """Run nodes that take twice as long as measured; return what is reported before each."""
    monkeypatch.setattr(logger, "disabled", False)
    clock = iter([0.0, 0.0, 1200.0])
    monkeypatch.setattr("ncm_kedro.progress.time.monotonic", lambda: next(clock))
    hook = ProgressHook()
    nodes = pipeline([node(len, "a", "b", name="long_one"), node(abs, "b", "c", name="short_one")])
    hook.after_context_created(SimpleNamespace(config_loader=measured))
    hook.before_pipeline_run(nodes)
    with caplog.at_level(logging.INFO, logger.name):
        for each in nodes.nodes:
            hook.before_node_run(each)
            hook.after_node_run(each)
    return caplog.messages


def test_the_time_left_follows_the_pace_of_the_machine(monkeypatch, caplog):
    first, second = run_through(
        NothingMeasured(progress={"long_one": 600, "short_one": 60}), monkeypatch, caplog
    )
    assert first == "2 nodes to go, about 11 min left: long one"
    assert second == "1 node to go, about 2 min left: short one"


def test_no_time_is_promised_where_nothing_was_measured(monkeypatch, caplog):
    found = run_through(NothingMeasured(), monkeypatch, caplog)
    assert found == ["2 nodes to go: long one", "1 node to go: short one"]


def test_a_run_ends_with_the_pages_that_it_wrote(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logger, "disabled", False)
    monkeypatch.chdir(tmp_path)
    steps = pipeline([node(len, "a", "page"), node(abs, "b", "notes"), node(min, "c", "table")])
    texts = {
        name: TextDataset(filepath=str(tmp_path / "reports" / file))
        for name, file in (("page", "report.html"), ("notes", "notes.txt"))
    }
    for text in texts.values():
        text.save("done")
    with caplog.at_level(logging.INFO, logger.name):
        ProgressHook().after_pipeline_run(steps, DataCatalog({**texts, "table": MemoryDataset()}))
    assert caplog.messages == ["written: reports/report.html"]
