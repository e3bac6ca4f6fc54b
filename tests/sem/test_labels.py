import re

import pytest
import yaml

from ncm_kedro.errors import NcmError, SettingsError
from ncm_kedro.params.sem_ingest import LabelParams
from ncm_kedro.sem.io.frames import ClassLabel
from ncm_kedro.sem.io.labels import parse_class_name

PARAMS = LabelParams()
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def read(name, params=PARAMS, **options):
    return parse_class_name(name, params, **options).name


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("333", ClassLabel("333", "pristine", "")),
        ("811_cycled", ClassLabel("811", "cycled", "")),
        ("811_pristine", ClassLabel("811", "pristine", "")),
        ("622_formation__VC2PS1", ClassLabel("622", "formation", "VC2PS1")),
        ("523__FEC", ClassLabel("523", "pristine", "FEC")),
    ],
)
def test_canonical_names_are_split(name, label):
    assert parse_class_name(name, PARAMS) == label
    assert label.name == name.removesuffix("_pristine")


@pytest.mark.parametrize(
    "name",
    ["NMC811", "ncm811", "NCM-811 pristine", "NCM_811", "NMC 8:1:1", "8:1:1", "NCM 8-1-1", " 811 ",
     "LiNi0.8Co0.1Mn0.1O2", "LiNi0.8Mn0.1Co0.1O2", "Li[Ni0.8Co0.1Mn0.1]O2", "LiNi0,8Co0,1Mn0,1O2",
     "LiNi0.8Co0.1Mn0.1O2".translate(SUBSCRIPTS), "NCM811".translate(FULL_WIDTH)],
)  # fmt: skip
def test_compositions_are_understood_as_the_field_writes_them(name):
    assert read(name) == "811"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LiNi1/3Co1/3Mn1/3O2", None),  # a slash parts folders
        ("LiNi\u2153Co\u2153Mn\u2153O2", "333"),
        ("LiNi0.33Co0.33Mn0.33O2_cycled", "333_cycled"),
        ("NCM111", "333"),
        ("111", None),
        ("NCM523", "523"),
        ("NMC532", "523"),  # manganese before cobalt
        ("NMC523", None),  # strictly another material, mostly the same one
        ("NCM532", None),
        ("LiNi0.83Co0.12Mn0.05O2", None),
        ("Li1.2Ni0.8Co0.1Mn0.1O2", None),
        ("Ni0.8Co0.1Mn0.1(OH)2", None),
        ("NCMA811", None),
        ("Ni83", None),
        ("8110", None),
        ("811.5", None),
    ],
)
def test_the_order_of_the_metals_and_their_ratio_decide(name, expected):
    if expected is None:
        with pytest.raises(NcmError):
            read(name)
    else:
        assert read(name) == expected


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("811-cycled", "cycled"),
        ("811_Cycled", "cycled"),
        ("811 cycled 100", "cycled"),
        ("811_100cyc", "cycled"),
        ("811_100 cycles", "cycled"),
        ("811_after 100 cycles", "cycled"),
        ("811cycled", "cycled"),
        ("811_formed", "formation"),
        ("811 after formation", "formation"),
        ("811-Pristine", "pristine"),
    ],
)
def test_states_are_understood_where_they_can_only_mean_one_thing(name, state):
    assert parse_class_name(name, PARAMS).state == state


@pytest.mark.parametrize(
    "name",
    ["", "999", "LCO", "811_burnt", "811_", "811__", "811_cycled__", "811_cycled_x", "811_aged",
     "811_fresh", "811_3cyc", "811_100", "811__cycled", "NCM 622-811", "811_cycled__양극",
     "811__" + "x" * 200],
)  # fmt: skip
def test_what_could_mean_something_else_is_rejected_with_what_would_do(name):
    with pytest.raises(NcmError, match="333, 523, 622, 811"):
        read(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("811/cycled", "811_cycled"),
        ("811/100 cycles", "811_cycled"),
        ("cycled/811", "811_cycled"),
        ("811/NCM811_cycled", "811_cycled"),
        ("811/__FEC", "811__FEC"),
        ("811_cycled/session2", "811_cycled"),
        ("811_cycled/2024-03-01/x500", "811_cycled"),
        ("session 1/811/20 kV", "811"),
    ],
)
def test_folders_of_a_path_are_read_together(name, expected):
    assert read(name) == expected


@pytest.mark.parametrize(
    "name",
    ["811/622", "811/old", "811/100", "811_cycled/formation", "811_cycled/pristine", "811/FEC 2%",
     "811__FEC/__VC", "cycled", "session1", "811/cycled/rejected"],
)  # fmt: skip
def test_a_folder_never_becomes_its_parents_class_in_silence(name):
    with pytest.raises(NcmError):
        read(name)


@pytest.mark.parametrize(
    ("name", "additive"),
    [
        ("811_cycled__FEC 2%", "FEC-2%"),
        ("811_cycled__FEC_2%", "FEC-2%"),
        ("811__FEC 2 %, VC 1,5%", "FEC-2-%+VC-1.5%"),
        ("811__FEC & VC", "FEC+VC"),
    ],
)
def test_additives_have_one_spelling(name, additive):
    assert parse_class_name(name, PARAMS).additive == additive
    assert read(parse_class_name(name, PARAMS).name) == parse_class_name(name, PARAMS).name


def test_a_folder_below_a_class_names_a_condition_where_it_is_asked_for():
    assert read("811_cycled/coin 7", conditions=True) == "811_cycled__coin-7"
    assert read("811/cycled", conditions=True) == "811_cycled"
    with pytest.raises(NcmError):
        read("coin 7/811", conditions=True)


def test_other_compositions_and_states_are_a_parameter():
    params = LabelParams(compositions=("955", "9055", "NCA"), states=("pristine", "calendar_aged"))
    assert read("NCM955", params) == "955"
    assert read("NCM9055-calendar aged", params) == "9055_calendar_aged"
    assert read("nca", params) == "NCA"
    with pytest.raises(NcmError):
        read("955_cycled", params)


def test_settings_say_what_a_folder_is():
    params = LabelParams(folders={"811_aged": "NCM811 cycled", "old/b": "622"})
    assert read("811_aged", params) == "811_cycled"
    assert read("811_aged/session 1", params) == "811_cycled"
    assert read("old/b", params) == "622"
    with pytest.raises(NcmError):
        read("old", params)
    with pytest.raises(SettingsError, match="folders"):
        read("x", LabelParams(folders={"x": "rubbish"}))


def test_settings_may_be_written_as_yaml_reads_them():
    params = LabelParams.model_validate({"compositions": [333, 955], "folders": {"old": "955"}})
    assert read("NCM955/cycled", params) == "955_cycled"


@pytest.mark.parametrize("name", ["811_aged", "811/l'ancien", "LCO", "session 1"])
def test_the_advice_works_to_the_letter(name):
    with pytest.raises(NcmError) as caught:
        read(name)
    setting = re.search(r"sem_ingest: \{.*\}\}\}", caught.value.action)[0]
    given = yaml.safe_load(setting.replace("<class>", "622_cycled"))["sem_ingest"]["labels"]
    assert read(name, LabelParams.model_validate(given)) == "622_cycled"
    for spelling in re.findall(r"\b333\S*(?=,| or|;)", caught.value.expected.partition("for")[2]):
        assert read(spelling).startswith("333")
