"""Chosen crops as a network sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from ncm_kedro.errors import ModelError, TableError
from ncm_kedro.learning.classifier import SemClassifier, open_loader
from ncm_kedro.learning.crop_host import cut_crop, resize_crop
from ncm_kedro.learning.frame_bank import build_frame_bank
from ncm_kedro.learning.gradcam import AttributionMaps, explain_crops
from ncm_kedro.params.sem_explain import BoundaryParams, SemExplainParams
from ncm_kedro.sem.crop_set import hash_split, index_crops
from ncm_kedro.sem.particle_boundaries import mark_regions


@dataclass(frozen=True)
class CropInputs:
    """Chosen crops as a network sees them.

    Attributes
    ----------
    grey_nyx
        (N, P, P) grey values, resized to the network's input.
    images_nyx
        (N, P, P) network input.
    targets
        (N,) number of the class to explain.
    pixel_size_um
        Pixel size of both, um.
    """

    grey_nyx: NDArray[np.uint8]
    images_nyx: NDArray[np.float32]
    targets: NDArray[np.int64]
    pixel_size_um: float

    def select(self, rows: NDArray[np.integer]) -> CropInputs:
        """Return some of the crops."""
        return CropInputs(
            self.grey_nyx[rows], self.images_nyx[rows], self.targets[rows], self.pixel_size_um
        )

    def explain(self, network: nn.Module, params: SemExplainParams) -> AttributionMaps:
        """Map what speaks for each crop's class."""
        return explain_crops(
            network,
            self.images_nyx,
            self.targets,
            weighting=params.weighting,
            device=params.device,
            batch_size=params.batch_size,
        )

    def mark_regions(self, params: BoundaryParams) -> NDArray[np.uint8]:
        """(N, P, P) particles, ground between them and boundaries; see `mark_regions`."""
        return np.stack([mark_regions(g, self.pixel_size_um, params) for g in self.grey_nyx])


def load_inputs(
    frames: Mapping[str, NDArray[np.uint8]],
    crops: pd.DataFrame,
    classifier: SemClassifier,
    chosen: pd.DataFrame,
) -> CropInputs:
    """Cut the chosen crops and prepare them as the classifier wants them.

    Parameters
    ----------
    frames
        Grey frames by ``frame_id``.
    crops
        The crop table that the classifier was tested with.
    classifier
        What will be explained.
    chosen
        Result of `choose_crops`.

    Raises
    ------
    ModelError
        The classifier was trained with another crop table or other classes.
    TableError
        Chosen crops are not in the crop table.
    """
    settings = classifier.settings
    _check_fit(classifier, crops, chosen)
    rows = chosen[["crop_id"]].merge(crops, on="crop_id", how="left", validate="many_to_one")
    if rows["frame_id"].isna().any():
        raise TableError(
            "sem_test_predictions",
            found=f"{int(rows['frame_id'].isna().sum())} crops that sem_crops lacks",
            expected="predictions of the present crops",
            action="run tune_train again",
        )
    bank = build_frame_bank(frames, sorted(set(rows["frame_id"])))
    index = index_crops(rows, bank, settings.classes)
    batches = list(open_loader(settings, bank, index, device="cpu").iterate_epoch(0))
    cut = [
        resize_crop(cut_crop(bank, *where), settings.input_px)
        for where in zip(index.frame, index.x_px, index.y_px, index.size_px, strict=True)
    ]
    number = {name: place for place, name in enumerate(settings.classes)}
    return CropInputs(
        grey_nyx=np.stack(cut),
        images_nyx=np.concatenate([batch.images[:, 0].numpy() for batch in batches]),
        targets=np.array([number[name] for name in chosen["target"]], dtype=np.int64),
        pixel_size_um=settings.pixel_size_um * settings.crop_px / settings.input_px,
    )


def _check_fit(classifier: SemClassifier, crops: pd.DataFrame, chosen: pd.DataFrame) -> None:
    settings = classifier.settings
    foreign = sorted((set(chosen["target"]) | set(chosen["class"])) - set(settings.classes))
    other_split = settings.split_hash is not None and settings.split_hash != hash_split(crops)
    if not foreign and not other_split:
        return
    found = (
        f"predictions with the class {foreign[0]}, which the classifier does not know"
        if foreign
        else "a classifier that was trained with another crop table"
    )
    raise ModelError(
        settings.model,
        found=found,
        expected="the classifier that made sem_test_predictions from this sem_crops",
        action="run tune_train again before sem_explain",
    )
