"""Trainings of the transfer study; what is finished is kept and never trained again.

A result lies in a file named by a digest of everything that it depends on: frames, crops, what is
left out, and the settings of the model.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.learning.classifier import ClassifierSettings, build_network, classify_crops
from ncm_kedro.learning.fitting import train_classifier
from ncm_kedro.learning.search import SearchData
from ncm_kedro.learning.texture import fit_texture_baseline
from ncm_kedro.params.sem_transfer import TEXTURE, SemTransferParams, TransferModel
from ncm_kedro.sem.crop_set import CropSet
from ncm_kedro.sem.kept_results import keep_textures, read_kept, write_kept
from ncm_kedro.sem.transfer import HoldOut, TransferCrops

_LOG = logging.getLogger(__name__)
_VERSION = 1  # raise it when the same crops and settings would give another result


@dataclass(frozen=True)
class TransferWork:
    """All that trainings need, and the folder where results are kept.

    Attributes
    ----------
    crop_set, crops
        Frames and crops.
    params
        Settings.
    folder
        Where results and unfinished trainings lie.
    """

    crop_set: CropSet
    crops: TransferCrops
    params: SemTransferParams
    folder: Path

    def predict(self, hold_out: HoldOut, model: TransferModel) -> NDArray[np.int64]:
        """Train on what is not held out and predict the rest, or take the result that is kept.

        Returns
        -------
        ndarray, (T,)
            Number of the predicted answer for each test crop.

        Raises
        ------
        StoreError
            A result cannot be written.
        """
        key = self._name_result(hold_out, model)
        path = self.folder / f"{key}.json"
        kept = read_kept(path, _parse_answers)
        if kept is not None and len(kept) == int(hold_out.test.sum()):
            return kept
        _LOG.info(
            "%s left out, %s: %s from %d crops", hold_out.held_out, model, hold_out.head,
            int(hold_out.train.sum()),
        )  # fmt: skip
        if model == TEXTURE:
            predicted = self._fit_texture(hold_out)
        else:
            predicted = self._fit_network(hold_out, self.folder / key)
        about = {"held_out": hold_out.held_out, "model": model}
        write_kept(path, {**about, "predicted": predicted.tolist()})
        shutil.rmtree(self.folder / key, ignore_errors=True)
        return predicted

    def _name_result(self, hold_out: HoldOut, model: TransferModel) -> str:
        params = self.params
        network = params.train.model_dump(mode="json", exclude={"device", "loader_threads"})
        settings = {"seed": params.seed} if model == TEXTURE else network
        about = [_VERSION, model, hold_out.head, hold_out.names, settings]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        digest.update(self._data_key)
        for array in (hold_out.labels, hold_out.train, hold_out.validate, hold_out.test):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:24]

    @property
    def _data_key(self) -> bytes:
        data = (self.crop_set.split_hash, self.crop_set.bank.checksum, self.crops.index.checksum)
        return ":".join(map(str, data)).encode()

    def _fit_texture(self, hold_out: HoldOut) -> NDArray[np.int64]:
        features = self._measure_textures()
        labels = hold_out.labels
        baseline = fit_texture_baseline(
            features[hold_out.train],
            labels[hold_out.train],
            self.params.seed,
            validation=(features[hold_out.validate], labels[hold_out.validate]),
        )
        return np.asarray(baseline.predict(features[hold_out.test]), dtype=np.int64)

    def _measure_textures(self) -> NDArray[np.float32]:
        """Measure the texture of all crops once, (N, F), and keep it."""
        key = hashlib.sha256(f"{_VERSION}".encode() + self._data_key).hexdigest()[:24]
        return keep_textures(self.crop_set, self.folder / f"textures_{key}.npy")

    def _fit_network(self, hold_out: HoldOut, folder: Path) -> NDArray[np.int64]:
        crop_set, params = self.crop_set, self.params
        bank = crop_set.bank
        train, validate, test = (
            self.crops.select(rows, hold_out.labels)
            for rows in (hold_out.train, hold_out.validate, hold_out.test)
        )
        settings = ClassifierSettings(
            model=params.train.model,
            classes=hold_out.names,
            compositions=hold_out.names,
            states=hold_out.names,
            crop_px=crop_set.crop_px,
            pixel_size_um=crop_set.pixel_size_um,
            input_px=params.train.input_px,
        )
        data = SearchData(bank, train, validate)
        classifier, _ = train_classifier(data, settings, params.train, folder)
        probabilities = classify_crops(
            classifier, build_network(classifier), bank, test, device=params.train.device
        )
        return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def _parse_answers(kept: dict[str, Any]) -> NDArray[np.int64]:
    return np.array(kept["predicted"], dtype=np.int64)
