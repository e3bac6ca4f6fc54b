"""Which crops are explained."""

import pandas as pd
import pytest

from explain_cases import make_tables
from ncm_kedro.errors import SettingsError
from ncm_kedro.params.sem_explain import CropChoiceParams
from ncm_kedro.sem.explain.crops import choose_crops

PARAMS = CropChoiceParams(random=4, misclassified=2, seed=1)


@pytest.fixture(scope="module")
def predictions():
    return make_tables()[2]


def test_each_kind_is_what_it_says(predictions):
    chosen = choose_crops(predictions, PARAMS)
    for name, mine in predictions.groupby("class"):
        rows = {k: v for k, v in chosen[chosen["class"] == name].groupby("kind")}
        right = mine[mine["predicted"] == name]
        assert rows["confident"]["crop_id"].tolist() == [
            right.loc[right["probability"].idxmax(), "crop_id"]
        ]
        ordered = mine[[c for c in mine if c.startswith("p_")]].apply(
            lambda row: sorted(row)[-1] - sorted(row)[-2], axis=1
        )
        assert rows["uncertain"]["crop_id"].tolist() == [mine.loc[ordered.idxmin(), "crop_id"]]
        assert len(rows["random"]) == 4
        assert ("misclassified" in rows) == (name == "811")


def test_an_error_is_explained_for_its_two_leading_classes(predictions):
    wrong = choose_crops(predictions, PARAMS).query("kind == 'misclassified'")
    assert len(wrong) == 4
    for crop_id, pair in wrong.groupby("crop_id"):
        assert pair.sort_values("target_rank")["target"].tolist() == ["811_cycled", "811"]
        row = predictions.set_index("crop_id").loc[crop_id]
        for entry in pair.to_dict("records"):
            assert entry["p_target"] == pytest.approx(row[f"p_{entry['target']}"])


def test_random_crops_spread_over_the_areas(predictions):
    drawn = choose_crops(predictions, PARAMS).query("kind == 'random'")
    assert (drawn.groupby(["class", "area"]).size() == 2).all()
    assert not drawn["crop_id"].duplicated().any()


def test_the_same_seed_chooses_the_same_whatever_the_order_of_rows(predictions):
    one = choose_crops(predictions, PARAMS)
    again = choose_crops(predictions.sample(frac=1.0, random_state=3), PARAMS)
    other = choose_crops(predictions, PARAMS.model_copy(update={"seed": 2}))
    pd.testing.assert_frame_equal(one, again)
    assert one["crop_id"].tolist() != other["crop_id"].tolist()


def test_crops_asked_for_are_there_and_unknown_ones_are_named(predictions):
    wanted = predictions["crop_id"].iloc[7]
    chosen = choose_crops(predictions, PARAMS.model_copy(update={"crop_ids": (wanted,)}))
    assert chosen.query("kind == 'chosen'")["crop_id"].tolist() == [wanted]
    with pytest.raises(SettingsError, match="811/9@9"):
        choose_crops(predictions, PARAMS.model_copy(update={"crop_ids": ("811/9@9",)}))


def test_without_errors_there_is_none_to_explain(predictions):
    right = predictions[predictions["class"] == predictions["predicted"]]
    assert "misclassified" not in set(choose_crops(right, PARAMS)["kind"])
