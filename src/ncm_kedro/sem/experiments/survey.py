"""The expert survey: the images shown, returned responses, predictions of the model.

The survey of Oh et al. 2024 (section 'Performance of CNN', Fig. 2c) showed 19 frames. Here an
image is the part of a frame that belongs to one split, since mosaics may be cut between splits.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import FrameError, ModelError, TableError
from ncm_kedro.params.sem_classify import ClassifyParams, SurveyDrawParams, SurveyScoreParams
from ncm_kedro.sem.crops.boxes import place_boxes
from ncm_kedro.sem.crops.regions import REGION_COLUMNS, class_generator
from ncm_kedro.sem.io.frames import ClassLabel, RejectedFile
from ncm_kedro.sem.mosaic.geometry import PLACE_COLUMNS

if TYPE_CHECKING:
    from ncm_kedro.learning.models.classifier import SemClassifier

SPLITS_BY_PREFERENCE = ("test", "validate", "train")
BOX = ("x0_px", "y0_px", "x1_px", "y1_px")
KEY_COLUMNS = (
    "survey_id", "question", "frame_id", *BOX, "class", "composition", "state", "pixel_size_um",
    "split", "overlaps_other", "split_hash",
)  # fmt: skip
_LOG = logging.getLogger(__name__)
_LARGE_SHARE = 0.5
_ID_LENGTH = 12
_PURPOSE = "survey"
CSV_COLUMNS = (
    "survey_id", "respondent", "expert", "role", "question", "composition", "state", "saved_at",
)  # fmt: skip
REQUIRED_COLUMNS = ("survey_id", "question", "composition", "state")
RESPONSE_COLUMNS = ("rater", "kind", "role", "file", "question", "class", "composition", "state")
EXPERT, MODEL = "expert", "model"


@dataclass(frozen=True)
class Survey:
    """The questions and their key.

    Attributes
    ----------
    key
        A row per image in the order of the survey: `KEY_COLUMNS`. `question` counts from 1; the box
        is the part of the frame that is shown; `overlaps_other` says that an earlier drawn image
        shows some of the same region; `split_hash` names the crop table that `split` is from.
    classes
        A row per class that may be answered: `class`, `composition`, `state`, `pictures` (drawn).
    """

    key: pd.DataFrame
    classes: pd.DataFrame

    @property
    def survey_id(self) -> str:
        """Digest of the images and the choices."""
        return str(self.key["survey_id"].iloc[0])


def draw_survey(
    frames: Mapping[str, NDArray[np.uint8]],
    manifest: pd.DataFrame,
    crops: pd.DataFrame,
    params: SurveyDrawParams,
) -> Survey:
    """Draw images, as many of each class as of any other, in shuffled order.

    Regions of the test split come first, then of validation, then of training, class by class.
    Within a class, images that share no region come first, and of these the larger ones.

    Raises
    ------
    TableError
        There is no frame to show, or one class alone.
    """
    from ncm_kedro.sem.crops.crop_set import hash_split

    views = _list_views(manifest, crops)
    classes = views[["class", "composition", "state"]].drop_duplicates("class")
    classes = classes.sort_values("class", ignore_index=True)
    rng = np.random.default_rng(params.seed)
    available = views.groupby("class", sort=True).size().reindex(classes["class"])
    counts = allocate_images(np.asarray(available, dtype=np.int64), params.pictures, rng)
    drawn = pd.concat(
        [
            _draw_class(views[views["class"] == name], count, params.seed)
            for name, count in zip(classes["class"], counts, strict=True)
        ],
        ignore_index=True,
    )
    key = drawn.iloc[rng.permutation(len(drawn))].reset_index(drop=True)
    key["question"] = np.arange(1, len(key) + 1)
    key["split_hash"] = hash_split(crops)
    key["survey_id"] = identify_survey(frames, key, classes["class"].tolist())
    _warn_compromises(key, params.pictures)
    return Survey(key[list(KEY_COLUMNS)], classes.assign(pictures=counts))


def allocate_images(
    available: NDArray[np.int64], total: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Distribute `total` images over K classes with (K,) `available` ones, as evenly as possible.

    A class gets at most one image more than another that still has some; all are taken where there
    are fewer than `total`.
    """
    given = np.zeros(len(available), dtype=np.int64)
    turn = rng.permutation(len(available))
    for _ in range(min(total, int(available.sum()))):
        open_classes = [place for place in turn if given[place] < available[place]]
        given[min(open_classes, key=lambda place: given[place])] += 1
    return given


def cut_view(frames: Mapping[str, NDArray[np.uint8]], row: Mapping[Any, Any]) -> NDArray[np.uint8]:
    """Cut the image that a row of the key describes, (h, w)."""
    x0, y0, x1, y1 = (int(row[side]) for side in BOX)
    return frames[str(row["frame_id"])][y0:y1, x0:x1]


def identify_survey(
    frames: Mapping[str, NDArray[np.uint8]], key: pd.DataFrame, classes: list[str]
) -> str:
    """Return a digest that changes with any pixel shown, with the order and with the choices."""
    digest = hashlib.sha256("\n".join(classes).encode())
    for row in key.to_dict("records"):
        view_yx = cut_view(frames, row)
        digest.update(f"{row['frame_id']} {view_yx.shape} {row['class']}".encode())
        digest.update(np.ascontiguousarray(view_yx).tobytes())
    return digest.hexdigest()[:_ID_LENGTH]


def _list_views(manifest: pd.DataFrame, crops: pd.DataFrame) -> pd.DataFrame:
    """List the parts of frames that may be shown, of the best split that each class has."""
    kept = manifest[~manifest["excluded"].astype(bool)]
    kept = kept[kept["additive"].fillna("").astype(str) == ""]
    named = ["frame_id", "composition", "state", "pixel_size_um"]
    named += [name for name in PLACE_COLUMNS if name in kept]
    regions = crops[["frame_id", "split", "class", "mosaic", *REGION_COLUMNS]].drop_duplicates()
    views = regions.merge(kept[named], on="frame_id").rename(
        columns=dict(zip(REGION_COLUMNS, BOX, strict=True))
    )
    rank = views["split"].map({name: n for n, name in enumerate(SPLITS_BY_PREFERENCE)})
    best = rank.groupby(views["class"]).transform("min")
    views = views[rank == best].sort_values(["class", "frame_id", *BOX], ignore_index=True)
    if views["class"].nunique() < 2:
        raise TableError(
            "sem_crops",
            found=f"frames of {views['class'].nunique()} classes that can be shown",
            expected="included frames, without additives, of at least two classes",
            action="run sem_ingest and crop_augment on frames of further compositions or states",
        )
    return views


def _draw_class(views: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Draw of one class: disjoint regions first, then the overlapping ones."""
    rng = class_generator(seed, str(views["class"].iloc[0]), _PURPOSE)
    views = views.iloc[rng.permutation(len(views))].reset_index(drop=True)
    boxes = place_boxes(views, views[list(BOX)].to_numpy(np.float64))
    area_px2 = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    order = np.argsort(area_px2 < _LARGE_SHARE * area_px2.max(), kind="stable")
    mosaics = views["mosaic"].to_numpy()
    disjoint: list[int] = []
    for place in order:
        mine = [other for other in disjoint if mosaics[other] == mosaics[place]]
        if not _overlap(boxes[place], boxes[mine]):
            disjoint.append(int(place))
    rest = [int(place) for place in order if int(place) not in disjoint]
    chosen = [*disjoint, *rest][:count]
    return views.iloc[chosen].assign(overlaps_other=[place in rest for place in chosen])


def _overlap(box: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    return bool((high > low).all(axis=1).any())


def _warn_compromises(key: pd.DataFrame, wanted: int) -> None:
    if len(key) < wanted:
        _LOG.warning("the survey has %d images, not %d: there are no more", len(key), wanted)
    seen = int((key["split"] != SPLITS_BY_PREFERENCE[0]).sum())
    if seen:
        _LOG.warning("%d images of the survey are not from the test split", seen)
    shared = int(key["overlaps_other"].sum())
    if shared:
        _LOG.warning("%d images of the survey share a region with others in it", shared)


@dataclass(frozen=True)
class ResponseFile:
    """Name of a returned CSV, and its rows as text, empty where nothing was given."""

    file: str
    rows: pd.DataFrame


@dataclass(frozen=True)
class ResponseFiles:
    """The folder of returned responses: CSV files by name, and other files with reasons."""

    files: tuple[ResponseFile, ...]
    rejections: tuple[RejectedFile, ...]


def collect_responses(
    returned: ResponseFiles, survey: Survey, params: SurveyScoreParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check every returned file; one with an error is rejected and the others count.

    Of several files of an expert (same name, or same page where no name is given) the one saved
    last counts.

    Returns
    -------
    responses
        `RESPONSE_COLUMNS`, a row per expert and image; a missing response is null.
    rejections
        `file`, `reason`.
    """
    rejections = list(returned.rejections)
    counted: dict[str, ResponseFile] = {}
    for response in sorted(returned.files, key=_age):
        problem = _find_problem(response.rows, survey, params)
        if problem:
            rejections.append(RejectedFile(response.file, problem))
            continue
        expert = _identify(response)
        if expert in counted:
            earlier = counted.pop(expert).file
            reason = f"an earlier response of the expert who saved {response.file} later"
            rejections.append(RejectedFile(earlier, reason))
        counted[expert] = response
    for item in rejections:
        _LOG.warning("rejected: %s: %s", item.file, item.reason)
    tables = [_tabulate(response, survey) for response in counted.values()]
    reasons = pd.DataFrame(
        [(item.file, item.reason) for item in rejections], columns=["file", "reason"], dtype="str"
    )
    return join_responses(tables), reasons.sort_values("file", ignore_index=True)


def predict_responses(
    frames: Mapping[str, NDArray[np.uint8]],
    survey: Survey,
    classifier: SemClassifier,
    params: ClassifyParams,
) -> pd.DataFrame:
    """Predict the survey with a classifier, from the same images.

    Composition and state are those of the greatest summed probability, so that they need not be
    those of the most probable class.

    Returns
    -------
    DataFrame
        `RESPONSE_COLUMNS`, a row per image; null where an image is too small for the model.

    Raises
    ------
    ModelError
        The model does not know a class of the survey.
    """
    from ncm_kedro.sem.inference.classify import build_frame_classifier, describe_prediction

    _check_survey_classes(survey, classifier)
    frame_classifier = build_frame_classifier(classifier, params)
    rows = []
    for row in survey.key.to_dict("records"):
        question = int(row["question"])
        try:
            prediction = frame_classifier.classify_frame(
                cut_view(frames, row), float(row["pixel_size_um"]), f"image {question}"
            )
        except FrameError as error:
            _LOG.warning("no prediction for an image: %s", error)
            described = dict.fromkeys(("predicted", "composition", "state"))
        else:
            described = describe_prediction(classifier, prediction)
        rows.append((question, *(described[k] for k in ("predicted", "composition", "state"))))
    table = pd.DataFrame(rows, columns=["question", "class", "composition", "state"])
    return join_responses([table.assign(rater=MODEL, kind=MODEL, role="", file="")])


def join_responses(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Put tables of responses below each other; none gives an empty table of the right types."""
    texts = dict.fromkeys((name for name in RESPONSE_COLUMNS if name != "question"), "str")
    empty = pd.DataFrame({name: [] for name in RESPONSE_COLUMNS})
    joined = pd.concat(tables, ignore_index=True) if tables else empty
    return joined[list(RESPONSE_COLUMNS)].astype({**texts, "question": "int64"})


def _age(response: ResponseFile) -> tuple[str, str]:
    saved = response.rows.get("saved_at", pd.Series(dtype="str"))
    return (max(saved.astype(str), default=""), response.file)


def _identify(response: ResponseFile) -> str:
    """Name the expert: by the name given, else by the page's number, else by the file."""
    name = " ".join(_first(response, "expert").split())
    return name.casefold() or _first(response, "respondent") or response.file


def _first(response: ResponseFile, column: str) -> str:
    if column not in response.rows:
        return ""
    return next((text.strip() for text in response.rows[column] if text.strip()), "")


def _find_problem(rows: pd.DataFrame, survey: Survey, params: SurveyScoreParams) -> str | None:
    missing = [name for name in REQUIRED_COLUMNS if name not in rows]
    if missing:
        return f"no column {', '.join(missing)}; expected {', '.join(CSV_COLUMNS)}"
    if rows.empty:
        return "no response: a header alone"
    others = sorted(set(rows["survey_id"]) - {survey.survey_id})
    if others:
        return (
            f"responses to another survey ('{others[0]}'); this one is '{survey.survey_id}': "
            "send the expert the present survey"
        )
    return _find_bad_cell(rows, survey) or _find_gaps(rows, len(survey.key), params)


def _find_bad_cell(rows: pd.DataFrame, survey: Survey) -> str | None:
    numbers = [str(number) for number in survey.key["question"]]
    wrong = [text for text in rows["question"] if text not in numbers]
    if wrong:
        return f"question '{wrong[0]}'; expected a whole number from 1 to {len(numbers)}"
    for column in ("composition", "state"):
        known = sorted(set(survey.classes[column]))
        unknown = [text for text in rows[column] if text and text not in known]
        if unknown:
            return f"unknown {column} '{unknown[0]}'; expected {', '.join(known)} or nothing"
    return None


def _find_gaps(rows: pd.DataFrame, n_images: int, params: SurveyScoreParams) -> str | None:
    last = rows.drop_duplicates("question", keep="last")
    answered = int((last[["composition", "state"]] != "").any(axis=1).sum())
    needed = max(1, math.ceil(params.min_response_share * n_images))
    if answered >= needed:
        return None
    return f"{answered} of {n_images} images answered; expected at least {needed}"


def _tabulate(response: ResponseFile, survey: Survey) -> pd.DataFrame:
    """Return a row per image; the last of several responses to an image counts."""
    repeated = int(response.rows["question"].duplicated().sum())
    if repeated:
        _LOG.warning("%s: %d responses are repeated; the last counts", response.file, repeated)
    last = response.rows.drop_duplicates("question", keep="last").set_index("question")
    questions = survey.key["question"].astype(str)
    given = last.reindex(questions, fill_value="")[["composition", "state"]]
    pairs = zip(given["composition"], given["state"], strict=True)
    names = [ClassLabel(*pair).name if all(pair) else None for pair in pairs]
    anonymous = f"anonymous ({response.file})"
    return pd.DataFrame(
        {
            "rater": " ".join(_first(response, "expert").split()) or anonymous,
            "kind": EXPERT,
            "role": _first(response, "role"),
            "file": response.file,
            "question": survey.key["question"].to_numpy(),
            "class": names,
            "composition": given["composition"].replace("", None).to_numpy(),
            "state": given["state"].replace("", None).to_numpy(),
        }
    )


def _check_survey_classes(survey: Survey, classifier: SemClassifier) -> None:
    known = classifier.settings.classes
    unknown = sorted(set(survey.classes["class"]) - set(known))
    if unknown:
        raise ModelError(
            "classifier of the expert survey",
            found=f"a model that does not know {', '.join(unknown)}",
            expected=f"a model of the survey's classes; this one knows {', '.join(known)}",
            action="name another model in classify_model_uri, or train one on this data",
        )
