"""Studies vary one thing, resume, find what is simulated, and report what they could not run."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from ncm_kedro.contracts.sem import validate_studies
from ncm_kedro.errors import SettingsError
from ncm_kedro.learning.models.networks import build_model
from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.params.sem_studies import STUDIES, SemStudiesParams
from ncm_kedro.plotting.sem.studies import plot_study
from ncm_kedro.sem.experiments import fits
from ncm_kedro.sem.experiments.studies import choose_studies, plan_study
from ncm_kedro.sem.experiments.study_crops import measure_grey_distance, select_crops
from ncm_kedro.sem.experiments.study_scores import StudyPredictions, compare_points, run_study
from study_cases import CROPS, TINY, make_context, make_frames


def run(work, name):
    plan = plan_study(name, work.ground.manifest, work.crops, work.params)
    table, report = run_study(work, plan)
    validate_studies({name: table})
    json.dumps(report, allow_nan=False)
    assert plot_study(json.loads(json.dumps(report))).axes
    return table, report


def test_a_user_names_one_study_several_or_all():
    assert choose_studies("split") == ("split",)
    assert choose_studies("split+weights, grey_levels") == ("grey_levels", "weights", "split")
    assert choose_studies("all") == STUDIES
    for wrong in ("crop-size", ""):
        with pytest.raises(SettingsError, match="crop_size, image_count, normalisation"):
            choose_studies(wrong)


@pytest.mark.parametrize("name", [name for name in STUDIES if name not in ("grey_levels",)])
def test_points_of_a_study_differ_in_one_thing(name):
    manifest = make_frames(
        magnification=[100.0, 500.0], accelerating_voltage_kv=[5.0, 20.0], instrument=["A", "B"]
    )[1]
    plan = plan_study(name, manifest, CROPS, SemStudiesParams())
    assert len(plan.points) >= 2
    assert plan.reference in [point.name for point in plan.points] or name == "crop_size"
    kept = {"name", "value", "display_normalise", "needs_weights"}
    fields = [field for field in vars(plan.points[0]) if field not in kept]
    varied = {f for f in fields if len({repr(getattr(p, f)) for p in plan.points}) > 1}
    assert varied == {
        "crop_size": {"crops"},
        "image_count": {"per_class"},
        "split": {"crops"},
        "normalisation": {"train"},
        "weights": {"train"},
        "finetuning": {"train"},
        "augmentation": {"train"},
    }.get(name, {"frame_ids"})


def test_fewer_crops_are_a_subset_of_more_and_the_test_is_the_same(tmp_path):
    work = make_context(tmp_path, counts=(5, 10, 20))
    plan = plan_study("image_count", work.ground.manifest, work.crops, work.params)
    whole = work.ground.cut(plan.points[-1])
    sets = [select_crops(whole.crop_set, point, seed=3) for point in plan.points]
    for split in ("train", "validate", "test"):
        ids = [set(crop_set.tables[split]["crop_id"]) for crop_set, _ in sets]
        assert ids[0] <= ids[1] <= ids[2]
        assert (ids[0] == ids[2]) == (split == "test")
    counts = [len(s.tables["train"]) + len(s.tables["validate"]) for s, _ in sets]
    assert counts == [2 * 5, 2 * 10, 2 * 20]
    table = pd.concat(whole.crop_set.tables.values(), ignore_index=True)
    crop_set, rows = sets[0]
    chosen = pd.concat(crop_set.tables.values(), ignore_index=True)
    assert table["crop_id"].iloc[rows].tolist() == chosen["crop_id"].tolist()
    assert set(crop_set.tables["train"]["class"].value_counts()) == {4}


def average_blocks(crop_set, _):
    """Mean grey value of 4 x 4 blocks of every crop, (N, 16)."""
    crops = np.concatenate([crop_set.cut_pixels(s, slice(None)) for s in crop_set.indices])
    side = crop_set.crop_px // 4
    return crops.reshape(len(crops), 4, side, 4, side).mean(axis=(2, 4)).reshape(len(crops), 16)


def test_a_split_by_frame_scores_ground_that_was_seen(tmp_path, monkeypatch):
    """Classes look alike, patches do not: only regions of training are recognised."""
    monkeypatch.setattr(fits, "cache_textures", average_blocks)
    monkeypatch.setattr(
        fits,
        "fit_texture_baseline",
        lambda x, y, _, validation: KNeighborsClassifier(1).fit(x, y),
    )
    world = make_frames(brightness=(120.0, 120.0), frames=24, patches=True)
    crops = CropParams(size_px=68, images_per_class=400, test_images_per_class=60)
    work = make_context(tmp_path, world=world, crops=crops)
    table, report = run(work, "split")
    score = table.set_index("point")["balanced_accuracy"]
    assert score["by frame"] > 0.7
    assert score["by area"] < 0.6
    (leak,) = report["comparisons"]
    assert leak["difference"] > 0.1
    assert not leak["paired"]
    assert not leak["significant"]  # one mosaic a class carries no interval
    assert "too few areas for an interval" in report["answer"]
    assert table.set_index("point")["leaking"].tolist() == [False, True]


def test_a_killed_study_goes_on_and_ends_alike(tmp_path, monkeypatch):
    trained, fit = [], fits.fit_texture_baseline

    def count(*args, **kwargs):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(1)
        return fit(*args, **kwargs)

    monkeypatch.setattr(fits, "fit_texture_baseline", count)
    with pytest.raises(KeyboardInterrupt):
        run(make_context(tmp_path / "killed", counts=(8, 14, 20)), "image_count")
    monkeypatch.setattr(
        fits, "fit_texture_baseline", lambda *a, **k: trained.append(1) or fit(*a, **k)
    )
    resumed = run(make_context(tmp_path / "killed", counts=(8, 14, 20)), "image_count")
    assert len(trained) == 3
    unbroken = run(make_context(tmp_path / "unbroken", counts=(8, 14, 20)), "image_count")
    assert len(trained) == 6
    assert resumed[1] == unbroken[1]
    run(make_context(tmp_path / "killed", counts=(8, 14, 20), n_bootstrap=300), "image_count")
    assert len(trained) == 6
    assert len(list((tmp_path / "killed").glob("textures_*.npy"))) == 1


def test_a_killed_network_goes_on_and_its_curve_is_kept(tmp_path, monkeypatch):
    train = TINY.model_copy(update={"epochs": 2})
    settings = {"models": ("network",), "normalisations": ("none",), "train": train}
    unbroken = run(make_context(tmp_path / "unbroken", **settings), "normalisation")[1]
    predict = fits._predict
    monkeypatch.setattr(fits, "_predict", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(make_context(tmp_path / "killed", **settings), "normalisation")
    monkeypatch.setattr(fits, "_predict", predict)
    resumed = run(make_context(tmp_path / "killed", **settings), "normalisation")[1]
    for name in ("balanced_accuracy", "best_epoch", "accuracy"):
        assert [r[name] for r in resumed["rows"]] == [r[name] for r in unbroken["rows"]]
    (curve,) = resumed["history"]
    assert [epoch["epoch"] for epoch in curve["epochs"]] == [1, 2]
    assert not [path for path in (tmp_path / "killed").iterdir() if path.is_dir()]


def test_the_papers_trap_is_a_point_of_its_own(tmp_path, monkeypatch):
    """The network without normalisation also sees crops normalised per image, without training."""
    trained, train = [], fits.train_classifier
    monkeypatch.setattr(
        fits, "train_classifier", lambda *a, **k: trained.append(1) or train(*a, **k)
    )
    work = make_context(tmp_path, models=("network",), normalisations=("none", "clahe"))
    table, report = run(work, "normalisation")
    assert table["point"].tolist() == ["none", "none, tested per image", "clahe"]
    assert len(trained) == 2
    assert all(row["paired"] for row in report["comparisons"])
    assert {row["reference"] for row in report["comparisons"]} == {"none"}


def test_a_size_without_ground_is_not_run_and_the_others_are(tmp_path):
    world = make_frames(frames=5)
    table, report = run(
        make_context(tmp_path, world=world, sizes_px=(70, 80, 190, 400)), "crop_size"
    )
    assert [gap["point"] for gap in report["skipped"]] == ["190 px", "400 px"]
    assert "190 px of 333, 811_cycled" in report["skipped"][0]["reason"]
    assert "no frame that holds a crop" in report["skipped"][1]["reason"]
    assert table["skipped"].notna().tolist() == [False, False, True, True]
    assert report["answer"].endswith("Not run: 190 px, 400 px.")
    small, large = table["test_disjoint_crops"][:2]
    assert small > large


def test_weights_that_cannot_be_had_do_not_fail_the_other_point(tmp_path, monkeypatch):
    monkeypatch.setattr("ncm_kedro.learning.models.networks._is_hub_reachable", lambda: False)
    work = make_context(tmp_path, models=("network",), weights_model="test_resnet")
    table, report = run(work, "weights")
    assert table["skipped"].notna().tolist() == [False, True]
    assert "sem_studies.train.checkpoint_path" in report["skipped"][0]["reason"]
    unable = run(make_context(tmp_path, models=("texture",)), "weights")[1]
    assert "let sem_studies.models hold `network`" in unable["answer"]


def test_finetuning_starts_every_point_from_the_same_discriminant(tmp_path):
    train = TINY.model_copy(update={"pretrained": "packaged"})
    work = make_context(
        tmp_path, models=("network",), weights_model="ncm_pooled_lite0", train=train,
        finetuning={"epochs": 1}, world=make_frames(noise_std=(20.0, 20.5), frames=24),
        crops=CropParams(size_px=68, images_per_class=205, test_images_per_class=8),
    )  # fmt: skip
    table, report = run(work, "finetuning")
    assert table["point"].tolist() == ["frozen", "last stages", "all", "all, not held back"]
    assert table["skipped"].isna().all()
    curves = [curve["epochs"] for curve in report["history"]]
    assert [[epoch["epoch"] for epoch in curve] for curve in curves] == [[0, 1]] * 4
    assert len({curve[0]["validation_loss"] for curve in curves}) == 1
    assert len({curve[1]["validation_loss"] for curve in curves}) == 4


def test_what_the_manifest_lacks_is_said_once(tmp_path):
    work = make_context(tmp_path)
    for name, holds in (
        ("magnification", "500x (24 frames of 2 classes)"),
        ("accelerating_voltage", "20 kV (24 frames"),
        ("microscope", "SEM (24 frames"),
    ):
        table, report = run(work, name)
        assert len(table) == len(report["skipped"]) == 1
        assert holds in report["skipped"][0]["reason"]
        assert "frames.csv" in report["answer"]
    assert not list(tmp_path.iterdir())


def test_frames_of_two_magnifications_are_set_beside_each_other(tmp_path):
    world = make_frames(frames=24, noise_std=(8.0, 30.0), magnification=[100.0] * 12 + [500.0] * 12)
    table, report = run(make_context(tmp_path, world=world), "magnification")
    assert table["point"].tolist() == ["100x", "500x"]
    assert table["value"].tolist() == [100.0, 500.0]
    assert (table["balanced_accuracy"] > 0.9).all()
    assert report["skipped"] == []
    assert "no difference beyond noise at '500x'" in report["answer"]


def test_grey_levels_are_measured_against_known_shifts(tmp_path):
    table, report = run(make_context(tmp_path), "grey_levels")
    held = table[table["split"] == "test"].set_index("class")
    np.testing.assert_allclose(held["grey_mean"], [100.0, 140.0], atol=1.0)
    np.testing.assert_allclose(held["grey_std"], 20.0, atol=1.0)
    np.testing.assert_allclose(held["distance_to_nearest_class"], 40.0, atol=1.5)
    assert (held["distance_to_train"] < 1.5).all()
    assert held["nearest_class"].tolist() == ["811_cycled", "333"]
    assert "in 4 of 4 cases" in report["answer"]
    assert sum(report["histograms"]["333"]["train"]) == pytest.approx(1.0)
    one = np.eye(256)
    assert measure_grey_distance(one[10], one[37]) == pytest.approx(27.0)


def test_the_same_test_crops_are_resampled_together():
    """A point that is right a little more often in every area is better beyond noise."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 500).astype(np.int64)
    areas = tuple(f"{label}/{number // 25}" for number, label in enumerate(labels))
    wrong = rng.random(1000) < np.repeat(rng.uniform(0.1, 0.9, 40), 25)
    fewer = wrong.copy()
    fewer[::25] = False

    def answer(name, mistakes, ids):
        predicted = np.where(mistakes, 1 - labels, labels)
        return StudyPredictions(name, "texture", ids, areas, labels, predicted, 2)

    ids = tuple(map(str, range(1000)))
    worse, better = answer("worse", wrong, ids), answer("better", fewer, ids)
    (paired,) = compare_points([worse, better], "worse", SemStudiesParams())
    assert paired["paired"]
    assert paired["significant"]
    assert paired["difference"] == pytest.approx((wrong & ~fewer).mean())
    elsewhere = answer("better", fewer, tuple(f"other {name}" for name in ids))
    (independent,) = compare_points([worse, elsewhere], "worse", SemStudiesParams())
    assert not independent["paired"]
    assert not independent["significant"]


def test_other_weights_in_the_same_file_are_another_training(tmp_path, monkeypatch):
    """What counts is what a file holds, not where it lies."""
    trained, train = [], fits.train_classifier
    monkeypatch.setattr(
        fits, "train_classifier", lambda *a, **k: trained.append(1) or train(*a, **k)
    )

    def count(path):
        start = TINY.model_copy(update={"checkpoint_path": path})
        work = make_context(tmp_path / "w", models=("network",), normalisations=("none",))
        params = work.params.model_copy(update={"train": start})
        run(dataclasses.replace(work, params=params), "normalisation")
        return len(trained)

    def write(path, seed):
        torch.manual_seed(seed)
        torch.save(build_model("test_resnet", num_classes=2, pretrained=False).state_dict(), path)
        return path

    first, second = tmp_path / "first.pth", tmp_path / "second.pth"
    assert count(write(first, 1)) == count(first) == 1
    assert count(first.rename(second)) == 1
    assert count(write(second, 2)) == 2
