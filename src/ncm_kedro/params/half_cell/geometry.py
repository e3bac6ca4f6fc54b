"""Sections of a half cell, from circles or labelled particles, and their meshes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class CircleParams(FrozenParams):
    """A particle with a circular section."""

    x_um: float
    """Centre along the collector, in um; on the axis (0) where the cell is axisymmetric."""

    y_um: float
    """Centre above the collector, in um."""

    radius_um: float = Field(default=5.0, gt=0.01, le=100.0)
    """Radius, in um."""


class LayoutParams(FrozenParams):
    """Section of the half cell: collector below, carbon/binder (CB) with particles, separator."""

    width_um: float = Field(default=36.0, gt=0.1, le=1000.0)
    """Width of the section, in um."""

    height_um: float = Field(default=12.0, gt=0.1, le=1000.0)
    """Thickness of the CB layer, in um."""

    separator_um: float = Field(default=10.0, gt=0.1, le=200.0)
    """Thickness of the separator, in um."""

    split_x_um: float = 18.0
    """The CB left of this line, in um, has the high conductivity, the rest the low one."""

    circles: tuple[CircleParams, ...] = Field(
        default=(
            CircleParams(x_um=6.0, y_um=6.0),
            CircleParams(x_um=18.0, y_um=6.0),
            CircleParams(x_um=30.0, y_um=6.0),
        ),
        min_length=1,
    )
    """The particles; they are numbered from 1 in this order."""

    random_particles: int = Field(default=0, ge=0, le=50)
    """Number of circles placed at random in place of `circles`; 0 uses `circles`."""

    min_gap_um: float = Field(default=0.2, gt=0.0, le=10.0)
    """Least CB between two particles, and between a particle and the edge of the CB, in um."""

    seed: int = Field(default=1, ge=0)
    """Seed of random circles."""


class SectionParams(FrozenParams):
    """A window of a section through labelled particles."""

    sample: str = ""
    """The sample; empty takes the first."""

    window_um: float = Field(default=36.0, gt=1.0, le=500.0)
    """Edge of the square window, in um; it lies where it holds the most complete particles."""

    position: float = Field(default=0.5, ge=0.0, le=1.0)
    """Where the section cuts the volume along x, as a fraction of its width."""

    particles_max: int = Field(default=6, ge=1, le=50)
    """Most particles; the largest of the window are simulated."""

    min_diameter_um: float = Field(default=2.0, gt=0.1)
    """Smallest equivalent diameter of a simulated section of a particle, in um."""

    min_gap_um: float = Field(default=0.4, gt=0.05)
    """CB opened between touching particles, in um."""

    cb_from: Literal["line", "grey"] = "line"
    """Whether the CB is split by a line in the middle, or its grey values above their median count
    as highly conductive."""


class MeshParams(FrozenParams):
    """Edges of elements, and orders of the polynomials."""

    interface_um: float = Field(default=0.6, gt=0.001, le=10.0)
    """Edges on the surface of particles, in um."""

    bulk_um: float = Field(default=2.0, gt=0.001, le=50.0)
    """Longest edge anywhere, in um."""

    order: int = Field(default=2, ge=1, le=4)
    """Polynomial order of all fields but stress and interface current, which have one less."""
