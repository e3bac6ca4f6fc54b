"""Training: a small network learns, an interrupted run resumes, the saved detector segments."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from detector_cases import draw_particles
from pydantic import ValidationError

from ncm_kedro.errors import ModelError
from ncm_kedro.params.tomo_phantoms import TomoSectionParams
from ncm_kedro.params.tomo_train import NetworkParams, SectionAugmentParams, TomoTrainParams
from ncm_kedro.tomo.detector.detector import STARTER_FOLDER, load_detector
from ncm_kedro.tomo.training.crops import CropSource
from ncm_kedro.tomo.training.fit import fit_network, read_state
from ncm_kedro.tomo.training.sections import InMemorySections, LabelledSection
from ncm_kedro.tomo.training.training import _bound_precision, starter_recipe, train_detector
from ncm_kedro.tomo.volumes.volume import measure_grey_range, normalise_sections

SMALL = TomoTrainParams(
    network=NetworkParams(n_rays=8, unet_depth=1, filters=8, features=16),
    augment=SectionAugmentParams(scale=1.1),
    phantom_sections=0,
    pairs_folder="given",
    patch_px=64,
    batch_size=4,
    epochs=3,
    steps_per_epoch=24,
    learning_rate=3e-3,
    warmup_steps=5,
    average_decay=0.9,
    validation_crops=8,
    precision="f32",
    seed=5,
)


class KillError(Exception):
    pass


def make_source(seeds):
    sections = []
    for seed in seeds:
        grey, labels = draw_particles((96, 96), radii=(8, 10, 12), seed=seed)
        sections.append(
            LabelledSection(normalise_sections(grey, *measure_grey_range(grey)), labels)
        )
    return [CropSource(InMemorySections(sections), np.arange(len(sections)), 1.0)]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return fit_network(
        make_source(range(6)), make_source((9,)), SMALL, tmp_path_factory.mktemp("u")
    )


def test_loss_falls(unbroken):
    losses = [row["val_loss"] for row in unbroken.history]
    assert len(losses) == SMALL.epochs
    assert losses[-1] < 0.85 * losses[0]
    assert losses[unbroken.best_epoch - 1] == min(losses)


def test_killed_run_ends_like_an_unbroken_one(unbroken, tmp_path):
    def kill(epoch, _row):
        if epoch == 1:
            raise KillError

    with pytest.raises(KillError):
        fit_network(make_source(range(6)), make_source((9,)), SMALL, tmp_path, report=kill)
    told = []
    resumed = fit_network(
        make_source(range(6)),
        make_source((9,)),
        SMALL,
        tmp_path,
        report=lambda e, _: told.append(e),
    )
    assert told == [2, 3]
    for one, other in zip(unbroken.history, resumed.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
    for one, other in zip(
        unbroken.model.keras_model.get_weights(), resumed.model.keras_model.get_weights(),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_state_of_other_settings_is_not_taken_up(tmp_path):
    short = SMALL.model_copy(update={"epochs": 1, "steps_per_epoch": 2})
    fit_network(make_source((0,)), make_source((1,)), short, tmp_path)
    other = short.model_copy(update={"seed": 6})
    told = []
    fit_network(
        make_source((0,)), make_source((1,)), other, tmp_path, report=lambda e, _: told.append(e)
    )
    assert told == [1]
    (tmp_path / "state.npz").write_bytes(b"PK half a file")
    with pytest.raises(ModelError, match="starts over"):
        read_state(tmp_path / "state.npz")


def test_pairs_and_phantoms_to_a_folder_that_segments(tmp_path):
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    for number in range(3):
        grey, labels = draw_particles((96, 96), radii=(20, 24), seed=number)
        tifffile.imwrite(pairs / f"{number}.tif", grey)
        tifffile.imwrite(pairs / f"{number}_labels.tif", labels.astype(np.uint16))
    params = SMALL.model_copy(
        update={
            "pairs_folder": pairs, "phantom_sections": 6, "section_px": 72, "render_workers": 1,
            "epochs": 1, "steps_per_epoch": 3, "threshold_images": 2,
        }
    )  # fmt: skip
    result = train_detector(params, TomoSectionParams(), tmp_path / "work")
    assert result.counts == {"training": 5 + 2, "held_out": 1 + 1}
    assert {path.name for path in result.folder.iterdir()} >= {
        "config.json", "thresholds.json", "weights_best.h5", "detector.onnx", "detector.json",
    }  # fmt: skip
    assert result.parity.dist_px < 1e-3
    assert set(result.thresholds.precision) == {"0.5", "0.7", "0.9"}
    detector = load_detector(result.folder, n_rays=8)
    assert detector.prob_threshold == result.thresholds.prob
    assert len(result.examples) == 2
    summary = json.loads((result.folder / "detector.json").read_text())
    assert summary["particle_px"] == 48
    assert "pairs_folder" not in summary["training"]["settings"]


def test_settings_that_cannot_work():
    with pytest.raises(ValidationError, match="nothing to train on"):
        TomoTrainParams(phantom_sections=0)


def test_starter_was_trained_by_its_recipe():
    summary = json.loads((STARTER_FOLDER / "detector.json").read_text())
    recipe = starter_recipe().model_dump(mode="json", exclude={"pairs_folder", "start_from"})
    assert summary["training"]["settings"] == recipe
    weights = sum(path.stat().st_size for path in STARTER_FOLDER.iterdir())
    assert weights < 8_000_000


@pytest.mark.slow
def test_recipe_in_small_finds_discs(tmp_path):
    params = starter_recipe().model_copy(
        update={"phantom_sections": 256, "epochs": 4, "steps_per_epoch": 60, "batch_size": 4,
                "validation_crops": 16, "threshold_images": 6}
    )  # fmt: skip
    result = train_detector(params, TomoSectionParams(), tmp_path)
    assert result.thresholds.precision["0.5"] > 0.2
    assert result.history[-1]["val_loss"] < 0.7 * result.history[0]["val_loss"]


def test_sections_that_are_alike_leave_a_score_without_a_range():
    counts = np.tile(np.array([[8.0, 1, 1], [6, 2, 2], [4, 3, 3]]), (12, 1, 1))
    bounds = _bound_precision(counts)
    assert (bounds["ap_50_low"], bounds["ap_50_high"]) == pytest.approx((0.8, 0.8))
    counts[::2, 1] = [0, 5, 10]
    bounds = _bound_precision(counts)
    assert bounds["ap_70_low"] < 6 / 25 < bounds["ap_70_high"]
    assert bounds["ap_90_low"] == pytest.approx(0.4)
