import cv2
import numpy as np
import pandas as pd
import pytest

from ncm_kedro.params.sem_ingest import QualityParams
from ncm_kedro.sem.audit.quality import (
    QUALITY_COLUMNS,
    assess_frames,
    group_scales,
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


def draw_spheres(pixel_size_um, *, diameter_um=5.0, rim=60.0, seed=0, shape=(480, 640)):
    """Dense spheres in focus, smooth but for shot noise: bright rims, or shaded from above."""
    rng = np.random.default_rng(seed)
    radius = diameter_um / 2 / pixel_size_um
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    top_yx, grey_yx = np.full(shape, -np.inf), np.full(shape, 60.0)
    field = np.prod([side + 2 * radius for side in shape])
    for _ in range(min(int(6 * field / (np.pi * radius**2)) + 3, 2000)):
        r = radius * rng.uniform(0.6, 1.2)
        at_y, at_x = (rng.uniform(-radius, side + radius) for side in shape)
        rows = slice(max(int(at_y - r), 0), max(int(at_y + r) + 1, 0))
        columns = slice(max(int(at_x - r), 0), max(int(at_x + r) + 1, 0))
        rho = np.hypot(y[rows, columns] - at_y, x[rows, columns] - at_x) / r
        dome = np.sqrt(np.clip(1 - rho**2, 0, 1))
        height = rng.uniform(0, radius) + r * dome
        seen = (rho < 1) & (height > top_yx[rows, columns])
        shade = rim * rho**4 if rim else 80 * (dome - 1)
        top_yx[rows, columns][seen] = height[seen]
        grey_yx[rows, columns][seen] = (rng.uniform(110, 150) + shade)[seen]
    return _record(cv2.GaussianBlur(grey_yx, (0, 0), 1), 8, rng)


def draw_foil(noise, seed=0, shape=(480, 640)):
    rng = np.random.default_rng(seed)
    rolled = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 60)
    return _record(90 + 1.5 * rolled / rolled.std(), noise, rng)


def _record(grey_yx, noise, rng):
    return (grey_yx + rng.normal(0, noise, grey_yx.shape)).clip(0, 255).astype(np.uint8)


def charge(image_yx, seed=0):
    """Streaks along the scan lines, as charging draws them."""
    lines = cv2.GaussianBlur(
        np.random.default_rng(seed).normal(size=(len(image_yx), 1)), (1, 9), 1.5
    )
    return (image_yx + 25 * lines / lines.std()).clip(0, 255).astype(np.uint8)


MAGNIFICATIONS_UM = (1.0, 0.27, 0.05, 0.0135)  # the last: 20,000x


@pytest.mark.parametrize("pixel_size_um", MAGNIFICATIONS_UM)
@pytest.mark.parametrize("rim", [60.0, 0.0])
def test_dense_spheres_are_not_bare_at_any_magnification(pixel_size_um, rim):
    image_yx = draw_spheres(pixel_size_um, rim=rim)
    for frame_yx in (image_yx, charge(image_yx)):
        quality = measure_quality(frame_yx, pixel_size_um, PARAMS)
        assert quality.flat_fraction <= PARAMS.max_flat_fraction


@pytest.mark.parametrize("pixel_size_um", MAGNIFICATIONS_UM)
@pytest.mark.parametrize("noise", [2, 14])
def test_foil_is_bare_at_any_magnification_and_noise(pixel_size_um, noise):
    for frame_yx in (draw_foil(noise), charge(draw_foil(noise))):
        assert measure_quality(frame_yx, pixel_size_um, PARAMS).flat_fraction > 0.9


@pytest.mark.parametrize("pixel_size_um", [1.0, 0.27, 0.05])
def test_foil_beside_spheres_is_counted(pixel_size_um):
    frame_yx = draw_spheres(pixel_size_um)
    frame_yx[:, 320:] = draw_foil(8)[:, 320:]
    for shown_yx in (frame_yx, charge(frame_yx)):
        flat_fraction = measure_quality(shown_yx, pixel_size_um, PARAMS).flat_fraction
        assert flat_fraction == pytest.approx(0.5, abs=0.11)


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


def test_frames_of_other_magnifications_are_no_duplicates():
    image_yx = draw_texture(sigma=6.0)
    half_yx = cv2.resize(image_yx, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    frames = {"333/a": image_yx, "333/b": image_yx + np.uint8(1), "333/c": half_yx}
    pixel_size_um = {"333/a": 0.1, "333/b": 0.2, "333/c": 0.2}  # c is a reduced copy of a
    table = assess_frames(frames, pixel_size_um, PARAMS)
    assert table["near_duplicate_of"].fillna("").tolist() == ["", "", "333/a"]


@pytest.mark.parametrize(("sizes", "groups"), [
    ([0.27, 0.0067, 0.2695, 0.0067, 0.054], [2, 0, 2, 0, 1]), ([0.3], [0]), ([], []),
])  # fmt: skip
def test_scales_are_grouped_by_their_gaps(sizes, groups):
    assert group_scales(np.array(sizes)).tolist() == groups


def test_assessment_does_not_depend_on_workers_or_order():
    frames = {f"333/{i}": draw_texture(seed=i) for i in range(6)}
    first = assess_frames(frames, dict.fromkeys(frames, UM), PARAMS, workers=1)
    second = assess_frames(
        dict(reversed(frames.items())), dict.fromkeys(frames, UM), PARAMS, workers=3
    )
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert list(first.columns) == ["frame_id", *QUALITY_COLUMNS]
