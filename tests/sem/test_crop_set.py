"""The crop table becomes arrays that cut the same pixels; what cannot be trained on is rejected."""

import numpy as np
import pytest

from ncm_kedro.errors import SettingsError, TableError
from ncm_kedro.sem.crops.crop_set import build_crop_set, hash_split


def test_arrays_cut_the_pixels_that_the_table_names(tables, crop_set):
    frames = tables[0]
    table = crop_set.tables["train"]
    pixels = crop_set.cut_pixels("train", slice(0, None))
    for row, crop_yx in zip(table.itertuples(), pixels, strict=True):
        expected = frames[row.frame_id][row.y_px : row.y_px + 72, row.x_px : row.x_px + 72]
        np.testing.assert_array_equal(crop_yx, expected)


def test_labels_follow_the_class_names(crop_set):
    names = np.array(crop_set.classes)[crop_set.indices["test"].label]
    assert names.tolist() == crop_set.tables["test"]["class"].tolist()
    assert crop_set.states == ("pristine", "cycled")


def test_order_of_rows_changes_nothing(tables, crop_set):
    frames, manifest, crops = tables
    shuffled = build_crop_set(
        frames, crops.sample(frac=1, random_state=1), manifest.sample(frac=1, random_state=2)
    )
    assert shuffled.split_hash == crop_set.split_hash
    np.testing.assert_array_equal(shuffled.indices["train"].x_px, crop_set.indices["train"].x_px)


def test_hash_changes_with_the_split_of_one_crop(tables):
    crops = tables[2]
    moved = crops.copy()
    moved.loc[0, "split"] = "test"
    assert hash_split(moved) != hash_split(crops)


@pytest.mark.parametrize(
    ("spoil", "error", "found"),
    [
        (lambda c: c[c["class"] == "811"], SettingsError, "811"),
        (
            lambda c: c[(c["class"] != "811_cycled") | (c["split"] != "validate")],
            SettingsError,
            "811_cycled",
        ),
        (lambda c: c.assign(frame_id="811/x"), TableError, "811/x"),
        (lambda c: c.assign(size_px=[32, *c["size_px"][1:]]), TableError, "2 sizes"),
    ],
)
def test_what_cannot_be_trained_on_is_rejected(tables, spoil, error, found):
    frames, manifest, crops = tables
    with pytest.raises(error, match=found):
        build_crop_set(frames, spoil(crops), manifest)
