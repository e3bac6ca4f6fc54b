import pytest

from ncm_kedro.errors import NcmError
from ncm_kedro.sem.io.frames import ClassLabel, parse_class_name

COMPOSITIONS = ("333", "523", "622", "811")
STATES = ("pristine", "formation", "cycled")


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
def test_parse_class_name_splits_known_names(name, label):
    assert parse_class_name(name, COMPOSITIONS, STATES) == label
    assert label.name == name.removesuffix("_pristine")


@pytest.mark.parametrize(
    "name", ["", "999", "811_burnt", "LCO", "811_", "811__", "811_cycled__", "811_cycled_x"]
)
def test_unknown_names_say_what_is_known(name):
    with pytest.raises(NcmError, match="333, 523, 622, 811"):
        parse_class_name(name, COMPOSITIONS, STATES)


def test_other_compositions_are_a_parameter():
    assert parse_class_name("955_cycled", ("955",), STATES) == ClassLabel("955", "cycled")
