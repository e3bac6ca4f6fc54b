"""Known textures, invariances, and the classifier on top."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern

from ncm_kedro.errors import ModelError
from ncm_kedro.learning.models.texture import (
    COOCCURRENCE_PROPERTIES,
    TextureParams,
    fit_texture_baseline,
    measure_cooccurrence,
    measure_local_patterns,
    measure_radial_power,
    texture_feature_names,
    texture_features,
)

SIDE = 72


def _noise(rng: np.random.Generator, n: int, grain: int) -> np.ndarray:
    small = rng.integers(40, 216, (n, SIDE // grain, SIDE // grain))
    return np.kron(small, np.ones((1, grain, grain))).astype(np.uint8)


def _named(crops: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(texture_feature_names(), texture_features(crops).T, strict=True))


def test_names_match_columns() -> None:
    crops = _noise(np.random.default_rng(0), 3, 1)
    features = texture_features(crops)
    assert features.shape == (3, len(texture_feature_names()))
    assert features.dtype == np.float32
    assert len(set(texture_feature_names())) == features.shape[1]
    assert texture_features(crops[:0]).shape == (0, features.shape[1])


def test_flat_crop_has_finite_features() -> None:
    named = _named(np.full((1, SIDE, SIDE), 77, dtype=np.uint8))
    assert all(np.isfinite(v).all() for v in named.values())
    assert named["grey_mean"][0] == 77
    assert named["lbp_r1_8"][0] == 1.0  # every neighbour equals the centre
    assert named["glcm_d4_contrast"][0] == 0
    assert named["glcm_d4_energy"][0] == 1.0


def test_threads_do_not_change_features() -> None:
    crops = _noise(np.random.default_rng(1), 5, 2)
    np.testing.assert_array_equal(
        texture_features(crops, n_threads=1), texture_features(crops, n_threads=3)
    )


@pytest.mark.parametrize("turn", ["rot90", "flip"])
def test_features_survive_turns_and_mirrors(turn: str) -> None:
    crops = _noise(np.random.default_rng(2), 2, 3)
    moved = np.rot90(crops, axes=(1, 2)) if turn == "rot90" else crops[:, :, ::-1]
    before, after = texture_features(crops), texture_features(np.ascontiguousarray(moved))
    np.testing.assert_allclose(after, before, atol=2e-3)


def test_patterns_ignore_brightness_but_grey_mean_does_not() -> None:
    crops = _noise(np.random.default_rng(3), 1, 2)
    dark, light = _named(crops), _named(crops + np.uint8(30))
    for name, value in dark.items():
        if name.startswith(("lbp", "spectrum")):
            np.testing.assert_allclose(light[name], value, atol=1e-3)
    assert light["grey_mean"] - dark["grey_mean"] == pytest.approx(30, abs=1e-3)


def test_cooccurrence_and_patterns_are_those_of_scikit_image() -> None:
    grey = np.random.default_rng(4).integers(0, 8, (40, 44)).astype(np.int32)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]  # distance 1: the diagonal is one step
    matrix = graycomatrix(grey.astype(np.uint8), [1], angles, 8, symmetric=True, normed=True)
    expected = [graycoprops(matrix, name).mean() for name in COOCCURRENCE_PROPERTIES]
    np.testing.assert_allclose(measure_cooccurrence(grey, 1, 8), expected)
    crop = _noise(np.random.default_rng(7), 1, 2)[0]
    codes = local_binary_pattern(crop, 8, 1, method="uniform")[1:-1, 1:-1].astype(int)
    expected = np.bincount(codes.ravel(), minlength=10) / codes.size
    np.testing.assert_allclose(measure_local_patterns(crop, 1), expected, atol=0.01)


def test_spectrum_peaks_at_the_grating_frequency() -> None:
    params = TextureParams()
    cycles = 12
    wave = 128 + 60 * np.sin(2 * np.pi * cycles * np.arange(96) / 96)
    crop = np.broadcast_to(wave, (96, 96)).astype(np.uint8)
    power = measure_radial_power(crop, params.spectrum_bins)
    edges = np.geomspace(0.9 / 96, 0.5, params.spectrum_bins + 1)
    ring = np.searchsorted(edges, cycles / 96, side="right") - 1
    assert abs(int(power.argmax()) - ring) <= 1


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((2, SIDE, SIDE), dtype=np.float32),
        np.zeros((SIDE, SIDE), dtype=np.uint8),
        np.zeros((2, 20, 20), dtype=np.uint8),
    ],
)
def test_wrong_crops_are_refused(crops: np.ndarray) -> None:
    with pytest.raises(ModelError, match="uint8 crops of shape"):
        texture_features(crops)


def test_baseline_tells_grain_sizes_apart_and_is_repeatable() -> None:
    rng = np.random.default_rng(5)
    crops = np.concatenate([_noise(rng, 20, grain) for grain in (1, 2, 4)])
    labels = np.repeat(["fine", "medium", "coarse"], 20)
    features = texture_features(crops)
    held = np.arange(60) % 4 == 0
    fitted = fit_texture_baseline(
        features[~held], labels[~held], 0, validation=(features[held], labels[held])
    )
    assert (fitted.predict(features[held]) == labels[held]).all()
    np.testing.assert_allclose(fitted.predict_proba(features[held]).sum(axis=1), 1.0, rtol=1e-5)
    again = fit_texture_baseline(
        features[~held], labels[~held], 0, validation=(features[held], labels[held])
    )
    np.testing.assert_array_equal(again.predict_proba(features), fitted.predict_proba(features))


def test_baseline_picks_regularisation_on_validation() -> None:
    rng = np.random.default_rng(6)
    signal = np.repeat([0, 1], 40)
    features = np.column_stack([signal + 0.1 * rng.standard_normal(80), rng.standard_normal(80)])
    labels = np.r_[signal, 1]  # one outlier, so that a fit of almost no weight predicts class 1
    features = np.vstack([features, [[0.0, 0.0]]])
    params = TextureParams(inverse_regularisation=(1e-9, 1.0))
    fitted = fit_texture_baseline(
        features, labels, 0, validation=(features[::3], labels[::3]), params=params
    )
    assert fitted["classify"].C == 1.0
    assert fitted.score(features, labels) > 0.95


def test_one_class_is_refused() -> None:
    with pytest.raises(ModelError, match="at least two classes"):
        fit_texture_baseline(np.zeros((4, 2)), np.zeros(4), 0, validation=(np.zeros((1, 2)), [0]))
