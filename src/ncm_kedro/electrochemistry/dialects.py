"""Which column of a cycler's export holds what, and in which unit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

TIME_UNITS: Mapping[str, float] = MappingProxyType(
    {"s": 1.0, "sec": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0, "hr": 3600.0}
)
"""Seconds per unit."""

CURRENT_UNITS: Mapping[str, float] = MappingProxyType({"a": 1e3, "ma": 1.0, "ua": 1e-3})
"""Milliamperes per unit."""

VOLTAGE_UNITS: Mapping[str, float] = MappingProxyType({"v": 1.0, "mv": 1e-3})
"""Volts per unit."""

CAPACITIES = (
    "charge_capacity_mah_g",
    "discharge_capacity_mah_g",
    "charge_capacity_mah",
    "discharge_capacity_mah",
)
"""Capacity columns of a file by cycle."""

_KNOWN_UNITS = frozenset({*TIME_UNITS, *CURRENT_UNITS, *VOLTAGE_UNITS})
_BRACKETS = re.compile(r"(.+?)\s*[(\[]\s*([^)\]]*)\s*[)\]]$")
_STATES = {"c": 1, "charge": 1, "d": -1, "discharge": -1}
_RESTS = frozenset({"", "r", "rest", "p", "pause", "s", "suspended", "o", "ocv", "off"})


@dataclass(frozen=True)
class Dialect:
    """Names of columns in one cycler's exports, in lower case, without units and underscores.

    Parameters
    ----------
    name
        Of the cycler.
    time, step_time
        Time since the start of the test, or of the step.
    current, voltage, cycle, state
        Columns of a record; the first name that is there counts.
    """

    name: str
    current: tuple[str, ...]
    voltage: tuple[str, ...]
    cycle: tuple[str, ...]
    time: tuple[str, ...] = ()
    step_time: tuple[str, ...] = ()
    state: tuple[str, ...] = ()


DIALECTS = (
    Dialect(
        "Biologic",
        time=("time",),
        current=("<i>", "i"),
        voltage=("ewe", "ecell", "<ewe>", "ewe-ece"),
        cycle=("cycle number",),
    ),
    Dialect(
        "Maccor",
        time=("testtime", "test time"),
        current=("amps", "current"),
        voltage=("volts", "voltage"),
        cycle=("cycle c", "cyc#", "cycle"),
        state=("state", "md"),
    ),
    Dialect(
        "Neware",
        time=("total time",),
        step_time=("time",),
        current=("current",),
        voltage=("voltage",),
        cycle=("cycle index", "cycle id", "cycle"),
        state=("step type", "status"),
    ),
    Dialect(
        "Arbin",
        time=("test time",),
        current=("current",),
        voltage=("voltage",),
        cycle=("cycle index",),
    ),
    Dialect("plain", time=("time",), current=("current",), voltage=("voltage",), cycle=("cycle",)),
)
"""In the order in which they are tried."""


@dataclass(frozen=True)
class SeriesColumns:
    """Positions of the columns of a file over time.

    Parameters
    ----------
    time, current, voltage
        Positions; ``time`` is since the start of a step where ``by_step``.
    time_unit, current_unit, voltage_unit
        As the header gives them, lower case; empty where it gives none.
    cycle, state
        Positions, None where there is no such column.
    by_step
        Whether the time starts anew with every step.
    """

    source: str
    time: int
    current: int
    voltage: int
    time_unit: str
    current_unit: str
    voltage_unit: str
    cycle: int | None
    state: int | None
    by_step: bool

    @property
    def used(self) -> list[int]:
        """All positions."""
        found = (self.time, self.current, self.voltage, self.cycle, self.state)
        return [place for place in found if place is not None]


def split_header(text: str) -> tuple[str, str]:
    """Split a column's header into name and unit, both lower case.

    ``Current(A)``, ``Current [A]``, ``<I>/mA`` and ``current_ma`` are understood; ``Amps`` and
    ``Volts`` are their own unit.
    """
    header = text.strip().strip('"').lower().replace("µ", "u").replace("μ", "u")
    if match := _BRACKETS.match(header):
        return _normalise(match[1]), match[2].strip()
    for separator in ("/", "_"):
        name, found, unit = header.rpartition(separator)
        if found and unit in _KNOWN_UNITS:
            return _normalise(name), unit
    return _normalise(header), {"amps": "a", "volts": "v"}.get(header, "")


def match_series(headers: Sequence[str]) -> SeriesColumns | None:
    """Find the columns of a file over time; None where they are not those of any dialect."""
    split = [split_header(header) for header in headers]
    names = [name for name, _ in split]
    for dialect in DIALECTS:
        current, voltage = _find(names, dialect.current), _find(names, dialect.voltage)
        time, step_time = _find(names, dialect.time), _find(names, dialect.step_time)
        state = _find(names, dialect.state)
        chosen = step_time if time is None else time
        lacks_state = bool(dialect.state) and state is None
        if current is None or voltage is None or chosen is None or lacks_state:
            continue
        return SeriesColumns(
            source=dialect.name,
            time=chosen,
            current=current,
            voltage=voltage,
            time_unit=split[chosen][1],
            current_unit=split[current][1],
            voltage_unit=split[voltage][1],
            cycle=_find(names, dialect.cycle),
            state=state,
            by_step=time is None,
        )
    return None


def match_cycles(headers: Sequence[str]) -> dict[str, int] | None:
    """Find the columns of a file by cycle; None where the cycle or the discharge is missing."""
    names = [header.strip().strip('"').lower() for header in headers]
    found = {name: names.index(name) for name in ("cell_id", "cycle", *CAPACITIES) if name in names}
    has_discharge = "discharge_capacity_mah_g" in found or "discharge_capacity_mah" in found
    return found if "cycle" in found and has_discharge else None


def read_state(text: str) -> int | None:
    """Return what a state does to the cell: 1 charge, -1 discharge, 0 rest, None not known.

    Parameters
    ----------
    text
        As the cycler writes it, such as ``C``, ``CC_DChg``, ``CCCV Chg`` or ``Rest``.
    """
    state = text.strip().lower()
    if state in _RESTS:
        return 0
    if state.endswith("chg"):
        return -1 if state.endswith("dchg") else 1
    return _STATES.get(state)


def _normalise(name: str) -> str:
    return " ".join(name.replace("_", " ").split())


def _find(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)
