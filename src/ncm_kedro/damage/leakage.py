"""Attributes that hold the damage by their definition, and those that are one number twice.

What leaks depends on how it was measured, see ``docs/attributes.md``, "Which attributes carry the
damage".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ncm_kedro.errors import SettingsError

TARGET = "damage"
"""What is explained."""

_INNER = "it is the walls of cracks"
_ROUGH = "it is measured on the walls of cracks, and has no value without them"
_GREY = "cracks are part of its grey values"
_BLUR = "the walls of cracks blur into its grey values, and so do cracks too thin to be marked"
_WALLS = "its surface includes the walls of cracks"

LEAKS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "corrected": MappingProxyType(
            {
                "electron_density": _BLUR,
                "homogeneity": _BLUR,
                "surface_inner_um2": _INNER,
                "roughness_inner": _ROUGH,
            }
        ),
        "paper": MappingProxyType(
            {
                "electron_density": _GREY,
                "homogeneity": _GREY,
                "surface_inner_um2": _INNER,
                "sphericity": _WALLS,
                "vs_ratio": _WALLS,
                "roughness_inner": _ROUGH,
                "sphericity_std": "the surfaces of its sphericities include the walls of cracks",
            }
        ),
    }
)
"""By preset the attributes that hold the damage, in the order of Table S1, and why."""

EXACT_GROUPS = (("sphericity", "vs_ratio"),)
"""Attributes that are one number: sphericity is 36 pi times the sixth power of vs_ratio."""


def list_leaks(preset: str) -> tuple[str, ...]:
    """List the attributes that hold the damage, in the order of Table S1.

    Parameters
    ----------
    preset
        What the attributes were measured with.

    Raises
    ------
    SettingsError
        If there is no such preset.
    """
    if preset not in LEAKS:
        raise SettingsError(
            "preset of particle_attributes",
            found=repr(preset),
            expected=" or ".join(LEAKS),
            action="run `kedro run --pipelines particle_features` again with one of these presets",
        )
    return tuple(LEAKS[preset])
