"""Test crops to explain (confident, random, wrong, uncertain), and outlines of their particles.

The segmentation uses no network: a particle is brighter than its surroundings; touching ones are
separated along the dark valleys between them by a watershed (Beucher & Meyer 1993). It is a
yardstick for attention, not a count of particles: neighbours of one brightness merge,
and a large particle may be split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.morphology import remove_small_holes, remove_small_objects
from skimage.segmentation import find_boundaries, watershed
from torch import nn

from ncm_kedro.errors import ModelError, SettingsError, TableError
from ncm_kedro.learning.data.cutters import cut_crop, resize_crop
from ncm_kedro.learning.data.frame_bank import build_frame_bank
from ncm_kedro.learning.explain.gradcam import explain_crops
from ncm_kedro.learning.explain.maps import AttributionMaps
from ncm_kedro.learning.models.classifier import SemClassifier
from ncm_kedro.learning.models.predict import open_loader
from ncm_kedro.params.sem_explain import BoundaryParams, CropChoiceParams, SemExplainParams
from ncm_kedro.sem.crops.crop_set import hash_split, index_crops
from ncm_kedro.sem.crops.regions import class_generator

CHOSEN, CONFIDENT, RANDOM = "chosen", "confident", "random"
MISCLASSIFIED, UNCERTAIN = "misclassified", "uncertain"
KINDS = (CHOSEN, CONFIDENT, RANDOM, MISCLASSIFIED, UNCERTAIN)
IDENTITY = ["crop_id", "frame_id", "area", "class", "predicted", "probability"]

_PURPOSE = "explain"


def choose_crops(predictions: pd.DataFrame, params: CropChoiceParams) -> pd.DataFrame:
    """Choose crops and the classes that are explained in them.

    Returns
    -------
    DataFrame
        A row per crop, kind and explained class: `kind`, `IDENTITY`, `runner_up`, `margin` (between
        the two leading classes), `target`, `target_rank` and `p_target`. The predicted class is
        explained; for an error the second class too (rank 2). A crop may be there in two kinds.

    Raises
    ------
    SettingsError
        A crop requested by name is not among the test crops.
    """
    table = _rank_classes(predictions.sort_values("crop_id", ignore_index=True))
    missing = sorted(set(params.crop_ids) - set(table["crop_id"]))
    if missing:
        raise SettingsError(
            "sem_explain.choice.crop_ids",
            found=f"{missing[0]}, which is no test crop",
            expected="values of crop_id in sem_test_predictions",
            action="correct the name, or remove it",
        )
    parts = [table[table["crop_id"].isin(params.crop_ids)].assign(kind=CHOSEN)]
    for name, rows in table.groupby("class", sort=True):
        parts += _choose_of_class(rows, str(name), params)
    chosen = pd.concat(parts, ignore_index=True)
    first = chosen.assign(target=chosen["predicted"], target_rank=1, p_target=chosen["probability"])
    wrong = chosen[chosen["kind"] == MISCLASSIFIED]
    second = wrong.assign(
        target=wrong["runner_up"], target_rank=2, p_target=wrong["probability"] - wrong["margin"]
    )
    result = pd.concat([first, second], ignore_index=True)
    result["kind"] = pd.Categorical(result["kind"], KINDS)
    result = result.sort_values(["kind", "class", "target_rank"], kind="stable", ignore_index=True)
    named = ["kind", *IDENTITY, "runner_up", "margin", "target", "target_rank", "p_target"]
    return result.assign(kind=result["kind"].astype(str))[named]


def _rank_classes(predictions: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in predictions.columns if name.startswith("p_")]
    probabilities = predictions[names].to_numpy(np.float64)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    leading = np.take_along_axis(probabilities, order, axis=1)
    return predictions[IDENTITY].assign(
        runner_up=[names[second].removeprefix("p_") for second in order[:, 1]],
        margin=leading[:, 0] - leading[:, 1],
    )


def _choose_of_class(rows: pd.DataFrame, name: str, params: CropChoiceParams) -> list[pd.DataFrame]:
    by_probability = rows.sort_values("probability", ascending=False, kind="stable")
    is_right = by_probability["class"] == by_probability["predicted"]
    return [
        by_probability[is_right].head(params.confident).assign(kind=CONFIDENT),
        _draw_over_areas(rows, name, params).assign(kind=RANDOM),
        by_probability[~is_right].head(params.misclassified).assign(kind=MISCLASSIFIED),
        rows.sort_values("margin", kind="stable").head(params.uncertain).assign(kind=UNCERTAIN),
    ]


def _draw_over_areas(rows: pd.DataFrame, name: str, params: CropChoiceParams) -> pd.DataFrame:
    """Draw one crop of each area, then a second of each, until there are enough."""
    rng = class_generator(params.seed, name, _PURPOSE)
    shuffled = rows.iloc[rng.permutation(len(rows))]
    turn = shuffled.groupby("area", sort=False).cumcount()
    return shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")].head(params.random)


BETWEEN, INSIDE, BOUNDARY = 0, 1, 2

_SEED_BLUR = 0.25
_SURROUNDINGS = 2.0
_SEED_DISTANCE = 0.35
_SMALLEST = 0.5


def label_particles(
    grey_yx: NDArray[np.uint8], pixel_size_um: float, params: BoundaryParams
) -> NDArray[np.int32]:
    """Label the particles of a crop.

    Parameters
    ----------
    grey_yx
        (H, W) crop.
    pixel_size_um
        Pixel size of the crop, um.

    Returns
    -------
    ndarray, (H, W)
        Particle of each pixel; 0 between particles, and everywhere in a uniform crop.
    """
    particle_px = params.particle_um / pixel_size_um
    grey = grey_yx.astype(np.float32)
    smooth = ndimage.gaussian_filter(grey, params.smoothing_um / pixel_size_um)
    surroundings = ndimage.gaussian_filter(grey, _SURROUNDINGS * particle_px)
    smallest_px2 = int(np.pi / 4.0 * (_SMALLEST * particle_px) ** 2)
    bright = remove_small_holes(smooth > surroundings + 1e-3, max_size=smallest_px2)
    bright = remove_small_objects(bright, max_size=smallest_px2)
    blurred = ndimage.gaussian_filter(grey, _SEED_BLUR * particle_px)
    peaks = peak_local_max(
        blurred,
        min_distance=max(1, round(_SEED_DISTANCE * particle_px)),
        labels=bright.astype(np.int32),
        exclude_border=False,
        num_peaks=grey.size,
    )
    seeds = np.zeros(grey.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-smooth, seeds, mask=bright), dtype=np.int32)


def mark_regions(
    grey_yx: NDArray[np.uint8], pixel_size_um: float, params: BoundaryParams
) -> NDArray[np.uint8]:
    """Partition a crop into particles, background and the band along the outlines.

    Parameters
    ----------
    grey_yx
        (H, W) crop.
    pixel_size_um
        Pixel size of the crop, um.

    Returns
    -------
    ndarray, (H, W)
        `BETWEEN`, `INSIDE` or `BOUNDARY`; a uniform crop is all `BETWEEN`. See `label_particles`.
    """
    labels = label_particles(grey_yx, pixel_size_um, params)
    outline = find_boundaries(labels, mode="thick")
    regions = np.where(labels > 0, INSIDE, BETWEEN).astype(np.uint8)
    if outline.any():
        beyond_um = (ndimage.distance_transform_edt(~outline) + 0.5) * pixel_size_um
        regions[outline | (beyond_um <= params.band_um / 2.0)] = BOUNDARY
    return regions


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
        """Attribution maps of each crop's class."""
        return explain_crops(
            network,
            self.images_nyx,
            self.targets,
            weighting=params.weighting,
            device=params.device,
            batch_size=params.batch_size,
        )

    def mark_regions(self, params: BoundaryParams) -> NDArray[np.uint8]:
        """(N, P, P) particles, background between them and boundaries; see `mark_regions`."""
        return np.stack([mark_regions(g, self.pixel_size_um, params) for g in self.grey_nyx])


def load_inputs(
    frames: Mapping[str, NDArray[np.uint8]],
    crops: pd.DataFrame,
    classifier: SemClassifier,
    chosen: pd.DataFrame,
) -> CropInputs:
    """Cut the chosen crops and prepare them as the classifier wants them.

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
    unknown_classes = sorted((set(chosen["target"]) | set(chosen["class"])) - set(settings.classes))
    other_split = settings.split_hash is not None and settings.split_hash != hash_split(crops)
    if not unknown_classes and not other_split:
        return
    found = (
        f"predictions with the class {unknown_classes[0]}, which the classifier does not know"
        if unknown_classes
        else "a classifier that was trained with another crop table"
    )
    raise ModelError(
        settings.model,
        found=found,
        expected="the classifier that made sem_test_predictions from this sem_crops",
        action="run tune_train again before sem_explain",
    )
