"""The user's pairs in every layout, and the errors of broken ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from skimage.draw import disk

from ncm_kedro.errors import FrameError
from ncm_kedro.tomo.training.pairs import draw_regions, find_pairs, load_pair, read_via


def make_pair(size=60):
    labels = np.zeros((size, size), np.uint16)
    labels[disk((20, 20), 10)] = 7
    labels[disk((42, 40), 12)] = 3
    noise = np.random.default_rng(0).normal(0, 5, labels.shape)
    return ((labels > 0) * 100 + 50 + noise).astype(np.float32), labels


def test_label_image_beside(tmp_path):
    image, labels = make_pair()
    tifffile.imwrite(tmp_path / "one.tif", image)
    tifffile.imwrite(tmp_path / "one_labels.tif", labels)
    (pair,) = find_pairs(tmp_path)
    section = load_pair(pair)
    assert section.labels_yx.max() == 2
    np.testing.assert_array_equal(section.labels_yx > 0, labels > 0)
    assert np.percentile(section.image_yx, 1) == pytest.approx(0, abs=1e-5)
    assert np.percentile(section.image_yx, 99.8) == pytest.approx(1, abs=1e-5)


def test_folders_and_binary_masks(tmp_path):
    image, labels = make_pair()
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    tifffile.imwrite(tmp_path / "images" / "one.tif", image)
    tifffile.imwrite(tmp_path / "masks" / "one.tif", ((labels > 0) * 255).astype(np.uint8))
    (pair,) = find_pairs(tmp_path)
    assert load_pair(pair).labels_yx.max() == 2


def write_pair(folder, labels=None):
    image, known = make_pair()
    tifffile.imwrite(folder / "one.tif", image)
    tifffile.imwrite(folder / "one_labels.tif", known if labels is None else labels)


def write_lonely(folder):
    (folder / "images").mkdir()
    tifffile.imwrite(folder / "images" / "lonely.tif", make_pair()[0])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_lonely, "lonely"),
        (lambda f: None, "no image with outlines"),
        (lambda f: f.rmdir(), "no such folder"),
        (lambda f: write_pair(f, make_pair()[1][:-5]), "55 x 60"),
        (lambda f: write_pair(f, make_pair()[1] * 0), "no particle"),
        (lambda f: (write_pair(f), (f / "one_labels.tif").write_bytes(b"II*\0")), "cannot be read"),
    ],
)
def test_unusable_pairs_are_named(tmp_path, write, message):
    write(tmp_path)
    with pytest.raises(FrameError, match=message):
        load_pair(find_pairs(tmp_path)[0])


def test_particles_are_brought_to_the_wanted_size(tmp_path):
    write_pair(tmp_path)
    section = load_pair(find_pairs(tmp_path)[0], particle_px=44)
    areas = np.bincount(section.labels_yx.ravel())[1:]
    assert np.median(2 * np.sqrt(areas / np.pi)) == pytest.approx(44, rel=0.03)


VIA_REGIONS = [
    {"name": "polygon", "all_points_x": [2, 12, 12, 2], "all_points_y": [3, 3, 9, 9]},
    {"name": "circle", "cx": 40, "cy": 20, "r": 8},
    {"name": "ellipse", "cx": 30, "cy": 45, "rx": 12, "ry": 4, "theta": 0.0},
]


def via_entry(regions):
    return {"filename": "one.tif", "size": 1, "regions": regions, "file_attributes": {}}


@pytest.mark.parametrize("kind", ["list", "numbered", "project", "csv"])
def test_via_annotations(tmp_path, kind):
    tifffile.imwrite(tmp_path / "one.tif", make_pair()[0])
    listed = [{"shape_attributes": r, "region_attributes": {}} for r in VIA_REGIONS]
    if kind == "csv":
        rows = ["#filename,file_size,file_attributes,region_count,region_id,"
                "region_shape_attributes,region_attributes"]  # fmt: skip
        rows += [
            'one.tif,1,"{}",3,%d,"%s","{}"' % (n, json.dumps(r).replace('"', '""'))  # noqa: UP031
            for n, r in enumerate(VIA_REGIONS)
        ]
        (tmp_path / "via.csv").write_text("\n".join(rows))
    else:
        regions = {str(n): r for n, r in enumerate(listed)} if kind == "numbered" else listed
        content = {"one.tif1": via_entry(regions)}
        content = {"_via_img_metadata": content} if kind == "project" else content
        (tmp_path / "via.json").write_text(json.dumps(content))
    (pair,) = find_pairs(tmp_path)
    labels = load_pair(pair).labels_yx
    areas = np.bincount(labels.ravel())[1:]
    assert areas[0] == pytest.approx(60, rel=0.3)
    assert areas[1] == pytest.approx(np.pi * 64, rel=0.08)
    assert areas[2] == pytest.approx(np.pi * 48, rel=0.1)
    assert labels[20, 40] == 2
    assert (labels[45, 20], labels[38, 30]) == (3, 0)


def test_turned_ellipse_leans_as_on_the_screen(tmp_path):
    region = {"name": "ellipse", "cx": 30, "cy": 30, "rx": 20, "ry": 4, "theta": np.pi / 6}
    rows, columns = np.nonzero(draw_regions([region], (60, 60), tmp_path))
    slope = np.polyfit(columns, rows, 1)[0]
    assert slope == pytest.approx(np.tan(np.pi / 6), rel=0.1)  # downwards to the right


def test_via_faults(tmp_path):
    line = {"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}
    with pytest.raises(FrameError, match="region 1"):
        draw_regions([line], (9, 9), tmp_path / "via.json")
    with pytest.raises(FrameError, match="no area"):
        draw_regions([{"name": "point", "cx": 1, "cy": 1}], (9, 9), tmp_path / "via.json")
    (tmp_path / "via.json").write_text("{broken")
    with pytest.raises(FrameError, match="cannot be read"):
        read_via(tmp_path / "via.json")
    (tmp_path / "other.json").write_text('{"voxel": 1}')
    assert read_via(tmp_path / "other.json") == {}
