"""The crop table becomes arrays that cut the same pixels; what cannot be trained on is refused."""

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


def test_one_class_is_refused_with_its_name(tables):
    frames, manifest, crops = tables
    with pytest.raises(SettingsError, match="one class only \\(811\\)"):
        build_crop_set(frames, crops[crops["class"] == "811"], manifest)


def test_a_class_without_validation_crops_is_refused(tables):
    frames, manifest, crops = tables
    keep = ~((crops["class"] == "811_cycled") & (crops["split"] == "validate"))
    with pytest.raises(SettingsError, match="no crop of 811_cycled"):
        build_crop_set(frames, crops[keep], manifest)


def test_crops_of_unknown_frames_are_refused(tables):
    frames, manifest, crops = tables
    with pytest.raises(TableError, match="that the manifest lacks"):
        build_crop_set(frames, crops, manifest.iloc[1:])


def test_mixed_sizes_are_refused(tables):
    frames, manifest, crops = tables
    crops.loc[0, "size_px"] = 32
    with pytest.raises(TableError, match="crops of 2 sizes"):
        build_crop_set(frames, crops, manifest)
