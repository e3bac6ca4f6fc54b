"""Constants and functions of NMC811, electrolyte and lithium, each with its source.

``exp`` is that of the caller's numbers: ``math``, ``numpy`` or ``ngsolve``. The same functions give
the open-circuit voltage of a table and the forms of a mesh. The values are those of the parameter
sets of the same names in PyBaMM.

[Chen2020] Chen et al., J. Electrochem. Soc. 167, 080534 (2020).
[Xu2019] Xu et al., J. Electrochem. Soc. 166, A3456 (2019).
[Mohtat2020] Mohtat et al., J. Electrochem. Soc. 167, 110561 (2020).
[Valoen2005] Valøen and Reimers, J. Electrochem. Soc. 152, A882 (2005).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from scipy import constants, optimize

Exp = Callable[[Any], Any]

FARADAY = float(constants.physical_constants["Faraday constant"][0])
GAS = float(constants.R)
TEMPERATURE_K = 298.15
THERMAL_V = GAS * TEMPERATURE_K / FARADAY

CONCENTRATION_MAX = 63104.0
"""Lithium in NMC811 at stoichiometry 1, in mol/m3 [Chen2020]."""
ELECTROLYTE_INITIAL = 1000.0
"""LiPF6 at the start, in mol/m3 [Xu2019]."""
TRANSFERENCE = 0.38
"""Transference number of Li+ [Xu2019]; the thermodynamic factor is 1."""
POROSITY_SEPARATOR = 0.39
"""Of Celgard 2325 [Xu2019]."""
BRUGGEMAN = 1.5
"""Exponent of the porosity in transport [Xu2019]."""
_LITHIUM_METAL = 76900.0  # mol/m3, with which PyBaMM evaluates the exchange current of [Xu2019]


def open_circuit_v(stoichiometry: Any, exp: Exp) -> Any:
    """Open-circuit voltage of NMC811 against lithium, in V.

    [Chen2020] eq. 8, valid up to stoichiometry 0.91; above, the exponential of [Mohtat2020] lets
    the voltage fall where the lattice is full (3e-5 V at 0.91, 0.7 V at 1).
    """
    x = stoichiometry

    def tanh(z: Any) -> Any:
        return 1.0 - 2.0 / (exp(2.0 * z) + 1.0)

    return (
        -0.8090 * x
        + 4.4875
        - 0.0428 * tanh(18.5138 * (x - 0.5542))
        - 17.7326 * tanh(15.7890 * (x - 0.3117))
        + 17.5842 * tanh(15.9308 * (x - 0.3120))
        - 0.5623e-4 * exp(109.451 * x - 100.006)
    )


def exchange_current_nmc(salt: Any, lithium: Any, vacancy: Any) -> Any:
    """Exchange current of NMC811, in A/m2 [Chen2020].

    Parameters
    ----------
    salt
        Electrolyte in mol/l.
    lithium, vacancy
        Filled and empty fraction of the surface; they sum to 1.
    """
    scale = 3.42e-6 * math.sqrt(1000.0) * CONCENTRATION_MAX
    return scale * (salt * lithium * vacancy) ** 0.5


def exchange_current_lithium(salt: Any) -> Any:
    """Exchange current of lithium metal, in A/m2 [Xu2019]; ``salt`` in mol/l."""
    scale = 3.5e-8 * FARADAY * _LITHIUM_METAL**0.7 * 1000.0**0.3
    return scale * salt**0.3


def electrolyte_diffusivity(salt: Any, exp: Exp) -> Any:
    """Diffusivity of LiPF6 in m2/s [Valoen2005, eq. 14]; ``salt`` in mol/l."""
    power = -4.43 - 54.0 / (TEMPERATURE_K - 229.0 - 5.0 * salt) - 0.22 * salt
    return 1e-4 * exp(math.log(10.0) * power)


def electrolyte_conductivity(salt: Any) -> Any:
    """Conductivity of the electrolyte in S/m [Valoen2005, eq. 17]; ``salt`` in mol/l."""
    t = TEMPERATURE_K
    root = (
        (-10.5 + 0.0740 * t - 6.96e-5 * t**2)
        + salt * (0.668 - 0.0178 * t + 2.80e-5 * t**2)
        + salt * salt * (0.494 - 8.86e-4 * t)
    )
    return 0.1 * salt * root * root


def stoichiometry_at(voltage_v: float) -> float:
    """Invert `open_circuit_v` between stoichiometries 0 and 1; the nearer end beyond them."""
    if voltage_v >= open_circuit_v(0.0, math.exp):
        return 0.0
    if voltage_v <= open_circuit_v(1.0, math.exp):
        return 1.0
    root = optimize.brentq(lambda x: open_circuit_v(x, math.exp) - voltage_v, 0.0, 1.0)
    return float(root)
