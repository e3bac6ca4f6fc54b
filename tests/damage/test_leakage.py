"""Leaky attributes are those that the documentation lists."""

from pathlib import Path

import pytest

from ncm_kedro.damage.grouping import list_leaks
from ncm_kedro.errors import SettingsError
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES

DOCS = Path(__file__).parents[2] / "docs" / "attributes.md"


def read_documented(column):
    """List the attributes of the documented table whose cell starts with 'leak'."""
    text = DOCS.read_text().split("## Which attributes carry the damage")[1]
    lines = [line for line in text.splitlines() if line.startswith("| ") and " leak" in line]
    found = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[column].startswith("leak"):
            found += [name.strip(" `") for name in cells[0].split(",")]
    return {name for name in found if name in ATTRIBUTE_NAMES}


@pytest.mark.parametrize(("preset", "column"), [("corrected", 1), ("paper", 2)])
def test_leaks_are_those_of_the_documentation(preset, column):
    documented = read_documented(column)
    assert len(documented) >= 2
    assert set(list_leaks(preset)) == documented


def test_unknown_preset_is_refused():
    with pytest.raises(SettingsError, match=r"'papre'.*corrected or paper"):
        list_leaks("papre")
