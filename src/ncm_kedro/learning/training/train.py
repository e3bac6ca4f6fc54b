"""Training of a classifier: one function, resumable, the same on CPU and GPU.

Within an epoch nothing waits for the device: loss and hits are summed there and read once.
cuDNN's convolutions are deterministic and not chosen by timing: same seed, same result goes before
speed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.errors import ModelError, SettingsError
from ncm_kedro.learning.data.crop_index import Batch
from ncm_kedro.learning.data.loader import BatchSource, choose_device, choose_precision
from ncm_kedro.learning.evaluation.metrics import count_confusion, score_confusion
from ncm_kedro.learning.models.predict import predict_outputs
from ncm_kedro.learning.training.discriminant import fit_discriminant
from ncm_kedro.learning.training.state import (
    EpochRecord,
    FitResult,
    build_average,
    build_mixup,
    build_optimiser,
    copy_start,
    fork_generators,
    freeze_layers,
    pull_to_start,
    rate_at,
    read_checkpoint,
    seed_generators,
    set_training_mode,
    write_checkpoint,
)
from ncm_kedro.params.tune_train import TrainParams

logger = logging.getLogger(__name__)

_DROPOUT_STREAM = 3
_CHEAP_WRITE_S = 1.0
_WAIT_PER_WRITE = 10.0


def fit(
    model: nn.Module,
    train_batches: BatchSource,
    validate_batches: BatchSource,
    params: TrainParams,
    *,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    checkpoint_dir: Path | None = None,
    resume: bool = True,
    replay: bool = False,
) -> FitResult:
    """Train, and return the weights that are best on validation.

    Parameters
    ----------
    model
        Network (B, 1, P, P) -> (B, K) logits; trained in place.
    train_batches, validate_batches
        Sources of batches.
    params
        Settings.
    on_epoch
        Called after every new epoch, once its checkpoint is on disk if it is due.
    checkpoint_dir
        Folder of `last.pt` (everything needed to resume), the weights of the best epoch
        (`best_<epoch>.pt`) and the curve (`epochs.json`).
    resume
        Resume from `last.pt` if it belongs to the same settings and crops.
    replay
        Call `on_epoch` for the epochs of an interrupted run too, so that a listener sees the whole
        curve.

    Raises
    ------
    ModelError
        The loss is no longer finite, or a checkpoint cannot be read or written.
    """
    if len(train_batches) == 0 or len(validate_batches) == 0:
        raise SettingsError(
            "crops",
            found=f"{len(train_batches)} training and {len(validate_batches)} validation batches",
            expected="at least one of each",
            action="give more frames, or lower the fractions of the test and validation splits",
        )
    run = _Run(model, train_batches, validate_batches, params, checkpoint_dir)
    if resume:
        run.load()
    if replay and on_epoch is not None:
        for earlier in run.history:
            on_epoch(earlier)
    with (
        fork_generators(run.device),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        while not run.is_finished:
            record = run.train_epoch()
            run.save()
            logger.info(
                "epoch %d/%d: loss %.4f, validation loss %.4f, score %.4f (best %.4f), %.0f img/s",
                record.epoch,
                params.epochs,
                record.train_loss,
                record.validation_loss,
                record.validation_score,
                record.best_score,
                record.images_per_second,
            )
            if on_epoch is not None:
                on_epoch(record)
    return run.restore_best_weights()


class _Run:
    """State of one training run."""

    def __init__(
        self,
        model: nn.Module,
        train_batches: BatchSource,
        validate_batches: BatchSource,
        params: TrainParams,
        checkpoint_dir: Path | None,
    ) -> None:
        self.params, self.folder = params, checkpoint_dir
        self.device = choose_device(params.device)
        self.dtype = choose_precision(params.precision, self.device)
        self.layout = torch.channels_last if params.channels_last else torch.contiguous_format
        self.model = cast("nn.Module", model.to(self.device, memory_format=self.layout))  # type: ignore[call-overload]
        self.forward = torch.compile(self.model) if params.compile == "always" else self.model
        self.train_batches, self.validate_batches = train_batches, validate_batches
        freeze_layers(self.model, params)
        self.fingerprint = self._digest_run()
        self.start = copy_start(self.model, params)
        self.optimiser = build_optimiser(self.model, params, self.device)
        self.steps_per_epoch = -(-len(train_batches) // params.gradient_accumulation)
        self.average = build_average(self.model, params)
        self.mixup = build_mixup(self.model, params)
        self.history: list[EpochRecord] = []
        self.best_weights: dict[str, torch.Tensor] = {}
        self.best_epoch = 0
        self.best_rank = (-math.inf, -math.inf)
        self.saved_best_epoch: int | None = None
        self.write_seconds, self.written_at = 0.0, -math.inf

    @property
    def is_finished(self) -> bool:
        """Whether the last epoch is done or patience has run out."""
        if not self.history:
            return False
        done, patience = self.history[-1].epoch, self.params.early_stop_patience
        return done >= self.params.epochs or bool(patience and done - self.best_epoch >= patience)

    @property
    def next_epoch(self) -> int:
        """Number of the next epoch; in epoch 0 the discriminant is put into the last layer."""
        if self.history:
            return self.history[-1].epoch + 1
        return 0 if self.params.last_layer == "discriminant" else 1

    def _digest_run(self) -> str:
        """Digest of settings, data and starting weights; devices and threads may change."""
        settings = self.params.model_dump(mode="json", exclude={"loader_threads", "device"})
        sources = [
            getattr(source, "fingerprint", len(source))
            for source in (self.train_batches, self.validate_batches)
        ]
        digest = hashlib.sha256(repr((settings, sources)).encode())
        for name, value in self.model.state_dict().items():
            digest.update(repr((name, tuple(value.shape))).encode())
            digest.update(np.ascontiguousarray(value.cpu().numpy()).data)
        return digest.hexdigest()

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context of the forward pass."""
        return torch.autocast(
            self.device.type, dtype=self.dtype, enabled=self.dtype is not torch.float32
        )

    def train_epoch(self) -> EpochRecord:
        """Train and validate one epoch."""
        epoch, started = self.next_epoch, time.perf_counter()
        seed_generators([self.params.seed, epoch, _DROPOUT_STREAM])
        loss, hits, count = (self._pass_over_training if epoch else self._fit_last_layer)(epoch)
        seconds = time.perf_counter() - started
        if not math.isfinite(loss):
            raise ModelError(
                f"training of {self.params.model}, epoch {epoch}",
                found=f"a loss of {loss}",
                expected="a finite loss",
                action="lower `learning_rate`, set `gradient_clip`, or use float32",
            )
        validated = self.model if self.average is None else self.average.module
        scores = score_validation(*self._predict_validation(validated, epoch))
        score = -scores["loss"] if self.params.score == "loss" else scores[self.params.score]
        rank = (score, -scores["loss"])
        if rank > self.best_rank:
            self.best_rank, self.best_epoch = rank, epoch
            self.best_weights = _copy_weights(validated)
        record = EpochRecord(
            epoch=epoch,
            train_loss=loss,
            train_accuracy=hits,
            validation_loss=scores["loss"],
            validation_accuracy=scores["accuracy"],
            validation_balanced_accuracy=scores["balanced_accuracy"],
            validation_score=rank[0],
            best_score=self.best_rank[0],
            learning_rate=float(max(group["lr"] for group in self.optimiser.param_groups)),
            seconds=time.perf_counter() - started,
            images_per_second=count / seconds,
        )
        self.history.append(record)
        return record

    def _pass_over_training(self, epoch: int) -> tuple[float, float, int]:
        params = self.params
        set_training_mode(self.model, params)
        total, hits = torch.zeros((2,), device=self.device)
        count, pending = 0, 0
        step = (epoch - 1) * self.steps_per_epoch
        n_batches = len(self.train_batches)
        batches = self.train_batches.iterate_epoch(epoch)
        progress = tqdm(batches, f"epoch {epoch}", n_batches, leave=False, disable=None)
        for number, batch in enumerate(progress, start=1):
            loss, logits = self._measure_loss(batch)
            torch.autograd.backward(loss / params.gradient_accumulation)
            pending += 1
            total += loss.detach() * len(batch.labels)
            hits += (logits.detach().argmax(1) == batch.labels).sum()
            count += len(batch.labels)
            if pending == params.gradient_accumulation or number == n_batches:
                self._step(step)
                step, pending = step + 1, 0
        return float(total) / count, float(hits) / count, count

    def _fit_last_layer(self, _: int) -> tuple[float, float, int]:
        """Put the linear discriminant of the training features into the last layer."""
        train, validate = (
            predict_outputs(
                self.model, batches, device=self.params.device, precision=self.params.precision
            )
            for batches in (self.train_batches, self.validate_batches)
        )
        found = fit_discriminant(train, validate)
        found.write_to(self.model)
        logger.info("discriminant of %d features, shrinkage %g", len(found.mean), found.shrinkage)
        if self.average is not None:
            self.average.module.load_state_dict(self.model.state_dict())
        logits = torch.from_numpy(found.predict_logits(train.features))
        scores = score_validation(logits, torch.from_numpy(train.labels))
        return scores["loss"], scores["accuracy"], len(logits)

    def _measure_loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross entropy (nats) and logits of a batch; blended by mixup or CutMix if asked for."""
        images = batch.images.to(memory_format=self.layout)
        targets, smoothing = batch.labels, self.params.label_smoothing
        if self.mixup is not None and len(images) % 2 == 0:
            images, targets = self.mixup(images.clone(), targets)  # it writes to the images
            smoothing = 0.0
        with self.autocast():
            try:
                logits = self.forward(images)
            except torch._dynamo.exc.TorchDynamoException as error:
                logger.warning("not compiled: %s", str(error).strip().splitlines()[0])
                self.forward = self.model
                logits = self.forward(images)
        return functional.cross_entropy(logits.float(), targets, label_smoothing=smoothing), logits

    def _step(self, step: int) -> None:
        rate = rate_at(step, self.steps_per_epoch * self.params.epochs, self.params)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        if self.params.gradient_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.params.gradient_clip)
        self.optimiser.step()
        pull_to_start(self.optimiser, self.start, self.params.l2_sp)
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.model, step + 2)

    def _predict_validation(
        self, model: nn.Module, epoch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        model.eval()
        logits, labels = [], []
        with torch.inference_mode(), self.autocast():
            for batch in self.validate_batches.iterate_epoch(epoch):
                logits.append(model(batch.images.to(memory_format=self.layout)).float())
                labels.append(batch.labels)
        return torch.cat(logits), torch.cat(labels)

    def save(self) -> None:
        """Write the curve, and checkpoints where they are due.

        A checkpoint that takes long to write (on slow storage, of a large network) is written less
        often: at most about a tenth of the time goes into it.
        """
        if self.folder is None:
            return
        curve = [dataclasses.asdict(record) for record in self.history]
        write_atomic(self.folder / "epochs.json", json.dumps(curve).encode())
        waited = time.perf_counter() - self.written_at
        if not (
            self.is_finished
            or self.write_seconds < _CHEAP_WRITE_S
            or waited > _WAIT_PER_WRITE * self.write_seconds
        ):
            return
        started = time.perf_counter()
        self._write_checkpoints(self.folder, curve)
        self.written_at = time.perf_counter()
        self.write_seconds = self.written_at - started

    def _write_checkpoints(self, folder: Path, curve: list[dict[str, Any]]) -> None:
        """Write the best weights, once, then `last.pt`, which names them.

        Whenever a run is killed, `last.pt` and the weights that it names are there. A finished run
        needs no other weights.
        """
        best = folder / f"best_{self.best_epoch:04d}.pt"
        if self.best_epoch != self.saved_best_epoch:
            write_checkpoint({"weights": self.best_weights}, best)
        state: dict[str, Any] = {
            "fingerprint": self.fingerprint,
            "best_epoch": self.best_epoch,
            "best_rank": list(self.best_rank),
            "history": curve,
        }
        if not self.is_finished:
            state["weights"] = self.model.state_dict()
            state["optimiser"] = self.optimiser.state_dict()
            state["average"] = self.average.module.state_dict() if self.average else {}
        write_checkpoint(state, folder / "last.pt")
        self.saved_best_epoch = self.best_epoch
        for old in set(folder.glob("best_*.pt")) - {best}:
            old.unlink()

    def load(self) -> None:
        """Resume from `last.pt`, if there is one of the same settings and crops."""
        state = None if self.folder is None else read_checkpoint(self.folder / "last.pt")
        if self.folder is None or state is None:
            return
        best = read_checkpoint(self.folder / f"best_{state.get('best_epoch', 0):04d}.pt")
        if state.get("fingerprint") != self.fingerprint or best is None:
            logger.warning(
                "%s: settings or crops have changed, training starts from scratch", self.folder
            )
            return
        if "weights" in state:
            self.model.load_state_dict(state["weights"])
            self.optimiser.load_state_dict(state["optimiser"])
            if self.average is not None:
                self.average.module.load_state_dict(state["average"])
        self.best_weights, self.saved_best_epoch = best["weights"], state["best_epoch"]
        self.best_epoch, self.best_rank = state["best_epoch"], tuple(state["best_rank"])
        self.history = [EpochRecord(**record) for record in state["history"]]
        logger.info("%s: resumes after epoch %d", self.folder, self.history[-1].epoch)

    def restore_best_weights(self) -> FitResult:
        """Put the best weights into the network."""
        self.model.load_state_dict(self.best_weights)
        self.model.eval()
        return FitResult(
            model=self.model,
            history=tuple(self.history),
            best_epoch=self.best_epoch,
            best_score=self.best_rank[0],
            stopped_early=self.history[-1].epoch < self.params.epochs,
        )


def score_validation(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Mean loss (nats), accuracy and balanced accuracy of logits (N, K) against labels (N,)."""
    predicted = logits.argmax(1).cpu().numpy()
    confusion = count_confusion(labels.cpu().numpy(), predicted, logits.shape[1])
    scores = {name: float(value) for name, value in score_confusion(confusion).items()}
    return {"loss": float(functional.cross_entropy(logits, labels)), **scores}


def _copy_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
