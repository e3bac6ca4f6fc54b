"""New electrodes are named, predicted, scored by area and shown; nothing is lost in silence."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from manifest_cases import list_crop, list_frame
from model_cases import make_settings
from ncm_kedro.contracts.sem import AdditivePredictions, AdditiveRejected
from ncm_kedro.datasets.frames.raw import RawFrameFolder
from ncm_kedro.datasets.frames.store import FrameStoreDataset
from ncm_kedro.errors import FrameError, ModelError
from ncm_kedro.learning.data.frame_bank import build_frame_bank
from ncm_kedro.learning.models.classifier import SemClassifier
from ncm_kedro.learning.models.predict import (
    build_network,
    export_weights,
    predict_crops,
    run_network,
)
from ncm_kedro.learning.training.fitting import build_network_for
from ncm_kedro.params.sem_classify import SemAdditivesParams
from ncm_kedro.params.sem_ingest import LabelParams, MosaicParams, QualityParams, ReadingParams
from ncm_kedro.params.tune_train import TrainParams
from ncm_kedro.pipelines.evaluate_additives.nodes import (
    find_trained_regions,
    predict_additives,
    report_additives,
)
from ncm_kedro.pipelines.sem_ingest.nodes import (
    assess_sem_frames,
    build_sem_manifest,
    find_sem_overlaps,
    plan_sem_decoding,
)
from ncm_kedro.sem.crops.crop_set import build_crop_set, hash_split, index_crops
from ncm_kedro.sem.inference.additive_scores import pick_typical, report_conditions
from ncm_kedro.sem.inference.additives import match_reference, name_conditions
from ncm_kedro.sem.inference.classify import encode_png
from ncm_kedro.sem.io.frames import FrameRecord, RawFrames

SIDE, CROP_PX = 160, 64
READING = ReadingParams.model_validate({"min_size_px": 32, "pixel_size": {"fallback_um": 0.25}})
QUALITY = QualityParams(max_flat_fraction=1.0, min_relative_sharpness=0.0)
PARAMS = SemAdditivesParams(device="cpu", n_bootstrap=200, map_pairs=2)
NOTHING_FOUND = {"problem": None, "n_frames": 1, "pairs_skipped": 0, "views": []}
CLASSES = {"333": (1, 0.0), "333_cycled": (1, 1.0), "811": (5, 0.0), "811_cycled": (5, 1.0)}


def draw_frame(rng, grain_px, damage):
    """Grains with a composition's size; damage blackens up to a tenth of the area in pits."""
    cells = rng.integers(60, 196, (SIDE // grain_px,) * 2)
    grey = np.kron(cells, np.ones((grain_px, grain_px)))
    pits = rng.random((SIDE // 4, SIDE // 4)) < 0.1 * damage
    return np.where(np.kron(pits, np.ones((4, 4))) > 0, 5, grey).astype(np.uint8)


@pytest.fixture(scope="module")
def trained():
    """A network that knows four classes, and what training left behind."""
    rng = np.random.default_rng(0)
    frames, manifest, crops = {}, [], []
    for name, (grain_px, damage) in CLASSES.items():
        for number, split in enumerate(["train"] * 6 + ["validate"] + ["test"] * 3):
            frame_id = f"{name}/{number}"
            frames[frame_id] = draw_frame(rng, grain_px, damage)
            manifest.append(list_frame(
                name, number, height_px=SIDE, width_px=SIDE, pixel_size_um=0.25, mosaic=frame_id
            ))  # fmt: skip
            crops += [
                list_crop(frame_id, x, (x, x), size_px=CROP_PX, split=split, frame_px=SIDE)
                for x in (0, SIDE - CROP_PX)
            ]
    tables = pd.DataFrame(manifest), pd.DataFrame(crops)
    crop_set = build_crop_set(frames, tables[1], tables[0])
    return fit_last_layer(crop_set, hash_split(tables[1])), frames, tables[1], tables[0]


def fit_last_layer(crop_set, split_hash):
    """Random convolutions with a fitted last layer: a trained network in no time."""
    settings = make_settings(crop_set.classes, input_px=64, split_hash=split_hash)
    params = TrainParams(model="test_resnet", pretrained=False, seed=1)
    network = build_network_for(params, len(settings.classes))
    index = crop_set.indices["train"]
    features = run_network(settings, network, crop_set.bank, index, device="cpu").features
    scale = StandardScaler().fit(features)
    fitted = LogisticRegression(C=1.0, max_iter=2000).fit(scale.transform(features), index.label)
    weight = fitted.coef_ / scale.scale_
    bias = fitted.intercept_ - weight @ scale.mean_
    weights = export_weights(network)
    weights |= {"fc.weight": weight.astype(np.float32), "fc.bias": bias.astype(np.float32)}
    return SemClassifier(settings, weights)


def write_electrodes(folder, frames=2, classes=tuple(CLASSES)):
    """New electrodes: without additive as trained, with one that hides most of the damage."""
    rng = np.random.default_rng(1)
    for name in classes:
        grain_px, damage = CLASSES[name]
        for suffix, share in (("", 1.0), ("__VC2PS1", 0.1)):
            for number in range(frames):
                path = folder / f"{name}{suffix}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode_png(draw_frame(rng, grain_px, share * damage)))


def read_electrodes(folder, store):
    """What the first nodes of the pipeline make of a folder."""
    raw = RawFrameFolder(filepath=str(folder)).load()
    dataset = FrameStoreDataset(filepath=str(store), workers=1)
    dataset.save(plan_sem_decoding(raw, LabelParams(), READING))
    frames = dataset.load()
    assessed, rejected = assess_sem_frames(frames, QUALITY, 1)
    mosaic = MosaicParams(workers=1)
    manifest, _ = build_sem_manifest(assessed, find_sem_overlaps(frames, assessed, mosaic), mosaic)
    return {"raw": raw, "frames": frames, "manifest": manifest, "rejected": rejected}


@pytest.fixture(scope="module")
def electrodes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("electrodes")
    write_electrodes(folder / "raw")
    (folder / "raw" / "811__VC2PS1" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 truncated")
    return read_electrodes(folder / "raw", folder / "store.zarr")


def search_trained(electrodes, trained):
    classifier, frames, crops, manifest = trained
    return find_trained_regions(
        frames=electrodes["frames"], manifest=electrodes["manifest"], classifier=classifier,
        reference_frames=frames, reference_manifest=manifest, reference_crops=crops,
        mosaic=MosaicParams(workers=1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def regions(electrodes, trained):
    return search_trained(electrodes, trained)


@pytest.fixture(scope="module")
def predicted(electrodes, trained, regions):
    return predict_additives(
        **electrodes, trained_regions=regions, classifier=trained[0], params=PARAMS
    )


@pytest.fixture(scope="module")
def known(trained):
    """The test predictions that training would have left."""
    classifier, frames, crops, _ = trained
    names = classifier.settings.classes
    test = crops[crops["split"] == "test"].reset_index(drop=True)
    bank = build_frame_bank(frames)
    shares = predict_crops(
        classifier, build_network(classifier), bank, index_crops(test, bank, names), device="cpu"
    ).probabilities
    table = test[["crop_id", "frame_id", "area", "class"]].copy()
    table["predicted"] = np.array(names)[shares.argmax(axis=1)]
    table["probability"] = shares.max(axis=1)
    table = table.assign(prediction_set=table["predicted"], set_size=1, unknown=False)
    table[[f"p_{name}" for name in names]] = shares
    return table


def test_a_weakened_signal_of_ageing_costs_the_state_not_the_composition(
    predicted, trained, regions
):
    found = report_conditions(
        *predicted, None, trained[0].settings, PARAMS, trained_regions=regions
    )
    with_additive, without = found["pooled"]["VC2PS1"], found["pooled"][""]
    assert without["state_accuracy"]["value"] > 0.9
    assert with_additive["composition_accuracy"]["value"] > 0.9
    assert with_additive["state_accuracy"]["value"] < 0.75
    by_name = {(e["class"], e["additive"]): e for e in found["conditions"]}
    assert len(by_name) == 8
    aged = by_name["811_cycled", "VC2PS1"]
    assert aged["composition_accuracy"]["value"] - aged["state_accuracy"]["value"] > 0.5
    assert aged["profile"]["811"] > aged["profile"]["811_cycled"]


def test_tables_hold_and_a_frame_that_cannot_be_read_is_listed(predicted):
    predictions, aside = predicted
    AdditivePredictions.validate(predictions)
    AdditiveRejected.validate(aside)
    assert aside["file"].tolist() == ["811__VC2PS1/broken.jpg"]
    assert predictions["frame_id"].nunique() == 8 * 2
    assert set(predictions["additive"]) == {"", "VC2PS1"}
    assert set(predictions["class"]) == set(CLASSES)
    shares = predictions[[f"p_{name}" for name in CLASSES]].sum(axis=1)
    np.testing.assert_allclose(shares, 1.0)


def test_what_is_known_without_additive_stands_beside(
    predicted, electrodes, trained, regions, known
):
    classifier, frames, crops, _ = trained
    found, metrics, figures = report_additives(
        predictions=predicted[0],
        rejections=predicted[1],
        trained_regions=regions,
        frames=electrodes["frames"],
        classifier=classifier,
        reference_frames=frames,
        reference_crops=crops,
        reference_predictions=known,
        params=PARAMS,
    )
    json.dumps(found, allow_nan=False)
    assert found["reference_problem"] is None
    assert {entry["class"] for entry in found["known"]} == set(CLASSES)
    assert all(entry["n_areas"] == 3 for entry in found["known"])
    assert (
        metrics["VC2PS1.state_accuracy"]["value"]
        == (found["pooled"]["VC2PS1"]["state_accuracy"]["value"])
    )
    assert set(figures) == {"accuracy.png", "profiles.png", "maps.png"}


def test_predictions_of_another_model_are_not_set_beside(trained, known):
    classifier, frames, crops, _ = trained
    names = [f"p_{name}" for name in CLASSES]
    wrong = known.assign(**dict(zip(names, known[names].to_numpy().T[::-1], strict=True)))
    assert match_reference(classifier, frames, crops, known, "cpu")[1] is None
    other = match_reference(classifier, frames, crops, wrong, "cpu")
    assert (other[0], "another model" in other[1]) == (None, True)
    moved = match_reference(classifier, frames, crops.assign(split="train"), known, "cpu")
    assert (moved[0], "another split" in moved[1]) == (None, True)
    missing = match_reference(classifier, frames, crops, None, "cpu")
    assert (missing[0], "no test predictions" in missing[1]) == (None, True)


def test_frames_of_the_training_set_are_rejected_counted_and_not_scored(trained, tmp_path):
    classifier, frames, _, _ = trained
    write_electrodes(tmp_path / "raw", 1, ["811", "811_cycled"])
    large = frames["811/1"].repeat(2, axis=0).repeat(2, axis=1)
    copies = {
        "811__VC2PS1/copy": frames["811/0"],
        "811/magnified": large,
        "811_cycled__VC2PS1/turned": np.rot90(frames["811_cycled/2"]),
    }
    for name, image in copies.items():
        (tmp_path / "raw" / f"{name}.png").write_bytes(encode_png(np.ascontiguousarray(image)))
    read = read_electrodes(tmp_path / "raw", tmp_path / "store.zarr")
    found = search_trained(read, trained)
    predictions, aside = predict_additives(
        **read, trained_regions=found, classifier=classifier, params=PARAMS
    )
    assert set(aside["file"]) == {f"{name}.png" for name in copies}
    assert aside["reason"].str.contains("trained or tested on").all()
    assert set(predictions["file"]) == set(read["manifest"]["file"]) - set(aside["file"])
    report = report_conditions(
        predictions, aside, None, classifier.settings, PARAMS, trained_regions=found
    )
    assert report["trained_regions"]["n_rejected"] == 3
    assert report["notes"][0].startswith("3 of 7 frames")


def test_nothing_but_training_frames_ends_the_run_with_the_reason(trained, tmp_path):
    classifier, frames, _, _ = trained
    path = tmp_path / "raw" / "811__VC" / "copy.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(encode_png(frames["811/0"]))
    read = read_electrodes(tmp_path / "raw", tmp_path / "store.zarr")
    found = search_trained(read, trained)
    with pytest.raises(FrameError, match="trained or tested on"):
        predict_additives(**read, trained_regions=found, classifier=classifier, params=PARAMS)


def test_a_model_of_other_classes_is_refused(electrodes, trained):
    classifier = trained[0]
    other = classifier.settings.model_copy(
        update={"compositions": ("523",) * 4, "states": ("formation",) * 4}
    )
    stranger = type(classifier)(other, classifier.weights)
    with pytest.raises(ModelError, match="a model of other classes"):
        predict_additives(
            **electrodes, trained_regions=NOTHING_FOUND, classifier=stranger, params=PARAMS
        )


def test_the_condition_is_a_column_or_else_the_additive(tmp_path):
    records = [
        FrameRecord("a.png", "811__VC", tmp_path, settings={"condition": "second coin"}),
        FrameRecord("811__VC/b.png", "811__VC", tmp_path),
    ]
    named = name_conditions(RawFrames(tmp_path, tuple(records)))
    assert list(named.values()) == ["second coin", ""]


def make_predictions(rows):
    """Crops of (class, composition, state, area, predicted), one each."""
    names = ("333", "811", "811_cycled")
    table = pd.DataFrame(rows, columns=["class", "composition", "state", "area", "predicted"])
    part = table["predicted"].str.partition("_")
    table = table.assign(
        crop_id=[str(n) for n in range(len(table))],
        frame_id=table["area"],
        additive="A",
        predicted_composition=part[0],
        predicted_state=part[2].replace("", "pristine"),
        probability=1.0,
        prediction_set=table["predicted"] + ", 333",
        set_size=2,
        unknown=table["predicted"] == "333",
    )
    for name in names:
        table[f"p_{name}"] = (table["predicted"] == name).astype(float)
    aside = pd.DataFrame({"file": [], "reason": []})
    return report_conditions(
        table, aside, None, make_settings(names), PARAMS, trained_regions=NOTHING_FOUND
    )


def test_scores_are_shares_of_crops_and_intervals_resample_areas():
    aged = ("811_cycled", "811", "cycled")
    rows = [(*aged, area, "811_cycled") for area in "abcd" for _ in range(25)]
    rows += [(*aged, area, "811") for area in "efgh" for _ in range(25)]
    found = make_predictions(rows)["conditions"][0]
    exact = binomtest(4, 8).proportion_ci()
    assert found["overall"]["value"] == 0.5
    assert found["overall"]["low"] == pytest.approx(exact.low, abs=0.07)
    assert found["overall"]["high"] == pytest.approx(exact.high, abs=0.07)
    assert found["composition_accuracy"]["value"] == found["composition_accuracy"]["high"] == 1.0
    assert found["state_accuracy"]["value"] == 0.5
    assert found["coverage"]["value"] == 0.5
    assert found["unknown"]["value"] == 0.0
    assert (found["n_crops"], found["n_areas"]) == (200, 8)


def test_few_areas_have_no_interval_and_say_so():
    found = make_predictions([("333", "333", "pristine", "a", "333")] * 9)
    entry = found["conditions"][0]
    assert entry["overall"] == {"value": 1.0, "low": None, "high": None}
    assert entry["unknown"]["value"] == 1.0
    assert "no interval below 8 independent areas: 333 + A" in found["notes"][0]
    assert found["chance"] == pytest.approx({"overall": 1 / 3, "composition": 0.5, "state": 0.5})


def test_what_the_model_has_no_class_for_is_scored_where_it_can_be():
    rows = [("333_cycled", "333", "cycled", area, "333") for area in ("a", "b")]
    rows += [("622", "622", "pristine", area, "811") for area in ("c", "d")]
    found = make_predictions(rows)
    aged, other = found["conditions"]
    assert aged["overall"] is None
    assert aged["coverage"] is None
    assert aged["composition_accuracy"]["value"] == 1.0
    assert aged["state_accuracy"]["value"] == 0.0
    assert other["composition_accuracy"] is None
    assert other["state_accuracy"]["value"] == 1.0
    assert any("no class for 333_cycled + A, 622 + A" in note for note in found["notes"])


def test_the_typical_crop_is_the_median_of_the_most_frequent_answer():
    table = pd.DataFrame(
        {
            "crop_id": list("abcd"),
            "predicted": ["x", "y", "y", "y"],
            "probability": [0.99, 0.9, 0.5, 0.6],
        }
    )
    assert pick_typical(table)["crop_id"] == "d"
