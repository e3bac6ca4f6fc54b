import pytest

from ncm_kedro.units import natural_key, parse_length_um, parse_magnification, parse_voltage_kv


@pytest.mark.parametrize(
    ("text", "expected_um"),
    [
        ("24.8 nm", 0.0248), ("24.8nm", 0.0248), ("0,0248 µm", 0.0248), ("0.0248 μm", 0.0248),
        ("0.0248 um", 0.0248), ("2.48E-8 m", 0.0248), ("2.48 \u00d7 10^-8 m", 0.0248),
        ("2.48·10⁻⁸ m", 0.0248), ("558.2 pm", 5.582e-4), ("1,234.5 nm", 1.2345),
        ("1.234,5 nm", 1.2345), ("1 234,5 nm", 1.2345), ("1'234 nm", 1.234), ("1 mm", 1000),
        ("0,248 um", 0.248), ("24.8 nm/px", 0.0248), ("24.8 nm per pixel", 0.0248),
        ("24.8 nanometers", 0.0248), ("0.0248 Mikrometer", 0.0248), ("24.8 ㎚", 0.0248),
        ("24.8 나노미터", 0.0248), ("\uff15\uff10\uff4e\uff4d", 0.05), ("0.5 micron", 0.5),
        ("5 Å", 5e-4),
    ],
)  # fmt: skip
def test_lengths_of_several_countries(text, expected_um):
    assert parse_length_um(text) == pytest.approx(expected_um)


@pytest.mark.parametrize(
    "text", ["", "24.8", "nm", "see logbook page 12", "24.8 nm at x500", "24.8 kV", "1,250 nm",
             "1.2.3 nm", "1,23,456 nm", "24.8 px", "a 24.8 nm"]
)  # fmt: skip
def test_what_is_no_length_or_could_be_two_is_none(text):
    assert parse_length_um(text) is None


def test_a_unit_that_is_given_serves_numbers_without_one():
    assert parse_length_um("0.5", "um") == 0.5
    assert parse_length_um("24.8 nm", "um") == pytest.approx(0.0248)
    assert parse_length_um("0.5", "px") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x500", 500), ("5.00 K X", 5000), ("5,00 K X", 5000), ("x5,000", 5000), ("x5.000", 5000),
        ("5,000x", 5000), ("100.00 KX", 1e5), ("x100000", 1e5), ("1.00k SE(M)", 1000),
        ("108.08", 108.08), ("5.0000e3", 5000), ("\u00d710", 10), ("", None), ("x", None),
        ("0", None),
        ("5 mm", None), ("5 m", None), ("12 of 20", None), ("x500 SE", 500),
    ],
)  # fmt: skip
def test_magnifications(text, expected):
    assert parse_magnification(text) == expected


@pytest.mark.parametrize(
    ("text", "expected_kv"),
    [
        ("5.0kV", 5), ("500 V", 0.5), ("15000 Volt", 15), ("7,5 kV", 7.5), ("7.00", 7),
        ("10.0000e3", 10), ("500", 0.5), ("60", None), ("-5 kV", None), ("abc", None), ("", None),
        ("1.500 V", 1.5), ("1.5 V", None),
    ],
)  # fmt: skip
def test_voltages(text, expected_kv):
    assert parse_voltage_kv(text) == expected_kv


def test_names_with_numbers_are_sorted_as_people_do():
    names = ["10", "a2", "2\u00b2", "a", "s10", "S2"]
    assert sorted(names, key=natural_key) == ["a", "a2", "S2", "s10", "2\u00b2", "10"]
