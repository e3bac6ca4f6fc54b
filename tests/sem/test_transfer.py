"""Holding out a state, composition or session separates what transfers from what does not."""

import json

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ncm_kedro.contracts.sem import SemTransfer
from ncm_kedro.errors import SettingsError
from ncm_kedro.params.sem_studies import SemTransferParams
from ncm_kedro.plotting.sem.additives import plot_transfer
from ncm_kedro.sem.experiments import fits
from ncm_kedro.sem.experiments.hold_outs import plan_hold_outs, plan_in_session
from ncm_kedro.sem.experiments.transfer import list_transfer_metrics
from study_cases import TINY
from transfer_cases import AREAS, CROPS_PER_AREA, make_context, make_world, run_transfer_study

KINDS = ("state", "composition", "session")


@pytest.fixture(scope="module")
def general(tmp_path_factory):
    """The study where composition shows alike in both states, with two sessions a class."""
    work = make_context(tmp_path_factory.mktemp("general"), world=make_world(sessions=2))
    return work, *run_transfer_study(work, leaking=False)


@pytest.fixture(scope="module")
def specific(tmp_path_factory):
    """The study where composition shows in another way in each state."""
    work = make_context(tmp_path_factory.mktemp("specific"), world=make_world(specific=True))
    return work, *run_transfer_study(work, leaking=False)


def test_nothing_that_is_held_out_is_trained_on(general):
    work = general[0]
    table = work.crops.table
    hold_outs, skipped = plan_hold_outs(work.crops, KINDS)
    assert not skipped
    assert [plan.kind for plan in hold_outs] == ["state"] * 2 + ["composition"] * 2 + [
        "session"
    ] * 2
    for plan in hold_outs:
        used = plan.train | plan.validate
        assert not (used & plan.test).any()
        assert not set(table["area"][used]) & set(table["area"][plan.test])
        assert set(table["split"][plan.train]) == {"train"}
        assert set(table["split"][plan.validate]) == {"validate"}
        if plan.kind != "session":
            assert plan.held_out not in set(table[plan.kind][used])
            assert set(table[plan.kind][plan.test]) == {plan.held_out}
    assert plan_in_session(work.crops, "state").test.sum() == 4 * AREAS["test"] * CROPS_PER_AREA


def test_ground_that_a_held_out_session_shares_is_not_trained_on(tmp_path):
    frames, manifest, crops = make_world(sessions=2)
    crops["mosaic"] = crops["class"] + "/m" + (crops.groupby("class").cumcount() // 6).astype(str)
    work = make_context(tmp_path, world=(frames, manifest, crops))
    hold_outs, skipped = plan_hold_outs(work.crops, ("session",))
    assert not hold_outs
    assert "shows 0 class" in skipped[0].reason


def test_what_holds_in_every_state_transfers(general):
    table = general[1]
    SemTransfer.validate(table)
    composition = table[table["kind"] == "state"]
    assert (composition["balanced_accuracy"] > 0.95).all()
    assert composition["above_chance"].all()
    assert (table.loc[table["kind"] == "session", "balanced_accuracy"] > 0.95).all()


def test_what_is_specific_to_a_state_does_not_although_it_is_learnt(specific):
    table = specific[1]
    composition = table[table["kind"] == "state"]
    assert (composition["in_session"] > 0.9).all()
    assert composition["balanced_accuracy"].between(0.4, 0.6).all()
    assert not composition["above_chance"].any()


def test_few_areas_have_scores_and_no_intervals(tmp_path):
    frames, manifest, crops = make_world()
    crops["area"] = crops["class"]
    params = SemTransferParams(kinds=("state",), n_bootstrap=200)
    work = make_context(tmp_path, world=(frames, manifest, crops), params=params)
    table, report = run_transfer_study(work, leaking=False)
    SemTransfer.validate(table)
    json.dumps(report, allow_nan=False)
    assert table["balanced_accuracy"].notna().all()
    assert table[["low", "high", "in_session_low", "above_chance"]].isna().all(axis=None)


def test_what_cannot_be_run_is_said(specific):
    report = specific[2]
    json.dumps(report, allow_nan=False)
    assert [entry["kind"] for entry in report["skipped"]] == ["session"]
    assert "several sessions" in report["skipped"][0]["reason"]
    assert {entry["kind"] for entry in report["summary"]} == {"state", "composition"}


def test_intervals_count_areas_not_crops(specific, general):
    """Where entire areas are right or wrong, more crops of them make no interval narrower."""
    for work, table, _ in (specific, general):
        row = table.iloc[0]
        assert row["n_test_areas"] == 2 * sum(AREAS.values())
        assert row["n_test_crops"] == CROPS_PER_AREA * row["n_test_areas"]
        assert row["low"] <= row["balanced_accuracy"] <= row["high"]
        assert work.params.resampling.n_bootstrap == 200


def test_a_killed_study_goes_on_and_ends_alike(general, tmp_path, monkeypatch):
    params = SemTransferParams(kinds=("state",), n_bootstrap=200)
    work = make_context(tmp_path, world=make_world(sessions=2), params=params)
    trained = []
    fit = fits.fit_texture_baseline

    def count_and_die(*args, **kwargs):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(1)
        return fit(*args, **kwargs)

    monkeypatch.setattr(fits, "fit_texture_baseline", count_and_die)
    with pytest.raises(KeyboardInterrupt):
        run_transfer_study(work, leaking=False)
    assert len(list(tmp_path.glob("*.json"))) == 2
    monkeypatch.setattr(
        fits, "fit_texture_baseline", lambda *a, **k: trained.append(1) or fit(*a, **k)
    )
    table, report = run_transfer_study(work, leaking=False)
    unbroken = general[1][general[1]["kind"] == "state"]
    pd.testing.assert_frame_equal(table, unbroken)
    assert len(trained) == 3
    run_transfer_study(work, leaking=False)
    assert len(trained) == 3
    whole = list_transfer_metrics(general[2])
    assert list_transfer_metrics(report).items() <= whole.items()


def test_other_pixels_or_settings_are_another_training(tmp_path):
    world = make_world()
    plan = plan_in_session(make_context(tmp_path, world=world).crops, "state")
    names = {make_context(tmp_path, world=world)._name_result(plan, "texture")}
    other = SemTransferParams(n_bootstrap=500)
    names.add(make_context(tmp_path, world=world, params=other)._name_result(plan, "texture"))
    assert len(names) == 1
    seeded = SemTransferParams(seed=1)
    names.add(make_context(tmp_path, world=world, params=seeded)._name_result(plan, "texture"))
    world[0]["333/0"] = world[0]["333/0"] ^ np.uint8(1)
    names.add(make_context(tmp_path, world=world)._name_result(plan, "texture"))
    assert len(names) == 3


def test_a_damaged_result_is_made_again(tmp_path):
    work = make_context(tmp_path)
    plan = plan_in_session(work.crops, "composition")
    predicted = work.predict(plan, "texture")
    (kept,) = tmp_path.glob("*.json")
    kept.write_text("{")
    np.testing.assert_array_equal(work.predict(plan, "texture"), predicted)


def test_the_network_is_set_beside_the_baseline(tmp_path):
    params = SemTransferParams(
        kinds=("state",), models=("texture", "network"), train=TINY, n_bootstrap=100
    )
    table, report = run_transfer_study(make_context(tmp_path, params=params), leaking=True)
    assert table["model"].tolist() == ["texture", "network"] * 2
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert "split by frame" in report["notes"][0]
    figure = plot_transfer(report)
    assert len(figure.axes) == 1


def test_a_set_that_allows_no_hold_out_is_refused(tmp_path):
    work = make_context(tmp_path, world=make_world(compositions=("811",)))
    with pytest.raises(SettingsError, match="add frames of other compositions"):
        run_transfer_study(work, leaking=False)


def test_the_baseline_is_always_there():
    with pytest.raises(ValidationError, match="texture"):
        SemTransferParams(models=("network",))
