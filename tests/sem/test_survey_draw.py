"""Which images are drawn."""

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.errors import TableError
from ncm_kedro.params.sem_classify import SurveyDrawParams
from ncm_kedro.sem.crops.crop_set import hash_split
from ncm_kedro.sem.experiments.survey import KEY_COLUMNS, allocate_images, cut_view, draw_survey
from ncm_kedro.sem.io.frames import ClassLabel
from survey_cases import CUT_PX, HEIGHT_PX, LABELS, make_tables

PARAMS = SurveyDrawParams(seed=3)


def test_pictures_are_shared_out_evenly_over_the_classes():
    survey = draw_survey(*make_tables(), PARAMS)
    counts = survey.key["class"].value_counts()
    assert len(survey.key) == 19
    assert set(counts) == {3, 4}
    assert survey.classes.set_index("class")["pictures"].to_dict() == counts.to_dict()
    assert list(survey.key.columns) == list(KEY_COLUMNS)
    assert survey.key["question"].tolist() == list(range(1, 20))


def test_only_test_ground_of_kept_frames_without_additives_is_shown():
    labels = [*LABELS, ClassLabel("811", "cycled", "VC")]
    frames, manifest, crops = make_tables(labels=labels)
    manifest.loc[manifest["frame_id"] == "333/0", "excluded"] = True
    survey = draw_survey(frames, manifest, crops, PARAMS)
    assert set(survey.key["split"]) == {"test"}
    assert "333/0" not in set(survey.key["frame_id"])
    assert not survey.classes["class"].str.contains("VC").any()
    for row in survey.key.to_dict("records"):
        view_yx = cut_view(frames, row)
        assert view_yx.shape == (HEIGHT_PX, CUT_PX)
        np.testing.assert_array_equal(view_yx, frames[row["frame_id"]][:, :CUT_PX])


def test_a_class_without_test_ground_is_shown_from_the_next_best(caplog):
    frames, manifest, crops = make_tables()
    crops = crops[(crops["class"] != "811") | (crops["split"] == "train")]
    key = draw_survey(frames, manifest, crops, PARAMS).key
    assert set(key.loc[key["class"] == "811", "split"]) == {"train"}
    assert set(key.loc[key["class"] != "811", "split"]) == {"test"}
    assert "not from the test split" in caplog.text


def test_disjoint_ground_comes_first_and_the_rest_is_marked():
    tables = make_tables(frames_per_class=6, step_px=CUT_PX // 2)
    key = draw_survey(*tables, SurveyDrawParams(pictures=18, seed=0)).key
    place = key["frame_id"].str.rpartition("/")[2].astype(int)
    for _, mine in place.groupby(key["class"]):
        free = sorted(mine[~key.loc[mine.index, "overlaps_other"]])
        assert min(np.diff(free), default=2) >= 2
    assert draw_survey(*make_tables(), PARAMS).key["overlaps_other"].sum() == 0


def test_the_draw_depends_on_the_seed_alone():
    frames, manifest, crops = make_tables()
    first = draw_survey(frames, manifest, crops, PARAMS)
    shuffled = draw_survey(
        frames, manifest.sample(frac=1, random_state=0), crops.sample(frac=1, random_state=1),
        PARAMS,
    )  # fmt: skip
    pd.testing.assert_frame_equal(first.key, shuffled.key)
    other = draw_survey(frames, manifest, crops, SurveyDrawParams(seed=4))
    assert other.survey_id != first.survey_id
    assert first.key["class"].tolist() != sorted(first.key["class"])
    assert set(first.key["split_hash"]) == {hash_split(crops)}


def test_the_identity_changes_with_a_single_pixel():
    frames, manifest, crops = make_tables()
    before = draw_survey(frames, manifest, crops, PARAMS)
    row = before.key.iloc[5]
    frames[row["frame_id"]][3, 4] ^= 1
    assert draw_survey(frames, manifest, crops, PARAMS).survey_id != before.survey_id


def test_fewer_frames_than_pictures_are_all_shown(caplog):
    survey = draw_survey(*make_tables(frames_per_class=2), PARAMS)
    assert len(survey.key) == 12
    assert "not 19" in caplog.text


def test_one_class_is_no_survey():
    with pytest.raises(TableError, match="at least two classes"):
        draw_survey(*make_tables(labels=LABELS[:1]), PARAMS)


def test_what_one_class_lacks_the_others_give():
    rng = np.random.default_rng(0)
    assert allocate_images(np.array([1, 9, 9]), 11, rng).tolist() == [1, 5, 5]
    given = allocate_images(np.array([5, 5, 5]), 4, rng)
    assert sorted(given) == [1, 1, 2]
