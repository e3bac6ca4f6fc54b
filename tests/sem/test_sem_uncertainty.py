"""A network trained here and now flags out-of-distribution frames."""

import json
from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pytest

from manifest_cases import list_crop, list_frame
from model_cases import make_settings
from ncm_kedro.contracts.sem import SemFramePredictions, SemOODPredictions
from ncm_kedro.datasets.frames.raw import RawFrameFolder
from ncm_kedro.datasets.models.classifier import (
    CLASSIFIER_FILE,
    read_classifier,
    write_classifier,
)
from ncm_kedro.datasets.models.serving import ServedModel
from ncm_kedro.errors import ModelError
from ncm_kedro.learning.data.crop_index import SearchData
from ncm_kedro.learning.models.predict import build_network, predict_crops
from ncm_kedro.learning.training.fitting import train_classifier
from ncm_kedro.params.sem_classify import ClassifyParams
from ncm_kedro.params.sem_ingest import ReadingParams
from ncm_kedro.params.tune_train import (
    CalibrationParams,
    EvaluationParams,
    OODParams,
    TrainParams,
)
from ncm_kedro.pipelines.tune_train.nodes import calibrate_sem_classifier
from ncm_kedro.plotting.sem.classify import plot_overlay_sheet
from ncm_kedro.sem.crops.crop_set import build_crop_set
from ncm_kedro.sem.inference.calibration import index_frame_tiles, plant_foreign
from ncm_kedro.sem.inference.classify import (
    UNCERTAINTY_COLUMNS,
    build_frame_classifier,
    classify_folder,
    describe_prediction,
    encode_png,
    plan_tiles,
)
from ncm_kedro.sem.inference.evaluation import (
    classify_ood,
    describe_crops,
    find_ood,
    score_uncertainty,
)

FRAME_PX, CROP_PX = 160, 64
PARAMS = ClassifyParams(device="cpu", threads=1)
COUNTS = {"train": 6, "validate": 20, "test": 8}
CLASSES = ("811", "811_cycled")


def draw_grains(rng, grain_px):
    """Noise in square grains."""
    cells = rng.integers(60, 196, (FRAME_PX // grain_px,) * 2)
    return np.kron(cells, np.ones((grain_px, grain_px))).astype(np.uint8)


def draw_stripes(rng):
    """An out-of-distribution material."""
    wave = np.sin(np.arange(FRAME_PX) / 6.0 + rng.uniform(0, 6))
    return np.tile((128 + 120 * wave).astype(np.uint8), (FRAME_PX, 1))


@pytest.fixture(scope="module")
def stored():
    """Frames, manifest and crops: two classes of grain, and three quarantined frames."""
    rng = np.random.default_rng(0)
    frames, manifest, crops = {}, [], []
    for class_name, grain_px in zip(CLASSES, (1, 5), strict=True):
        for split, count in COUNTS.items():
            for number in range(count):
                frame_id = f"{class_name}/{split}{number}"
                frames[frame_id] = draw_grains(rng, grain_px)
                manifest.append(list_frame(class_name, f"{split}{number}", pixel_size_um=0.25))
                crops += [
                    list_crop(
                        frame_id, crop, rng.integers(0, FRAME_PX - CROP_PX, 2),
                        size_px=CROP_PX, split=split, frame_px=FRAME_PX,
                    )
                    for crop in range(4)
                ]  # fmt: skip
    odd = {"pixel_size_um": 0.25, "flags": "provenance_token;quarantined", "excluded": True}
    for number in range(3):
        frames[f"811/x{number}"] = draw_stripes(rng)
        manifest.append(list_frame("811", f"x{number}", **odd))
    described = pd.DataFrame(manifest)
    return frames, described.assign(mosaic=described["frame_id"]), pd.DataFrame(crops)


@pytest.fixture(scope="module")
def crop_set(stored):
    frames, manifest, crops = stored
    return build_crop_set(frames, crops, manifest)


@pytest.fixture(scope="module")
def trained(crop_set, tmp_path_factory):
    """Not calibrated yet."""
    params = TrainParams(
        model="test_resnet", pretrained=False, epochs=4, batch_size=12, input_px=32,
        learning_rate=3e-3, device="cpu", precision="float32", loader_threads=1, seed=1,
    )  # fmt: skip
    settings = make_settings(crop_set.classes)
    data = SearchData(crop_set.bank, crop_set.indices["train"], crop_set.indices["validate"])
    return train_classifier(data, settings, params, tmp_path_factory.mktemp("training"))[0]


@pytest.fixture(scope="module")
def calibrated(trained, crop_set):
    # Single frames are evaluated below: few enough alarms that none of them is one by chance.
    params = CalibrationParams(unknown=OODParams(false_alarm_rate=0.02))
    return calibrate_sem_classifier(
        crop_set=crop_set, classifier=trained, calibration=params, device="cpu"
    )


@pytest.fixture(scope="module")
def folder(stored, tmp_path_factory):
    """Unseen frames on disk: one of each class, one of neither, one that is broken."""
    frames, _, _ = stored
    root = tmp_path_factory.mktemp("unseen")
    for name in ("811/test0", "811_cycled/test4", "811/x0"):
        (root / f"{name.replace('/', '_')}.png").write_bytes(encode_png(frames[name]))
    (root / "broken.png").write_bytes(b"nothing")
    return root


def classify(folder, classifier):
    raw = RawFrameFolder(filepath=str(folder), labelled=False).load()
    reading = ReadingParams.model_validate({"min_size_px": 32, "pixel_size": {"fallback_um": 0.25}})
    return classify_folder(raw, classifier, reading, PARAMS)


def test_test_crops_are_covered_and_few_alarm_but_stripes_do(stored, crop_set, calibrated):
    frames, manifest, _ = stored
    answers = predict_crops(
        calibrated, build_network(calibrated), crop_set.bank, crop_set.indices["test"], device="cpu"
    )
    table = crop_set.tables["test"][["crop_id", "frame_id", "area", "class"]].assign(
        **describe_crops(answers, CLASSES),
        **{f"p_{name}": answers.probabilities[:, k] for k, name in enumerate(CLASSES)},
    )
    ood = classify_ood(frames, manifest, calibrated, PARAMS)
    SemOODPredictions.validate(ood)
    report = score_uncertainty(table, ood, calibrated, EvaluationParams(n_bootstrap=100))
    assert report["sets"]["coverage"]["value"] >= 0.85
    assert report["sets"]["notes"] == []
    assert report["flag"]["false_alarms"]["value"] <= 0.15
    assert report["flag"]["auroc"]["score"]["value"] > 0.99
    assert (report["flag"]["n_ood_frames"], report["flag"]["n_ood_frames_flagged"]) == (3, 3)
    assert (table["set_size"] == table["prediction_set"].str.count(",") + 1).all()
    json.dumps(report, allow_nan=False)


def test_without_quarantined_frames_the_table_is_empty_and_typed(stored, calibrated):
    frames, manifest, _ = stored
    ood = classify_ood(frames, manifest[~manifest["excluded"]], calibrated, PARAMS)
    SemOODPredictions.validate(ood)
    assert ood.empty


def test_frames_excluded_for_other_reasons_are_no_foreign_material(stored):
    _, manifest, _ = stored
    bare = manifest.assign(flags=manifest["flags"].str.replace("quarantined", "partly_bare"))
    assert len(find_ood(manifest)) == 3
    assert find_ood(bare).empty


def test_the_frame_table_flags_the_foreign_frame_and_shows_it_first(folder, calibrated):
    table, shown = classify(folder, calibrated)
    SemFramePredictions.validate(table)
    rows = table.set_index("file")
    assert rows.loc["811_x0.png", "unknown"]
    assert rows.loc["811_x0.png", "probability"] >= 0.5
    assert rows.loc[["811_test0.png", "811_cycled_test4.png"], "unknown"].tolist() == [False] * 2
    assert rows.loc["broken.png", list(UNCERTAINTY_COLUMNS)].isna().all()
    assert shown[0].file == "811_x0.png"
    titles = [axes.get_title() for axes in plot_overlay_sheet(shown, CLASSES).axes]
    assert titles[0].startswith("OOD")
    assert not titles[1].startswith("OOD")


def test_the_served_model_answers_as_the_batch_does(folder, calibrated, tmp_path):
    write_classifier(tmp_path / CLASSIFIER_FILE, calibrated)
    served = ServedModel()
    served.load_context(
        mlflow.pyfunc.PythonModelContext({"model": str(tmp_path)}, {"kind": "sem_classifier"})
    )
    table, _ = classify(folder, calibrated)
    requests = pd.DataFrame(
        {"image": [(folder / file).read_bytes() for file in table["file"]], "pixel_size_um": 0.25}
    )
    answer = served.predict(None, requests)
    for name in ("predicted", "prediction_set", "set_size", "unknown"):
        batch, single = table[name], answer[name]
        assert [None if pd.isna(v) else v for v in batch] == [
            None if pd.isna(v) else v for v in single
        ]
    for name in ("ood_p_value", "energy", "feature_distance"):
        np.testing.assert_allclose(table[name], answer[name].astype(float), rtol=1e-5)


def test_the_file_holds_all_that_the_flag_needs(calibrated, stored, tmp_path):
    frames, _, _ = stored
    write_classifier(tmp_path / "c.safetensors", calibrated)
    loaded = read_classifier(tmp_path / "c.safetensors")
    assert loaded.settings == calibrated.settings
    assert loaded.weights.keys() == calibrated.weights.keys()
    rows = [
        describe_prediction(
            c, build_frame_classifier(c, PARAMS).classify_frame(frames["811/x0"], 0.25, "f")
        )
        for c in (calibrated, loaded)
    ]
    assert rows[0] == rows[1]


def test_an_earlier_model_answers_without_them_and_warns(trained, stored, tmp_path, caplog):
    frames, _, _ = stored
    write_classifier(tmp_path / "old.safetensors", trained)
    old = read_classifier(tmp_path / "old.safetensors")
    assert old.detector is None
    frame_classifier = build_frame_classifier(old, PARAMS)
    assert "kedro run --pipelines tune_train" in caplog.text
    row = describe_prediction(old, frame_classifier.classify_frame(frames["811/x0"], 0.25, "f"))
    assert [row[name] for name in UNCERTAINTY_COLUMNS] == [None] * len(UNCERTAINTY_COLUMNS)
    assert row["predicted"] in CLASSES


def test_scores_without_calibration_are_refused(trained, crop_set, stored):
    frames, manifest, _ = stored
    answers = predict_crops(
        trained, build_network(trained), crop_set.bank, crop_set.indices["test"], device="cpu"
    )
    with pytest.raises(ModelError, match="calibrate_sem_classifier"):
        describe_crops(answers, CLASSES)
    with pytest.raises(ModelError, match="calibrate_sem_classifier"):
        classify_ood(frames, manifest, trained, PARAMS)


def test_validation_frames_are_tiled_as_new_frames_are(crop_set):
    index, frame, mosaics = index_frame_tiles(crop_set)
    assert len(mosaics) == len(np.unique(frame)) == 2 * COUNTS["validate"]
    assert np.bincount(frame).tolist() == [len(plan_tiles(FRAME_PX, FRAME_PX, CROP_PX, 0.0))] * 40
    owners = np.array(crop_set.bank.frame_ids)[index.frame]
    assert [str(owners[frame == number][0]) for number in range(40)] == list(mosaics)
    assert all("/validate" in name for name in owners)
    index.check_inside(crop_set.bank)


def test_a_strip_of_a_frame_is_tiled_within_the_strip(stored):
    frames, manifest, crops = stored
    strip = crops.assign(region_x0_px=40, region_x1_px=40 + CROP_PX + 10)
    strip["x_px"] = 40
    index, *_ = index_frame_tiles(build_crop_set(frames, strip, manifest))
    assert index.x_px.min() >= 40
    assert (index.x_px + index.size_px).max() <= 40 + CROP_PX + 10


def test_foreign_crops_have_the_grey_levels_of_the_classes_and_depend_on_the_seed(crop_set):
    bank, index = plant_foreign(crop_set, 0)
    known = crop_set.cut_pixels("validate", slice(None))
    drawn = np.stack([bank.view_frame(row) for row in index.frame])
    assert drawn.mean() == pytest.approx(known.mean(), abs=5.0)
    assert drawn.std(axis=(1, 2)).mean() == pytest.approx(known.std(axis=(1, 2)).mean(), rel=0.15)
    assert plant_foreign(crop_set, 0)[0].checksum == bank.checksum
    assert plant_foreign(crop_set, 1)[0].checksum != bank.checksum


def test_a_network_that_fails_its_check_is_served_without_a_flag(stored, calibrated, caplog):
    frames, _, _ = stored
    blind = replace(calibrated, detector=replace(calibrated.detector, foreign_auroc=0.6))
    frame_classifier = build_frame_classifier(blind, PARAMS)
    assert "no flag" in caplog.text
    row = describe_prediction(blind, frame_classifier.classify_frame(frames["811/x0"], 0.25, "f"))
    assert row["unknown"] is row["ood_p_value"] is None
    assert row["prediction_set"]
