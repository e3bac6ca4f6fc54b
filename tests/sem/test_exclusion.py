import json

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.params.sem_ingest import LabelParams, QualityParams, ReadingParams
from ncm_kedro.sem.audit.exclusion import decide_exclusions, find_contradiction, split_values
from ncm_kedro.sem.audit.quality import assess_frames
from ncm_kedro.sem.io.frames import FrameRecord, RawFrames
from ncm_kedro.sem.io.reading import plan_decoding

PARAMS = QualityParams()


def path_json(path):
    return json.dumps({"Image Info": {"File Name": path}})


def make_table(n=12, class_name="811", path="C:\\data\\frame.jpg", density=0.72, seed=0):
    composition, _, state = class_name.partition("_")
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "frame_id": [f"{class_name}/{i:03d}" for i in range(n)],
            "class": class_name,
            "composition": composition,
            "state": state or "pristine",
            "sidecar_json": path_json(path),
            "flags": "",
            "pixel_size_um": 0.27,
            "flat_fraction": 0.0,
            "clipped_fraction": 0.01,
            "sharpness": 1.2,
            "texture_density": density + rng.normal(0, 0.01, n),
            "content_hash": [f"{class_name}-{density}-{i}" for i in range(n)],
            "near_duplicate_of": pd.array([None] * n, dtype="str"),
        }
    )


def join(*tables):
    return pd.concat(tables, ignore_index=True)


def test_good_frames_are_kept_without_flags():
    decided = decide_exclusions(make_table(), PARAMS)
    assert not decided["excluded"].any()
    assert (decided["flags"] == "").all()
    assert decided["exclusion_reason"].isna().all()


@pytest.mark.parametrize(
    ("column", "flagged", "excluded", "flag"),
    [
        ("flat_fraction", 0.04, 0.68, "partly_bare"),
        ("clipped_fraction", 0.2, 0.5, "clipped"),
    ],
)
def test_bare_and_clipped_frames_are_flagged_then_excluded(column, flagged, excluded, flag):
    table = make_table()
    table.loc[1, column], table.loc[2, column] = flagged, excluded
    decided = decide_exclusions(table, PARAMS)
    assert decided["flags"].tolist()[:3] == ["", flag, flag]
    assert decided["excluded"].tolist()[:3] == [False, False, True]
    assert f"{excluded:.0%}" in decided.loc[2, "exclusion_reason"]


def test_blurred_frame_is_excluded_by_its_own_class():
    table = join(make_table(), make_table(class_name="333").assign(sharpness=0.4))
    table.loc[3, "sharpness"] = 0.4
    decided = decide_exclusions(table, PARAMS)
    assert decided.index[decided["excluded"]].tolist() == [3]
    assert decided.loc[3, "flags"] == "blurred"


def test_sharpness_is_compared_at_one_magnification():
    close = make_table(8, density=0.7).assign(
        sharpness=0.4, pixel_size_um=0.0067, frame_id=[f"x{i}" for i in range(8)]
    )
    table = join(make_table(), close)
    assert not decide_exclusions(table, PARAMS)["excluded"].any()
    table.loc[15, "sharpness"] = 0.1
    decided = decide_exclusions(table, PARAMS)
    assert decided.index[decided["excluded"]].tolist() == [15]


@pytest.mark.parametrize(
    ("flag", "word"),
    [("coloured", "overlay"), ("annotated_inside", "text"), ("grey_range_underused", "dim")],
)
def test_frames_that_are_drawn_on_or_dim_are_excluded_with_the_reason(flag, word):
    table = make_table()
    table.loc[2, "flags"] = f"banner_missing;{flag}"
    table.loc[3, "flags"] = "annotated;tinted"
    decided = decide_exclusions(table, PARAMS)
    assert decided.index[decided["excluded"]].tolist() == [2]
    assert word in decided.loc[2, "exclusion_reason"]
    assert flag in decided.loc[2, "flags"].split(";")


def test_magnification_is_no_difference_of_material():
    near = make_table(20, path=LCO, density=0.60).assign(
        pixel_size_um=0.0067, frame_id=[f"x{i}" for i in range(20)]
    )
    table = join(make_table(20, path=LCO), near, make_table(20, class_name="811_cycled"))
    assert not decide_exclusions(table, PARAMS)["excluded"].any()


def test_copies_of_one_class_keep_the_first():
    table = make_table()
    table.loc[[2, 5, 7], "content_hash"] = "same"
    decided = decide_exclusions(table, PARAMS)
    assert decided.index[decided["excluded"]].tolist() == [5, 7]
    assert decided.loc[5, "exclusion_reason"] == "same pixels as 811/002"


def test_copies_under_two_classes_are_all_excluded():
    table = join(make_table(), make_table(class_name="333"))
    table.loc[[2, 15], "content_hash"] = "same"
    decided = decide_exclusions(table, PARAMS)
    assert decided.index[decided["excluded"]].tolist() == [2, 15]
    assert "two classes" in decided.loc[2, "exclusion_reason"]


LCO = r"D:\DATA\KJY\190902_bilayered_SuperP+PVdF_LCO+SuperP+PCL\frame.jpg"


def make_suspects(alike, odd, others):
    """Frames of 811 with a word of another material in their path, some odd, and other frames."""
    return join(
        make_table(alike, path=LCO),
        make_table(odd, path=LCO, density=0.60).assign(frame_id=[f"x{i}" for i in range(odd)]),
        make_table(others, class_name="811_cycled", density=0.71),
    )


@pytest.mark.parametrize(("alike", "odd", "others"), [(20, 5, 20), (5, 20, 20), (20, 4, 0)])
def test_path_and_texture_together_quarantine_the_part_that_is_unlike_the_rest(alike, odd, others):
    decided = decide_exclusions(make_suspects(alike, odd, others), PARAMS)
    assert decided["excluded"].tolist() == [False] * alike + [True] * odd + [False] * others
    assert "'LCO'" in decided.loc[alike, "exclusion_reason"]
    assert decided.loc[0, "flags"] == "provenance_token"
    assert decided.loc[alike, "flags"] == "provenance_token;quarantined"


def test_path_alone_only_flags():
    decided = decide_exclusions(make_table(60, path=LCO), PARAMS)
    assert not decided["excluded"].any()
    assert (decided["flags"] == "provenance_token").all()


def test_texture_alone_does_nothing():
    table = join(make_table(20), make_table(5, density=0.6).assign(frame_id=list("abcde")))
    assert not decide_exclusions(table, PARAMS)["excluded"].any()


def test_result_does_not_depend_on_row_order():
    table = make_suspects(20, 5, 20)
    table.loc[[2, 5], "content_hash"] = "same"
    shuffled = table.sample(frac=1, random_state=1).reset_index(drop=True)
    first, second = (
        decide_exclusions(rows, PARAMS).set_index("frame_id").sort_index()["exclusion_reason"]
        for rows in (table, shuffled)
    )
    pd.testing.assert_series_equal(first, second)


@pytest.mark.parametrize(
    ("class_name", "path", "expected"),
    [
        (("811", "pristine"), LCO, "LCO"),
        (("811", "pristine"), r"D:\x\lco_test\a.jpg", "lco"),
        (("811", "pristine"), r"C:\Program Files (x86)\sec\Nanoeye\LCO.jpg", None),
        (("811", "pristine"), r"D:\WELCOME\a.jpg", None),
        (("811", "cycled"), r"D:\191203_ncm811_E1_100cycles\a.jpg", None),
        (("811", "cycled"), r"D:\191203_ncm622_E1_100cycles\a.jpg", "ncm622"),
        (("811", "cycled"), r"D:\191203_ncm811_formation\a.jpg", "formation"),
        (("811", "pristine"), r"D:\191203_ncm811_E1_100cycles\a.jpg", "100cycles"),
        (("523", "formation"), r"D:\220616_NCM523_for_cyc\formation\a.jpg", None),
        (("523", "formation"), "", None),
    ],
)
def test_contradicting_words(class_name, path, expected):
    found = find_contradiction(*class_name, path_json(path), ood_materials=PARAMS.ood_materials)
    assert found == expected


def test_one_group_does_not_look_like_two():
    rng = np.random.default_rng(0)
    values = [rng.normal(0.7, 0.02, 80) for _ in range(200)]
    assert max(split_values(value).separation for value in values) < PARAMS.min_separation
    assert split_values(np.full(5, 0.3)).separation == 0


@pytest.mark.real
@pytest.mark.slow
def test_real_quarantine_and_bare_frames(real_frames_folder):
    files = sorted(real_frames_folder.glob("811*/*.jpg")) + sorted(
        real_frames_folder.glob("333_cycled/*.jpg")
    )
    raw = RawFrames(
        real_frames_folder,
        tuple(
            FrameRecord(
                f"{path.parent.name}/{path.name}", path.parent.name, path,
                path.with_name(path.name + ".txt"),
            )
            for path in files
        ),
    )  # fmt: skip
    plan = plan_decoding(raw, LabelParams(), ReadingParams())
    decoded = {frame.frame_id: plan.decode(frame) for frame in plan.frames}
    table = pd.DataFrame(
        [{"frame_id": frame_id, **frame.attributes} for frame_id, frame in decoded.items()]
    ).assign(flags="")
    pixel_size_um = dict(zip(table["frame_id"], table["pixel_size_um"], strict=True))
    frames = {key: frame.image_yx for key, frame in decoded.items()}
    quality = assess_frames(frames, pixel_size_um, PARAMS)
    decided = decide_exclusions(table.merge(quality, on="frame_id"), PARAMS)
    number = decided["frame_id"].str.extract(r"_(\d+)$")[0].astype(int)
    lco = (decided["class"] == "811") & number.between(196, 395)
    bare = (decided["class"] == "333_cycled") & number.between(575, 596)
    pd.testing.assert_series_equal(decided["excluded"], lco | bare, check_names=False)
