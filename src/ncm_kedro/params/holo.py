"""Settings of holo-tomography: corrections, registration, phase retrieval, reconstruction.

Settings of the phantom scan.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams
from ncm_kedro.params.tomo_segment import TomoComputeParams


class CorrectionParams(FrozenParams):
    """How frames become intensities."""

    zinger_threshold: float = Field(default=0.5, gt=0)
    """Excess over its surroundings from which a pixel is a hit of stray radiation (fraction)."""

    remove_pattern: bool = True
    """Whether narrow structure that stands still while the sample turns is taken off the frames
    of each distance: it would become rings."""

    ring_filter: Literal["none", "sorting", "all"] = "none"
    """Filter of algotom on the sinograms of the phase, beside that: ``sorting`` for partial and
    full rings, ``all`` for strong ones of every kind (slow, and it flattens faint structure)."""

    register_distances: bool = True
    """Whether shifts between distances are measured and corrected; false: the stage is trusted."""

    correct_motion: bool = False
    """Whether movement of the sample that all distances share is corrected: for a sample that lies
    within the field of view at every angle. It is measured and told in any case."""

    registration_angles: int = Field(default=24, ge=1, le=1000)
    """Projections at which shifts and the detector's pattern are measured (count)."""


class RetrievalParams(FrozenParams):
    """How the phase is found from intensities at several distances."""

    method: Literal["ctf_homogeneous", "ctf", "paganin"] = "ctf_homogeneous"
    """``ctf_homogeneous``: absorption goes with the phase, for one material or a dominant one;
    ``ctf``: phase and absorption each for itself (two distances at least, coarse structure is
    poor); ``paganin``: for strong objects of one material, edges are blurred."""

    delta_over_beta: float = Field(default=45.0, gt=0)
    """Refractive decrement over absorption index of the material that dominates (no unit). NMC811
    at 17 keV: 29; carbon and binder: about 900; an electrode on average: 40 to 60."""

    damping_coarse: float = Field(default=1e-4, ge=0, le=1)
    """How strongly structure coarser than the first fringe is held back (no unit). Larger values
    remove clouds, and flatten what is real."""

    damping_fine: float = Field(default=0.03, ge=0, le=10)
    """The same for finer structure: larger values remove noise, and blur (no unit)."""

    refinements: int = Field(default=8, ge=0, le=200)
    """Steps by which the phase is fitted with the exact propagation (count); 0: the linear answer,
    which is up to 15 % low on particles, for a tenth of the time."""


class PriorParams(FrozenParams):
    """Further retrievals, with the absorption of materials told apart in the volume before."""

    iterations: int = Field(default=0, ge=0, le=5)
    """How often the volume is segmented, projected, and the phase retrieved again (count)."""

    delta_over_beta: tuple[float, ...] = (900.0, 29.0)
    """Decrement over absorption index of each material, from the lightest to the densest (no
    unit); what is lighter than the first one is air."""

    refinements: int = Field(default=32, ge=1, le=200)
    """Steps of the retrieval with known materials (count); with 16, carbon and binder stay 6 % too
    light."""


class ReconstructionParams(FrozenParams):
    """How phases become a volume."""

    quantity: Literal["electron_density", "delta"] = "electron_density"
    """What the voxels hold: electrons per cubic angstrom, or the refractive decrement."""


class HoloParams(FrozenParams):
    """How a scan becomes a volume."""

    corrections: CorrectionParams = CorrectionParams()
    """How frames become intensities (see there)."""
    retrieval: RetrievalParams = RetrievalParams()
    """How intensities become a phase (see there)."""
    prior: PriorParams = PriorParams()
    """Whether materials are told apart on the way (see there)."""
    reconstruction: ReconstructionParams = ReconstructionParams()
    """How phases become a volume (see there)."""


class HoloComputeParams(TomoComputeParams):
    """Who works on a scan; the result does not depend on it beyond rounding."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where torch retrieves phases and back-projects; auto: a GPU where there is one."""


class HoloPhantomParams(FrozenParams):
    """The phantom scan that `synthesise` writes."""

    name: str = Field(default="pillar", pattern=r"^[A-Za-z0-9_]+$")
    """Name of the sample."""
    size_px: int = Field(default=384, ge=32, le=4096, multiple_of=2)
    """Rows and columns of the detector (px)."""
    angles: int = Field(default=384, ge=8, le=20_000)
    """Projections (count)."""
    turn_deg: Literal[180, 360] = 180
    """Angle that they cover (degrees)."""
    energy_kev: float = Field(default=17.0, gt=0)
    """Photon energy (keV); the materials' indices are those at 17 keV."""
    focus_sample_mm: tuple[float, ...] = Field(
        default=(40.567, 43.377, 54.611, 77.936), min_length=1
    )
    """Focus to sample (mm), one a distance."""
    focus_detector_mm: float = Field(default=1217.0, gt=0)
    """Focus to detector (mm)."""
    detector_pixel_um: float = Field(default=3.0, gt=0)
    """Edge of a pixel of the detector (um)."""
    diameter_um: tuple[float, float] = (4.0, 10.0)
    """Smallest and largest diameter of the spheres (um)."""
    pillar_fraction: float = Field(default=0.6, gt=0.1, lt=1)
    """Width of the pillar over that of the field of view (no unit); fringes need air beside it."""
    photons: float = Field(default=1500.0, gt=0)
    """Photons a pixel and projection (count)."""
    defects: float = Field(default=1.0, ge=0, le=3)
    """Strength of structured flats, zingers and columns of wrong gain (no unit)."""
    drift: float = Field(default=1.0, ge=0, le=3)
    """Strength of shifts between distances and of their drift (no unit)."""
    seed: int = Field(default=20221013, ge=0)
    """Seed of the phantom and its noise."""

    @property
    def pixel_um(self) -> tuple[float, ...]:
        """Edge of a pixel at the sample (um), one a distance."""
        return tuple(
            self.detector_pixel_um * z / self.focus_detector_mm for z in self.focus_sample_mm
        )

    @property
    def voxel_size_um(self) -> float:
        """The finest of these (um)."""
        return min(self.pixel_um)

    @property
    def wavelength_um(self) -> float:
        """Wavelength of the photons (um)."""
        return 1.239841984e-3 / self.energy_kev

    @property
    def fresnel(self) -> tuple[float, ...]:
        """Wavelength times effective distance over the area of the finest pixel (no unit)."""
        total = self.focus_detector_mm
        distance_um = [1e3 * z * (total - z) / total for z in self.focus_sample_mm]
        return tuple(self.wavelength_um * d / self.voxel_size_um**2 for d in distance_um)

    @model_validator(mode="after")
    def check_sizes(self) -> Self:
        """Check that spheres fit into the pillar."""
        low, high = self.diameter_um
        width = self.pillar_fraction * self.size_px * self.voxel_size_um
        if not 0 < low <= high < width:
            raise ValueError(
                f"diameter_um {low, high} must rise within the pillar of {width:.3g} um"
            )
        return self
