"""Fitting the network, epoch by epoch, so that a run may be killed at any moment."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ncm_kedro.params.tomo_train import TomoTrainParams
from ncm_kedro.tomo.detector.network import build_network
from ncm_kedro.tomo.training.crops import Batch, CropSource, cut_square, draw_batch, stack_batch
from ncm_kedro.tomo.training.sections import LabelledSection
from ncm_kedro.tomo.training.steps import Trainer, compute_learning_rate, read_state, write_state

STATE_FILE = "state.npz"

_AHEAD = 3  # batches that are prepared while the network computes
_NOT_FITTED_BY = {"render_workers", "threshold_images", "evaluation_images"}
_log = logging.getLogger(__name__)

History = list[dict[str, float]]
EpochReport = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class FittedNetwork:
    """What training returned.

    Attributes
    ----------
    model
        StarDist2D in float32 with the weights that are best on the held-out crops.
    history
        A row per epoch: losses, learning rate, seconds.
    best_epoch
        Epoch, from 1, that the weights are of.
    """

    model: Any
    history: History
    best_epoch: int


def fit_network(
    training: list[CropSource],
    validation: list[CropSource],
    params: TomoTrainParams,
    work: Path,
    *,
    report: EpochReport | None = None,
) -> FittedNetwork:
    """Train the network, or go on where a killed run stopped.

    A run that was killed and taken up again gives the same as an unbroken one up to the rounding
    of parallel sums: crops depend on the seed and the step, and the state after each epoch is
    kept whole.

    Parameters
    ----------
    training, validation
        Where crops come from.
    params
        Settings.
    work
        Folder of the state after the last epoch; the state of other settings in it is replaced.
    report
        Called after each epoch with its number, from 1, and its row of the history.

    Returns
    -------
    FittedNetwork
        The best weights in float32, and the history.
    """
    work.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(params, half_precision=resolve_half_precision(params))
    held_out = _cut_validation(validation, params)
    history: History = []
    best = trainer.mean_weights()
    stored = read_state(work / STATE_FILE)
    if stored is not None and stored[1]["settings"] == _identify(params):
        state, record = stored
        history = record["history"]
        best = [state.pop(name) for name in sorted(state) if name.startswith("best_")]  # type: ignore[misc]
        trainer.import_state(state)
        _log.info("training goes on after epoch %d of %d", len(history), params.epochs)
    with _prepare_batches(training, params, len(history) * params.steps_per_epoch) as batches:
        for epoch in range(len(history), params.epochs):
            row = _run_epoch(trainer, batches, held_out, params, epoch)
            if not history or row["val_loss"] < min(past["val_loss"] for past in history):
                best = trainer.mean_weights()
            history.append(row)
            kept = {f"best_{number:03d}": array for number, array in enumerate(best)}
            write_state(work / STATE_FILE, {**trainer.export_state(), **kept},
                        {"settings": _identify(params), "history": history})  # fmt: skip
            if report is not None:
                report(epoch + 1, row)
    model = build_network(params.network)
    model.keras_model.set_weights(best)
    losses = [row["val_loss"] for row in history]
    return FittedNetwork(model, history, int(np.argmin(losses)) + 1)


def resolve_half_precision(params: TomoTrainParams) -> bool:
    """Decide on bfloat16: as told, else where this processor multiplies it in hardware."""
    if params.precision != "auto":
        return params.precision == "bf16"
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and "amx_bf16" in flags.read_text(encoding="utf-8", errors="replace")


def _run_epoch(
    trainer: Trainer,
    batches: Iterator[Batch],
    held_out: list[Batch],
    params: TomoTrainParams,
    epoch: int,
) -> dict[str, float]:
    started = time.monotonic()
    first = epoch * params.steps_per_epoch
    losses = np.array(
        [trainer.take_step(next(batches), first + n) for n in range(params.steps_per_epoch)]
    )
    prob, dist = losses.mean(axis=0)
    val_prob, val_dist = trainer.measure_loss(held_out)
    row = {
        "loss": float(prob + params.dist_weight * dist),
        "prob_loss": float(prob),
        "dist_loss": float(dist),
        "val_loss": val_prob + params.dist_weight * val_dist,
        "val_prob_loss": val_prob,
        "val_dist_loss": val_dist,
        "learning_rate": compute_learning_rate(params, first + params.steps_per_epoch - 1),
        "seconds": time.monotonic() - started,
    }
    _log.info("epoch %d of %d: loss %.4f, held out %.4f (%.4f + %.1f x %.4f), %.0f s", epoch + 1,
              params.epochs, row["loss"], row["val_loss"], val_prob, params.dist_weight, val_dist,
              row["seconds"])  # fmt: skip
    return row


@contextmanager
def _prepare_batches(
    sources: list[CropSource], params: TomoTrainParams, first: int
) -> Iterator[Iterator[Batch]]:
    """Draw batches in a thread, a few ahead; their order is that of the steps."""
    with ThreadPoolExecutor(1, thread_name_prefix="crops") as pool:
        ahead = [
            pool.submit(draw_batch, sources, params, step)
            for step in range(first, min(first + _AHEAD, params.steps))
        ]

        def take() -> Iterator[Batch]:
            for step in range(first + _AHEAD, params.steps + _AHEAD):
                ready = ahead.pop(0).result()
                if step < params.steps:
                    ahead.append(pool.submit(draw_batch, sources, params, step))
                yield ready

        try:
            yield take()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _cut_validation(sources: list[CropSource], params: TomoTrainParams) -> list[Batch]:
    """Cut the middle of held-out images, the same at every epoch, into batches."""
    total = sum(source.share for source in sources)
    crops: list[LabelledSection] = []
    for source in sources:
        wanted = max(1, round(params.validation_crops * source.share / total))
        for index in source.chosen[:wanted]:
            section = source.sections.load(int(index))
            height, width = section.image_yx.shape
            edge = min(height, width, params.patch_px)
            y, x = (height - edge) // 2, (width - edge) // 2
            crops.append(cut_square(section, y, x, edge, params.patch_px))
    size = params.batch_size
    return [stack_batch(crops[i : i + size], params) for i in range(0, len(crops), size)]


def _identify(params: TomoTrainParams) -> str:
    """Identity of the settings that the fit depends on."""
    text = params.model_dump_json(exclude=_NOT_FITTED_BY)
    return hashlib.sha256(text.encode()).hexdigest()
