"""A served SEM classifier under load: clients at once against one, with malformed rows in between.

Registers a network with random weights in a temporary folder, serves it on 127.0.0.1 and prints
frames per second, waiting times and the server's memory (Linux).
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from ncm_kedro.datasets.models.classifier import RegisteredClassifierDataset
from ncm_kedro.datasets.models.versions import Release
from ncm_kedro.learning.evaluation.promotion import Promotion
from ncm_kedro.learning.models.classifier import ClassifierSettings, SemClassifier
from ncm_kedro.learning.models.predict import export_weights
from ncm_kedro.learning.training.fitting import build_network_for
from ncm_kedro.params.tune_train import TrainParams
from ncm_kedro.sem.inference.classify import encode_png

PIXEL_UM, CLASSES = 0.27, tuple(f"class{number}" for number in range(12))


def register(folder: Path, model: str, image: bytes) -> None:
    """Register a network with random weights and put it into production."""
    mlflow.create_experiment("load", artifact_location=str(folder / "artifacts"))
    mlflow.set_experiment("load")
    network = build_network_for(TrainParams(model=model, pretrained=False), len(CLASSES))
    settings = ClassifierSettings(
        model=model,
        classes=CLASSES,
        compositions=CLASSES,
        states=("pristine",) * len(CLASSES),
        crop_px=300,
        pixel_size_um=PIXEL_UM,
        input_px=224,
    )
    classifier = SemClassifier(settings, export_weights(network))
    example = pd.DataFrame({"image": [image]})
    RegisteredClassifierDataset(model_name="load").save(
        Release(classifier, Promotion(True, ("for this benchmark",)), {}, {}, example)
    )


def ask(port: int, rows: list[dict[str, Any]]) -> tuple[float, list[dict[str, Any]]]:
    """Return the seconds that a request took, and what came back."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps({"dataframe_records": rows}).encode(),
        {"Content-Type": "application/json"},
    )
    started = time.monotonic()
    with urllib.request.urlopen(request, timeout=600) as response:  # noqa: S310
        found = json.loads(response.read())["predictions"]
    return time.monotonic() - started, found


def measure(port: int, clients: int, requests: int, good: dict[str, Any]) -> None:
    """Let clients ask at once, and print how they fared."""
    waits: dict[bool, list[float]] = {True: [], False: []}

    def run() -> None:
        for _ in range(requests):
            for row in (good, {"image": "none", "pixel_size_um": -1}):
                seconds, found = ask(port, [row])
                waits[found[0]["problem"] is None].append(seconds)

    started = time.monotonic()
    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = clients * requests / (time.monotonic() - started)
    print(
        f"{clients} clients: {rate:.2f} frames/s; median wait {np.median(waits[True]):.2f} s for a "
        f"frame, {np.median(waits[False]):.3f} s for a malformed row; answered {len(waits[True])} "
        f"and {len(waits[False])} of {clients * requests} each"
    )


def measure_memory_gb(group: int) -> float:
    """Return the resident memory of a process group."""
    listed = subprocess.run(["ps", "-eo", "pgid,rss"], capture_output=True, text=True, check=True)  # noqa: S607
    rows = [line.split() for line in listed.stdout.splitlines()[1:]]
    return sum(int(kilobytes) for owner, kilobytes in rows if int(owner) == group) / 1e6


def main() -> None:
    """Register, serve, ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=6)
    args = parser.parse_args()
    image_yx = np.random.default_rng(0).integers(30, 220, (896, 1280)).astype(np.uint8)
    image = encode_png(image_yx)
    good = {"image": base64.b64encode(image).decode(), "pixel_size_um": PIXEL_UM}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        uri = f"sqlite:///{name}/mlflow.db"
        mlflow.set_tracking_uri(uri)
        register(Path(name), args.model, image)
        mlflow_command = str(Path(sys.executable).parent / "mlflow")
        server = subprocess.Popen(  # noqa: S603
            [mlflow_command, "models", "serve", "-m", "models:/load@production",
             "--env-manager", "local", "-p", str(port)],
            env={**os.environ, "MLFLOW_TRACKING_URI": uri}, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            for _ in range(120):
                try:
                    ask(port, [good])
                    break
                except OSError:
                    time.sleep(1.0)
            for clients in (1, args.clients):
                measure(port, clients, args.requests, good)
                print(f"  memory of the server {measure_memory_gb(server.pid):.2f} GB")
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()


if __name__ == "__main__":
    main()
