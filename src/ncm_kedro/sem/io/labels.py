"""Class names: ``<composition>[_<state>][__<additive>]``."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from ncm_kedro.errors import NcmError

PRISTINE = "pristine"
ADDITIVE_SEPARATOR = "__"

_ADDITIVE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


@dataclass(frozen=True, order=True)
class ClassLabel:
    """What an electrode is made of and what was done to it.

    Parameters
    ----------
    composition
        Ni:Mn:Co ratio of the cathode, for instance ``811``.
    state
        Ageing state: ``pristine``, ``formation`` or ``cycled``.
    additive
        Additives of the electrode or electrolyte, empty for none.
    """

    composition: str
    state: str = PRISTINE
    additive: str = ""

    @property
    def name(self) -> str:
        """Canonical class name; a pristine electrode carries no state."""
        name = self.composition if self.state == PRISTINE else f"{self.composition}_{self.state}"
        return f"{name}{ADDITIVE_SEPARATOR}{self.additive}" if self.additive else name


def parse_class_name(
    name: str, compositions: Collection[str], states: Collection[str]
) -> ClassLabel:
    """Split a class name into composition, state and additive.

    Parameters
    ----------
    name
        Class name, as a folder or a frame table gives it.
    compositions
        Compositions that are known.
    states
        Ageing states that are known.

    Returns
    -------
    ClassLabel
        The parts; a missing state means pristine.

    Raises
    ------
    NcmError
        If the name is not made of known parts.
    """
    condition, separator, additive = name.strip().partition(ADDITIVE_SEPARATOR)
    composition, underscore, state = condition.partition("_")
    state = state if underscore else PRISTINE
    known = composition in compositions and state in {PRISTINE, *states}
    if not known or (separator and not _ADDITIVE.fullmatch(additive)):
        raise NcmError(
            f"class '{name}'",
            found="a name that is not <composition>[_<state>][__<additive>]",
            expected=f"a composition of {', '.join(sorted(compositions))} "
            f"and a state of {', '.join(sorted({PRISTINE, *states}))}",
            action="rename the folder (or the class in frames.csv), or add the composition "
            "or state to the parameters",
        )
    return ClassLabel(composition, state, additive)
