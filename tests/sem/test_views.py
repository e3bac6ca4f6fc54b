"""The same region in frames of any size, magnification, rotation, mirroring and contrast."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from manifest_cases import list_frame
from ncm_kedro.params.crop_augment import CropParams, SplitParams
from ncm_kedro.params.sem_ingest import AuditParams, MosaicParams
from ncm_kedro.sem.audit.audit import plan_bands
from ncm_kedro.sem.crops.crops import crop_boxes, plan_crops
from ncm_kedro.sem.crops.regions import measure_areas
from ncm_kedro.sem.mosaic.geometry import chain, corners, frame_matrices, invert, map_points
from ncm_kedro.sem.mosaic.merging import exclude_conflicts
from ncm_kedro.sem.mosaic.mosaic import build_mosaics
from ncm_kedro.sem.mosaic.overlaps import find_overlaps

PARAMS = MosaicParams(workers=1)
SIZE = (640, 480)
PIXEL_UM = 0.1


@pytest.fixture(scope="module")
def field():
    """Structure at every scale, as particles made of grains have, in px of 0.1 um."""
    rng = np.random.default_rng(8)
    field_yx = np.zeros((3200, 3200), np.float32)
    for sigma in (2, 4, 8, 16, 32, 64):
        noise = rng.standard_normal((3200 // max(1, sigma // 2),) * 2).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), 2 if sigma > 1 else 1)
        field_yx += cv2.resize(smooth / smooth.std(), (3200, 3200), interpolation=cv2.INTER_CUBIC)
    return 120 + 18 * field_yx


def view(field_yx, place, *, scale=1.0, angle=0.0, mirrored=False, size=SIZE, seed=0):
    """Image of the field, with its matrix: frame px to field px; `scale` field px a frame px."""
    sign = -1.0 if mirrored else 1.0
    cos, sin = np.cos(np.deg2rad(angle)) * scale, np.sin(np.deg2rad(angle)) * scale
    linear = np.array([[cos * sign, -sin], [sin * sign, cos]])
    matrix = np.column_stack([linear, np.array(place) - linear @ (np.array(size) / 2)])
    finer = 2 if scale > 1.2 else 1  # no aliasing
    step = linear / finer
    centred = np.column_stack([step, matrix[:, 2] + step @ (0.5, 0.5) - 0.5])
    fine = cv2.warpAffine(
        field_yx,
        centred,
        (size[0] * finer, size[1] * finer),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    image = cv2.resize(fine, size, interpolation=cv2.INTER_AREA)
    noise = 6 * np.random.default_rng(seed).standard_normal(image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), matrix


def describe(views, classes=None, pixel_um=None):
    """Frames and table of views; the pixel size that a frame states may be wrong."""
    frames, rows = {}, []
    for number, (image, matrix) in enumerate(views):
        name = "811" if classes is None else classes[number]
        true_um = PIXEL_UM * float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        row = list_frame(
            name, f"f{number:02d}", height_px=image.shape[0], width_px=image.shape[1],
            pixel_size_um=true_um if pixel_um is None else pixel_um[number],
        )  # fmt: skip
        frames[row["frame_id"]] = image
        rows.append(row)
    return frames, pd.DataFrame(rows)


def build(views, classes=None, pixel_um=None):
    """Manifest and links of views."""
    frames, table = describe(views, classes, pixel_um)
    manifest, links = build_mosaics(table, find_overlaps(frames, table, PARAMS), PARAMS)
    return exclude_conflicts(manifest, links), links


def find_errors(manifest, views):
    """Distances of all frames' corners from where the field has them, in px of the mosaic."""
    placed = frame_matrices(manifest)
    to_field = chain(views[0][1], invert(placed[0]))
    extent = manifest[["width_px", "height_px"]].to_numpy(float)
    scale = np.sqrt(abs(np.linalg.det(to_field[:, :2])))
    return [
        np.linalg.norm(
            map_points(chain(to_field, here), corners(size)) - map_points(true, corners(size)),
            axis=1,
        ).max()
        / scale
        for here, (_, true), size in zip(placed, views, extent, strict=True)
    ]


@pytest.mark.parametrize(
    ("other", "tolerance_px"),
    [
        ({"place": (1250, 1150), "size": (640, 470)}, 1.5),  # half a field on, ten rows less
        ({"place": (1150, 1080), "size": (900, 600)}, 1.5),  # another width
        ({"place": (1050, 1020), "scale": 1.3}, 2),
        ({"place": (1150, 1100), "scale": 0.5}, 2),  # a higher magnification, partly outside
        ({"place": (1100, 1020), "scale": 1.03}, 3),
        ({"place": (1100, 1040), "angle": 1.0}, 4),
        ({"place": (1100, 1040), "angle": 10.0}, 3),
        ({"place": (1150, 1080), "angle": 90.0}, 3),
        ({"place": (1150, 1080), "angle": 33.0, "mirrored": True}, 3),
    ],
)
def test_a_common_region_makes_one_mosaic_and_places_are_true(field, other, tolerance_px):
    views = [view(field, (1000, 1000)), view(field, **other, seed=1)]
    manifest, links = build(views)
    assert manifest["mosaic"].nunique() == 1
    assert links["used"].all()
    assert max(find_errors(manifest, views)) < tolerance_px


@pytest.mark.parametrize(("ratio", "size"), [(3, SIZE), (8, (1280, 960))])
def test_high_magnifications_are_found_in_a_wide_frame(field, ratio, size):
    wide = view(field, (1600, 1600), scale=2.0, size=size)
    narrow = view(field, (1400, 1750), scale=2.0 / ratio, size=size, seed=1)
    manifest, links = build([wide, narrow])
    assert manifest["mosaic"].nunique() == 1
    assert links["overlap"].iloc[0] == pytest.approx(1.0, abs=0.02)
    assert max(find_errors(manifest, [wide, narrow])) < 2


def compress(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 25])[1], 0)


COPIES = {
    "turned by 90": np.rot90,
    "mirrored in x": lambda image: image[:, ::-1],
    "transposed": lambda image: image.T,
    "inverted, mirrored and turned": lambda image: 255 - np.rot90(image[:, ::-1]),
    "half size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=3),
    "a row less": lambda image: image[:-1],
    "low contrast": lambda image: (100 + image * 0.1).astype(np.uint8),
    "gamma": lambda image: (255 * (image / 255.0) ** 2.2).astype(np.uint8),
    "jpeg": compress,
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_join_their_original(field, copy):
    image, matrix = view(field, (1000, 1000))
    other = np.ascontiguousarray(COPIES[copy](image))
    half = 2.0 if copy == "half size" else 1.0
    manifest, links = build([(image, matrix), (other, matrix)], pixel_um=[0.1, 0.1 * half])
    assert manifest["mosaic"].nunique() == 1
    assert links["inverted"].iloc[0] == copy.startswith("inverted")
    assert links["overlap"].iloc[0] > 0.99
    if copy == "half size":
        wrong, _ = build([(image, matrix), (other, matrix)], pixel_um=[0.1, 0.1])
        assert wrong["mosaic"].nunique() == 1


def test_fine_texture_in_noise_is_looked_at_closer():
    rng = np.random.default_rng(1)
    fine_yx = cv2.GaussianBlur(rng.standard_normal((900, 1900)).astype(np.float32), (0, 0), 1.5)
    fine_yx = 110 + 22 * fine_yx / fine_yx.std()
    first, second = (
        np.clip(part + 45 * rng.standard_normal(part.shape), 0, 255).astype(np.uint8)
        for part in (fine_yx[:, :1100], fine_yx[:, 600:1700])
    )
    unknown = np.array([[1.0, 0, 0], [0, 1, 0]])
    mirrored = np.ascontiguousarray(second[:, ::-1])
    manifest, links = build([(first, unknown), (mirrored, unknown)], pixel_um=[0.1, 0.1])
    assert manifest["mosaic"].nunique() == 1
    assert links["overlap"].iloc[0] == pytest.approx(500 / 1100, abs=0.01)


def test_frames_without_a_common_region_stay_apart(field):
    places = [(500 + 1000 * x, 500 + 1000 * y) for x in range(3) for y in range(2)]
    turned = [(90.0 * (k % 4), k % 3 == 0, (0.8, 1.0, 1.2)[k % 3]) for k in range(6)]
    views = [
        view(field, place, angle=angle, mirrored=mirrored, scale=scale, seed=number)
        for number, (place, (angle, mirrored, scale)) in enumerate(zip(places, turned, strict=True))
    ]
    manifest, links = build(views)
    assert links.empty
    assert manifest["mosaic"].nunique() == len(views)


def share_area(first, second):
    first, second = first.astype(np.float32), second.astype(np.float32)
    return cv2.intersectConvexConvex(first, second)[0]


def find_leaks(crops, manifest, views):
    """Pairs of crops of two splits that show a common region of the field, by its true geometry."""
    matrix = dict(zip(manifest["frame_id"], (true for _, true in views), strict=True))
    outlines = [
        map_points(
            matrix[crop.frame_id],
            np.add(corners((crop.size_px, crop.size_px)), (crop.x_px, crop.y_px)),
        )
        for crop in crops.itertuples()
    ]
    splits = crops["split"].tolist()
    return [
        (first, second)
        for first in range(len(crops))
        for second in range(first)
        if splits[first] != splits[second] and share_area(outlines[first], outlines[second]) > 0.5
    ]


@pytest.fixture(scope="module")
def mixed(field):
    """A drift series with frames of other sizes, magnifications and rotations in it."""
    series = [
        view(field, (500 + 220 * number, 1000 + 35 * number), seed=number) for number in range(8)
    ]
    others = [
        {"place": (900, 1050), "scale": 0.5},
        {"place": (1400, 1150), "scale": 1.3},
        {"place": (1700, 1200), "angle": 7.0},
        {"place": (700, 1000), "angle": 90.0},
        {"place": (2000, 1250), "angle": 180.0, "size": (600, 480)},
        {"place": (1200, 1100), "mirrored": True},
        {"place": (1900, 1230), "scale": 0.7, "angle": -25.0},
    ]
    views = [*series, *(view(field, **other, seed=40 + n) for n, other in enumerate(others))]
    return views, *build(views)


def test_splits_of_a_mixed_series_share_no_region(mixed):
    views, manifest, links = mixed
    assert manifest["mosaic"].nunique() == 1
    assert links["used"].all()
    assert np.max(find_errors(manifest, views)) < 8
    params = CropParams(
        size_px=96,
        images_per_class=120,
        test_images_per_class=60,
        split=SplitParams(test_fraction=0.2, validate_fraction=0.3),
    )
    crops, report = plan_crops(manifest, params)
    assert set(crops["split"]) == {"train", "validate", "test"}
    turned = manifest.loc[manifest["mosaic_angle_deg"].abs() > 1, "frame_id"]
    assert crops["frame_id"].isin(turned).sum() > 10
    assert find_leaks(crops, manifest, views) == []
    split_mm2 = sum(part["area_mm2"] for part in report["classes"]["811"]["splits"].values())
    assert split_mm2 < measure_areas(manifest)["area_mm2"].sum()
    assert (crop_boxes(crops, manifest) >= -1).all()
    assert plan_bands(manifest, AuditParams())["band"].nunique() > 3


def test_areas_of_turned_and_enlarged_frames_count_once(field):
    wide = view(field, (1000, 1000), scale=2.0)
    inside = view(field, (1000, 1000), scale=0.8, angle=20.0, seed=1)
    manifest, _ = build([wide, inside])
    areas = measure_areas(manifest)
    assert areas["area_mm2"].tolist() == pytest.approx([640 * 480 * 0.2**2 * 1e-6], rel=0.01)
    beside = view(field, (2200, 1000), scale=1.0, angle=30.0, seed=1)
    alone = view(field, (2200, 1000), scale=1.0, seed=2)
    manifest, _ = build([alone, beside])
    common = share_area(
        *(map_points(m, corners(np.array(SIZE, float))) for _, m in (alone, beside))
    )
    true_mm2 = (2 * 640 * 480 - common) * PIXEL_UM**2 * 1e-6
    assert measure_areas(manifest)["area_mm2"].tolist() == pytest.approx([true_mm2], rel=0.01)


def test_the_same_region_under_two_classes_is_excluded_whatever_it_looks_like(field):
    first = [view(field, (400 + 150 * number, 900), seed=number) for number in range(6)]
    second = [
        view(field, (1150 + 150 * number, 900), angle=180.0, scale=0.8, seed=20 + number)
        for number in range(4)
    ]
    lone = view(field, (2500, 2500), seed=50)
    classes = ["811"] * 6 + ["523"] * 4 + ["523"]
    manifest, links = build([*first, *second, lone], classes)
    assert (links["kind"] == "label_conflict").any()
    assert manifest.groupby("mosaic")["class"].nunique().eq(1).all()
    kept = manifest[~manifest["excluded"]]
    views = dict(zip(manifest["frame_id"], [*first, *second, lone], strict=True))
    outlines = {
        name: map_points(views[name][1], corners(np.array(SIZE, float)))
        for name in kept["frame_id"]
    }
    assert manifest["frame_id"].iloc[-1] in set(kept["frame_id"])
    for a in kept.loc[kept["class"] == "811", "frame_id"]:
        for b in kept.loc[kept["class"] == "523", "frame_id"]:
            assert share_area(outlines[a], outlines[b]) == 0
    reasons = manifest.loc[manifest["excluded"], "exclusion_reason"]
    assert reasons.str.contains("same region as").all()
    assert len(reasons) < len(manifest) - 1


def test_pairs_beyond_the_limit_are_counted(field):
    views = [view(field, (500 + 700 * number, 800), seed=number) for number in range(3)]
    links = find_overlaps(*describe(views), MosaicParams(workers=1, max_view_pairs=1))
    assert links.attrs == {"pairs_compared": 1, "pairs_skipped": 2}


def test_the_result_does_not_depend_on_workers(field):
    views = [
        view(field, (1000, 1000)),
        view(field, (1150, 1100), angle=20.0, seed=1),
        view(field, (2500, 2500), seed=3),
    ]
    one, three = (find_overlaps(*describe(views), MosaicParams(workers=n)) for n in (1, 3))
    assert len(one)
    pd.testing.assert_frame_equal(one, three)
