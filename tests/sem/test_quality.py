import cv2
import numpy as np
import pandas as pd
import pytest

from ncm_kedro.params.sem_ingest import QualityParams
from ncm_kedro.sem.audit.quality import (
    QUALITY_COLUMNS,
    assess_frames,
    find_near_duplicates,
    halve,
    measure_quality,
    measure_sharpness,
    measure_texture_density,
)

PARAMS = QualityParams()
UM = 0.27


def draw_texture(*, seed=0, height=256, width=320, sigma=1.5, contrast=40.0, level=120.0):
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    return (level + contrast * smooth / smooth.std()).clip(0, 255).astype(np.uint8)


def draw_plates(seed=0, height=256, width=320):
    """Smooth faces with sharp rims: a Voronoi pattern."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, (height, width), (40, 2))
    y, x = np.mgrid[:height, :width]
    nearest = np.hypot(y[..., None] - points[:, 0], x[..., None] - points[:, 1]).argmin(axis=2)
    faces = rng.uniform(60, 190, 40)[nearest].astype(np.float32)
    return (cv2.GaussianBlur(faces, (0, 0), 1.0) + rng.normal(0, 2, faces.shape)).astype(np.uint8)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_flat_fraction_is_the_bare_share(share):
    image_yx = draw_texture()
    bare = round(share * image_yx.shape[1])
    noise = np.random.default_rng(1).normal(80, 3, (image_yx.shape[0], bare))
    image_yx[:, :bare] = noise.astype(np.uint8)
    assert measure_quality(image_yx, UM, PARAMS).flat_fraction == pytest.approx(share, abs=0.05)


def test_clipped_fraction_counts_both_ends():
    image_yx = np.full((64, 100), 128, np.uint8)
    image_yx[:, :10], image_yx[:, 10:30] = 0, 255
    assert measure_quality(image_yx, UM, PARAMS).clipped_fraction == pytest.approx(0.3)


def test_sharpness_falls_with_blur_and_ignores_contrast_and_shading():
    image_yx = draw_texture()
    sharp = measure_sharpness(halve(image_yx))
    blurred = [measure_sharpness(halve(cv2.GaussianBlur(image_yx, (0, 0), s))) for s in (1, 2, 4)]
    assert sharp > blurred[0] > blurred[1] > blurred[2]
    faint = measure_sharpness(halve(draw_texture(contrast=20.0)))
    assert faint == pytest.approx(sharp, rel=0.02)
    shading = np.linspace(-30, 30, image_yx.shape[1])
    shaded = (draw_texture(contrast=20.0) + shading).astype(np.uint8)
    assert measure_sharpness(halve(shaded)) == pytest.approx(sharp, rel=0.05)


def test_texture_density_parts_grains_from_smooth_plates_at_any_exposure():
    for gain in (0.4, 1.0):
        grains, plates = (
            measure_texture_density(halve((gain * image_yx).astype(np.uint8)))
            for image_yx in (draw_texture(), draw_plates())
        )
        assert grains > 0.7
        assert plates < 0.5


def test_texture_density_of_a_gaussian_field_is_pi_over_four():
    """The gradient magnitude of an isotropic Gaussian field is Rayleigh distributed."""
    image_yx = draw_texture(height=1024, width=1024, sigma=4.0, contrast=30.0)
    assert measure_texture_density(halve(image_yx)) == pytest.approx(np.pi / 4, abs=0.01)


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_uniform_frame_is_flat_and_has_no_nan(level):
    quality = measure_quality(np.full((96, 128), level, np.uint8), UM, PARAMS)
    assert quality.flat_fraction == 1.0
    assert (quality.sharpness, quality.texture_density) == (0.0, 0.0)


def test_content_hash_tells_frames_and_shapes_apart():
    image_yx = draw_texture()
    changed_yx = image_yx.copy()
    changed_yx[0, 0] ^= 1
    hashes = [measure_quality(frame, UM, PARAMS).content_hash for frame in
              (image_yx, image_yx.copy(), changed_yx, image_yx.reshape(320, 256))]  # fmt: skip
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_near_duplicates_are_found_and_drifted_neighbours_are_not():
    wide_yx = draw_texture(height=256, width=400, sigma=6.0)
    noise = np.random.default_rng(4).normal(0, 6, (256, 320))
    frames = {
        "333/a": wide_yx[:, :320],
        "333/b": (wide_yx[:, :320] + noise).clip(0, 255).astype(np.uint8),
        "333/c": np.ascontiguousarray(wide_yx[:, 40:360]),
        "333/d": draw_texture(seed=9, sigma=6.0),
    }
    table = assess_frames(frames, dict.fromkeys(frames, UM), PARAMS)
    assert table["frame_id"].tolist() == sorted(frames)
    assert table["near_duplicate_of"].fillna("").tolist() == ["", "333/a", "", ""]


def test_frames_without_structure_are_no_duplicates_of_each_other():
    assert list(find_near_duplicates(np.zeros((3, 4), np.float32), np.ones(3), 0.9)) == [-1, -1, -1]


def test_assessment_does_not_depend_on_workers_or_order():
    frames = {f"333/{i}": draw_texture(seed=i) for i in range(6)}
    first = assess_frames(frames, dict.fromkeys(frames, UM), PARAMS, workers=1)
    second = assess_frames(
        dict(reversed(frames.items())), dict.fromkeys(frames, UM), PARAMS, workers=3
    )
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert list(first.columns) == ["frame_id", *QUALITY_COLUMNS]
