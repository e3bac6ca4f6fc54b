"""Fitting the network, epoch by epoch, so that a run may be interrupted at any moment."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.atomic_write import write_model_file
from ncm_kedro.errors import ModelError
from ncm_kedro.params.tomo_train import TomoTrainParams
from ncm_kedro.tomo.detector.network import (
    build_network,
    draw_weights,
    import_stardist,
    load_network,
    with_float_outputs,
)
from ncm_kedro.tomo.training.crops import (
    Batch,
    CropSource,
    LabelledSection,
    cut_square,
    draw_batch,
    stack_batch,
)

_BACKGROUND_WEIGHT = 1e-4  # keeps distances in the background small, as StarDist does
_WEIGHTS_STREAM = 2


class Trainer:
    """The network, its optimiser and the running mean of its weights.

    Parameters
    ----------
    half_precision
        Whether to compute in bfloat16.
    """

    def __init__(self, params: TomoTrainParams, *, half_precision: bool) -> None:
        keras, _ = import_stardist()
        import tensorflow as tf

        self._params = params
        self.model = build_network(params.network, half_precision=half_precision)
        if params.start_from is not None:
            start = load_network(params.start_from, n_rays=params.network.n_rays)
            self.model.keras_model.set_weights(start.keras_model.get_weights())
        else:
            draw_weights(self.model, np.random.default_rng([params.seed, _WEIGHTS_STREAM]))
        self._network = with_float_outputs(self.model)
        self._variables = self._network.trainable_variables
        self._optimiser = keras.optimizers.Adam(params.learning_rate)
        self._optimiser.build(self._variables)
        self._mean = [tf.Variable(variable.value, trainable=False) for variable in self._variables]
        self._step = tf.function(self._take_step, reduce_retracing=True)
        self._loss = tf.function(self._compute_losses, reduce_retracing=True)

    def take_step(self, batch: Batch, step: int) -> tuple[float, float]:
        """Take one step; return its probability and distance losses."""
        import tensorflow as tf

        rate = compute_learning_rate(self._params, step)
        decay = min(self._params.average_decay, (1 + step) / (10 + step))
        prob, dist = self._step(
            batch.images_nyxc, batch.prob_nyxc, batch.dist_nyxk, tf.constant(rate, tf.float32),
            tf.constant(decay, tf.float32),
        )  # fmt: skip
        return float(prob), float(dist)

    def measure_loss(self, batches: list[Batch]) -> tuple[float, float]:
        """Return the mean losses of the averaged weights on batches."""
        kept = self._network.get_weights()
        self._network.set_weights(self.mean_weights())
        try:
            losses = [
                [float(loss) for loss in self._loss(b.images_nyxc, b.prob_nyxc, b.dist_nyxk)]
                for b in batches
            ]
        finally:
            self._network.set_weights(kept)
        prob, dist = np.mean(losses, axis=0)
        return float(prob), float(dist)

    def mean_weights(self) -> list[NDArray[np.float32]]:
        """Return the running mean of the weights, in Keras's order."""
        return [np.asarray(weight) for weight in self._mean]

    def export_state(self) -> dict[str, NDArray[np.generic]]:
        """Return everything that the next step depends on."""
        groups = {
            "weight": self._network.get_weights(),
            "mean": self.mean_weights(),
            "optimiser": [np.asarray(variable.value) for variable in self._optimiser.variables],
        }
        return {
            f"{group}_{number:03d}": array
            for group, arrays in groups.items()
            for number, array in enumerate(arrays)
        }

    def import_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Take up what `export_state` returned."""

        def pick(group: str) -> list[NDArray[np.generic]]:
            return [state[name] for name in sorted(state) if name.startswith(f"{group}_")]

        self._network.set_weights(pick("weight"))
        for variable, value in zip(self._mean, pick("mean"), strict=True):
            variable.assign(value)
        for variable, value in zip(self._optimiser.variables, pick("optimiser"), strict=True):
            variable.assign(value)

    def _compute_losses(self, images: Any, prob: Any, dist: Any) -> tuple[Any, Any]:
        """Cross-entropy of the probability; mean absolute error weighted by it."""
        import tensorflow as tf

        found_prob, found_dist = self._network(images, training=True)
        tiny = 1e-7
        found_prob = tf.clip_by_value(found_prob, tiny, 1 - tiny)
        entropy = -tf.reduce_mean(
            prob * tf.math.log(found_prob) + (1 - prob) * tf.math.log(1 - found_prob)
        )
        error = tf.reduce_mean(prob * tf.abs(dist - found_dist))
        background = tf.reduce_mean((1 - prob) * tf.abs(found_dist))
        return entropy, error + _BACKGROUND_WEIGHT * background

    def _take_step(self, images: Any, prob: Any, dist: Any, rate: Any, decay: Any) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            entropy, error = self._compute_losses(images, prob, dist)
            loss = entropy + self._params.dist_weight * error
        gradients = tape.gradient(loss, [variable.value for variable in self._variables])
        self._optimiser.learning_rate.assign(rate)
        self._optimiser.apply(gradients, self._variables)
        for mean, variable in zip(self._mean, self._variables, strict=True):
            mean.assign(mean * decay + variable.value * (1 - decay))
        return entropy, error


def compute_learning_rate(params: TomoTrainParams, step: int) -> float:
    """Return the step size: a linear rise, then half a cosine (Loshchilov & Hutter 2017)."""
    if step < params.warmup_steps:
        return params.learning_rate * (step + 1) / params.warmup_steps
    rest = max(1, params.steps - params.warmup_steps)
    share = (step - params.warmup_steps) / rest
    span = params.learning_rate - params.final_learning_rate
    return float(params.final_learning_rate + span * 0.5 * (1 + np.cos(np.pi * share)))


def write_state(path: Path, arrays: dict[str, NDArray[np.generic]], record: dict[str, Any]) -> None:
    """Write arrays and a record whole or not at all.

    Raises
    ------
    ModelError
        If the folder cannot be written to.
    """
    buffer = io.BytesIO()
    np.savez(buffer, record=np.array(json.dumps(record)), **arrays)  # type: ignore[arg-type]
    write_model_file(path, buffer.getvalue())


def read_state(path: Path) -> tuple[dict[str, NDArray[np.generic]], dict[str, Any]] | None:
    """Read what `write_state` wrote; None where there is nothing.

    Raises
    ------
    ModelError
        If the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files if name != "record"}
            return arrays, json.loads(str(stored["record"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(
            path,
            found=f"a state of training that cannot be read ({error})",
            expected="the state after an epoch",
            action="delete the file; training then starts over",
        ) from error


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
    """Train the network, or resume an interrupted run.

    A resumed run gives the same as an uninterrupted one up to the rounding
    of parallel sums: crops depend on the seed and the step, and the state after each epoch is
    kept whole.

    Parameters
    ----------
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
        _log.info("training resumes after epoch %d of %d", len(history), params.epochs)
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
    """Decide on bfloat16: as set, else where this processor multiplies it in hardware."""
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
