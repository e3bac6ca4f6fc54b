"""The pipeline end to end, as a user runs it: data, registry, lineage, serving, resuming."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from browser import Browser
from conftest import PROJECT, run_kedro
from ncm_kedro.contracts.sem import SemCrops, SemFramePredictions, SemManifest
from ncm_kedro.pipeline_registry import register_pipelines

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
MISSION = (
    "sem_ingest", "crop_augment", "tune_train", "evaluate_additives", "tomo_segment",
    "particle_features", "damage_attribution",
)  # fmt: skip
NAME = "test-ncm-sem-classifier"


@pytest.fixture(scope="module")
def finished(project):
    """The project after `kedro run --env test --pipelines demo`."""
    result = run_kedro(project, "run", "--env", "test", "--pipelines", "demo")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return project


@pytest.fixture
def client(finished):
    return MlflowClient(f"sqlite:///{finished}/mlruns/mlflow.db")


def test_tables_satisfy_their_contracts(finished):
    data = finished / "data" / "test"
    SemManifest.validate(pd.read_parquet(data / "03_primary" / "sem_manifest.parquet"))
    SemCrops.validate(pd.read_parquet(data / "05_model_input" / "sem_crops.parquet"))
    SemFramePredictions.validate(
        pd.read_parquet(data / "07_model_output" / "sem_frame_predictions.parquet")
    )
    report = json.loads((data / "08_reporting" / "sem" / "additive_report.json").read_text("utf-8"))
    assert report["trained_regions"]["problem"] is None
    assert report["trained_regions"]["pairs_compared"] > 0
    assert (data / "08_reporting" / "sem" / "report.html").stat().st_size > 100_000
    record = json.loads((data / "lineage" / "sem_test_report.json").read_text(encoding="utf-8"))
    assert record["pipeline"] == "tune_train"
    page = (data / "08_reporting" / "sem" / "report.html").read_text(encoding="utf-8")
    assert f"[run {record['run_id'][:8]}, tune_train," in page
    assert "kedro run --pipelines" not in page


def test_the_run_is_tracked_with_parameters_one_by_one_and_data_hashes(client):
    experiment = client.get_experiment_by_name("ncm_kedro")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    trials = [run for run in runs if run.data.tags.get("purpose") == "search trial"]
    studies = {run.data.tags["study"] for run in runs if run.data.tags.get("purpose") == "study"}
    assert len(parents) == 1
    assert sorted(run.info.run_name[:8] for run in trials) == ["trial 0:", "trial 1:"]
    assert studies == {"grey_levels", "normalisation"}
    run = parents[0]
    assert run.data.params["tune_train.train.model"] == "test_resnet"
    assert run.data.params["crop_augment.split.by"] == "mosaic"
    assert "git_commit" in run.data.tags
    assert run.data.tags["page.sem_report"] == "sem_report/report.html"
    assert {run.info.run_id} == {trial.data.tags["mlflow.parentRunId"] for trial in trials}
    names = set(run.data.metrics)
    assert "test.network.class.balanced_accuracy" in names
    assert any(name.startswith("training.") for name in names)


def test_a_candidate_is_registered_with_its_reasons(client):
    version = client.get_model_version_by_alias(NAME, "candidate")
    assert version.tags["promotion_reasons"]
    promoted = version.tags["promoted"] == "true"
    assert ("production" in client.get_registered_model(NAME).aliases) == promoted


def test_part_of_the_road_hashes_what_it_starts_from(finished, client):
    result = run_kedro(finished, "run", "--env", "test", "--pipelines", "crop_augment")
    assert result.returncode == 0, result.stderr[-2000:]
    experiment = client.get_experiment_by_name("ncm_kedro")
    run = client.search_runs(
        [experiment.experiment_id], filter_string="attributes.run_name = 'crop_augment'"
    )[0]
    assert len(run.data.params["data_hash.sem_manifest"]) == 64


def test_a_second_run_decodes_nothing_and_keeps_the_split(finished):
    crops = finished / "data" / "test" / "05_model_input" / "sem_crops.parquet"
    before = pd.read_parquet(crops)
    result = run_kedro(finished, "run", "--env", "test", "--pipelines", "sem_ingest,crop_augment")
    assert "0 to decode" in result.stdout
    pd.testing.assert_frame_equal(pd.read_parquet(crops), before)


def test_the_model_answers_over_http(finished):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    binaries = Path(sys.executable).parent
    server = subprocess.Popen(
        [
            *(binaries / "mlflow", "models", "serve", "-m", f"models:/{NAME}@candidate"),
            *("--env-manager", "local", "-p", str(port)),
        ],
        cwd=finished,
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": f"sqlite:///{finished}/mlruns/mlflow.db",
            "PATH": f"{binaries}:{os.environ['PATH']}",
        },
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    frame = next((finished / "data" / "test" / "01_raw" / "sem_unseen").rglob("*.jpg"))
    rows = [{"image": base64.b64encode(frame.read_bytes()).decode()}]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps({"dataframe_records": rows}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        answer = json.loads(_ask(request))["predictions"][0]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
    total = sum(value for name, value in answer.items() if name.startswith("p_"))
    assert total == pytest.approx(1.0)
    assert answer["composition"] in {"333", "811"}


def _ask(request: urllib.request.Request, patience_s: float = 90.0) -> str:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return response.read().decode()
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


@pytest.mark.parametrize("name", ["sem", "tomo", "particles_and_damage"])
def test_a_notebook_opens_and_plots_what_was_made(finished, name):
    notebook = json.loads((finished / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in cells), "outputs are not stored"
    code = "\n\n".join("".join(cell["source"]) for cell in cells)
    plots = "\n\nassert len(plt.get_fignums()) >= 1"
    result = subprocess.run(
        [sys.executable, "-c", code + plots],
        cwd=finished / "notebooks",
        env={**os.environ, "KEDRO_ENV": "test", "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]


def test_every_snippet_of_the_gallery_and_of_the_how_to_runs(finished):
    docs = PROJECT / "docs"
    texts = [(docs / name).read_text("utf-8") for name in ("howto/notebooks.md", "gallery.md")]
    opening, *snippets = [
        block for text in texts for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ]
    assert len(snippets) > 7
    assert 'env="demo"' in opening
    code = opening.replace('env="demo"', 'env="test"')
    for number, snippet in enumerate(snippets):
        code += f"\nfigure = None\n{snippet}\nif figure: figure.savefig('{number}.pdf')\n"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=finished, env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert len(list(finished.glob("*.pdf"))) == len(snippets) - 1


def test_the_static_lineage_shows_every_pipeline_of_the_mission_in_a_browser(finished, tmp_path):
    built = run_kedro(finished, "viz", "build", "--include-previews", KEDRO_ENV="test")
    assert built.returncode == 0, built.stderr[-3000:]
    nodes = [json.loads(path.read_text()) for path in (finished / "build/api/nodes").iterdir()]
    previewed = [node for node in nodes if node.get("preview")]
    shown = [node["filepath"] for node in previewed if node["filepath"]]
    for path in (
        "02_intermediate/sem_frames.zarr",
        "05_model_input/sem_crops.parquet",
        "02_intermediate/sem_assessed.parquet",
        "08_reporting/figures/sem_audit",
        "08_reporting/metrics/test.json",
        "08_reporting/sem/report.html",
    ):
        assert any(name.endswith(path) for name in shown), path
    cards = [node["preview"] for node in previewed if node["preview_type"] == "HTMLPreview"]
    assert any(f"{NAME}, version" in card and "Trained on" in card for card in cards)
    main = json.loads((finished / "build/api/main").read_text())
    assert {"raw", "figures"} <= set(main["layers"]), "layers in a cycle: kedro-viz shows none"
    of_mission = [node for node in main["nodes"] if set(node["pipelines"]) & set(MISSION)]
    assert all(node["layer"] for node in of_mission if node["type"] == "data")
    assert all(node["tags"] for node in of_mission if node["type"] == "task")
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(finished / "build"))
    )
    with Browser(tmp_path) as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in MISSION:
            browser.send("Page.navigate", url=f"http://127.0.0.1:{server.server_port}/?pid={name}")
            labels = (
                "[...document.querySelectorAll('.pipeline-node__text')].map(e => e.textContent)"
            )
            browser.wait_for(f"{labels}.length > 3")
            nodes = register_pipelines()[name].nodes
            names = {node.namespace or node.name for node in nodes}  # a namespace is folded
            assert names <= set(browser.evaluate(labels)), name
    server.shutdown()


def test_missing_data_says_what_to_put_where(project):
    result = run_kedro(project, "run", "--pipelines", "sem_ingest")
    assert result.returncode != 0
    assert "data/01_raw/sem" in result.stderr
    assert "What to do" in result.stderr
