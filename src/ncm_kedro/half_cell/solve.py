"""Time steps of a nonlinear form: BDF2 with variable steps, modified Newton, step control."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import Any

import ngsolve as ng
import numpy as np
from netgen.meshing import NgException
from numpy.typing import NDArray

from ncm_kedro.errors import NcmError
from ncm_kedro.params.half_cell.physics import SteppingParams

_log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

_NEWTON_MAX = 20
_LARGE = 0.1  # change of the first stored unknown that Newton's method makes at a time
_SLOW = 0.3  # contraction of Newton's updates above which the matrix is factorised again
_STALE = 2.0  # a matrix is used for rates up to this factor from its own
_DAMAGE_STEP = 0.01  # mean growth of damage in one step that is as much as the tolerance
_GROWTH_MAX = 2.0
_STEADY = (0.8, 1.25)  # a step that would change by less keeps its length, and its matrix


class ConvergenceError(NcmError):
    """A time step for which Newton's method finds no solution, however short it is."""


@dataclass
class Problem:
    """A nonlinear form, its unknowns and what changes from step to step.

    Attributes
    ----------
    space, form
        All unknowns, and the residual.
    state
        The solution.
    history
        What the time derivative of an unknown takes from earlier steps, per s.
    rate
        Factor of an unknown in its own time derivative, in 1/s.
    step_s
        Length of the step, in s.
    stored
        Components with a time derivative that `history` belongs to; the first controls the steps.
    scales
        By component, what is a large change of it.
    damage
        Damage at the integration points of `interface`, after the last step.
    damage_next
        What it becomes with the present `state`.
    interface
        Where damage lives.
    fields
        Coefficient functions of the present `state` by name.
    """

    space: ng.FESpace
    form: ng.BilinearForm
    state: ng.GridFunction
    history: ng.GridFunction
    rate: ng.Parameter
    step_s: ng.Parameter
    scales: tuple[float, ...]
    stored: tuple[int, ...] = (0,)
    damage: ng.GridFunction | None = None
    damage_next: Any = None
    interface: ng.Region | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class Stepper:
    """Steps a problem through time.

    BDF2 on a variable grid (Hairer, Nørsett and Wanner 1993, III.5), whose first step is one of
    backward Euler. Linear prediction starts Newton's method and measures the error of a step.

    Parameters
    ----------
    problem
        What is solved; its `state` holds the initial values.
    params
        Steps and tolerances.
    """

    def __init__(self, problem: Problem, params: SteppingParams) -> None:
        self.problem = problem
        self.params = params
        self.time_s = 0.0
        self.factorisations = 0
        self.iterations = 0
        ranges = [problem.space.Range(index) for index in range(len(problem.scales))]
        self._components = [slice(part.start, part.stop) for part in ranges]
        self._scale = np.ones(problem.space.ndof)
        for part, scale in zip(self._components, problem.scales, strict=True):
            self._scale[part] = scale
        damage = problem.damage
        self._grown = None if damage is None else ng.GridFunction(damage.space)
        self._matrix_rate = math.inf
        self.restart()

    def restart(self) -> None:
        """Forget earlier steps: what follows starts with a step of backward Euler."""
        self._now: FloatArray = self._vector.copy()
        self._before: FloatArray | None = None
        self._last_step_s = 0.0
        self._inverse: Any = None  # as after a load: resumed is unbroken to the last bit

    def advance(self, step_s: float) -> float:
        """Take one step.

        Returns
        -------
        float
            Largest deviation of the first stored component from its linear prediction, over its
            scale, or the growth of damage as far as that is worse; 0 in the first step.

        Raises
        ------
        ConvergenceError
            If Newton's method fails; the state is as before the step.
        """
        self._set_rate(step_s)
        predicted = self._now
        if self._before is not None:
            predicted = self._now + (step_s / self._last_step_s) * (self._now - self._before)
        start = predicted if self._before is not None else self._now
        if not self._solve(start):
            self._vector[:] = self._now
            self._inverse = None
            raise ConvergenceError(
                f"step of {step_s:.3g} s at {self.time_s:.3g} s",
                found=f"no solution within {_NEWTON_MAX} iterations",
                expected="a step that Newton's method can take",
                action="make stepping.step_first_s or mesh.interface_um smaller, or "
                "interface.viscous_time_s larger",
            )
        if self._before is None:
            return 0.0
        part = self._components[self.problem.stored[0]]
        error = float(np.abs((self._vector - predicted)[part] / self._scale[part]).max())
        return max(error, self.params.tolerance * self._grow_damage() / _DAMAGE_STEP)

    def accept(self, step_s: float) -> None:
        """Make the solution of `advance` the state that the next step starts from."""
        problem = self.problem
        if problem.damage is not None and self._grown is not None:
            self._grow_damage()
            problem.damage.vec.data = self._grown.vec
        self._before, self._now = self._now, self._vector.copy()
        self._last_step_s = step_s
        self.time_s += step_s

    def reject(self) -> None:
        """Go back to the state before `advance`."""
        self._vector[:] = self._now

    def settle(self, step_s: float) -> None:
        """Solve a step, but take only what has no memory of it: potentials, currents, stress.

        Raises
        ------
        ConvergenceError
            As `advance`.
        """
        self.advance(step_s)
        for index in self.problem.stored:
            part = self._components[index]
            self._vector[part] = self._now[part]
        self._now = self._vector.copy()

    @property
    def state(self) -> dict[str, FloatArray]:
        """All that a restart needs to go on from here."""
        damage = self.problem.damage
        kept = {"state": self._now.copy(), "time_s": np.array(self.time_s)}
        if damage is not None:
            kept["damage"] = damage.vec.FV().NumPy().copy()
        return kept

    def load(self, kept: dict[str, FloatArray]) -> None:
        """Go on from what `state` held, by a step of backward Euler."""
        self._vector[:] = kept["state"]
        self.time_s = float(kept["time_s"])
        if self.problem.damage is not None:
            self.problem.damage.vec.FV().NumPy()[:] = kept["damage"]
        self.restart()

    def _grow_damage(self) -> float:
        """Compute the damage after the step; returns its mean growth."""
        problem = self.problem
        if problem.damage is None or self._grown is None:
            return 0.0
        self._grown.Interpolate(problem.damage_next, definedon=problem.interface)
        growth = self._grown.vec.FV().NumPy() - problem.damage.vec.FV().NumPy()
        return float(growth.mean())

    @property
    def _vector(self) -> FloatArray:
        values: FloatArray = self.problem.state.vec.FV().NumPy()
        return values

    def _set_rate(self, step_s: float) -> None:
        """Set the coefficients of the time derivative."""
        problem = self.problem
        if self._before is None:
            weights, old = (1.0, -1.0, 0.0), self._now
        else:
            ratio = step_s / self._last_step_s
            weights = ((1 + 2 * ratio) / (1 + ratio), -(1 + ratio), ratio**2 / (1 + ratio))
            old = self._before
        problem.rate.Set(weights[0] / step_s)
        problem.step_s.Set(step_s)
        history = problem.history.vec.FV().NumPy()
        history[:] = 0.0
        for index in problem.stored:
            part = self._components[index]
            history[part] = (weights[1] * self._now[part] + weights[2] * old[part]) / step_s
        if not 1 / _STALE < weights[0] / step_s / self._matrix_rate < _STALE:
            self._inverse = None

    def _solve(self, start: FloatArray) -> bool:
        """Solve from a start; the matrix is factorised again where the updates shrink slowly."""
        problem = self.problem
        self._vector[:] = start
        residual = problem.state.vec.CreateVector()
        update = problem.state.vec.CreateVector()
        before = _LARGE
        stored = self._components[problem.stored[0]]
        for iteration in range(_NEWTON_MAX):
            self.iterations += 1
            fresh = self._inverse is None
            if fresh and not self._factorise():
                return False
            problem.form.Apply(problem.state.vec, residual)
            update.data = self._inverse * residual
            change = update.FV().NumPy()
            size = float(np.abs(change / self._scale).max())
            if not math.isfinite(size):
                self._inverse = None
                return False
            if size > _SLOW * before and size > self.params.newton_tolerance:
                self._inverse = None  # this update still counts; the next one has a new matrix
                if iteration > 0 and size > before and not fresh:
                    continue  # of another contact: it would lead away from the solution
            moved = float(np.abs(change[stored] / self._scale[stored]).max())
            self._vector[:] -= change * min(1.0, _LARGE / max(moved, _LARGE))
            if size < self.params.newton_tolerance:
                return True
            before = size
        self._inverse = None
        return False

    def _factorise(self) -> bool:
        problem = self.problem
        try:
            problem.form.AssembleLinearization(problem.state.vec)
            if not np.isfinite(problem.form.mat.AsVector().FV().NumPy()).all():
                return False  # UMFPACK would print that it is singular
            self._inverse = problem.form.mat.Inverse(problem.space.FreeDofs(), inverse="umfpack")
        except NgException:
            return False
        self.factorisations += 1
        self._matrix_rate = problem.rate.Get()
        return True


def choose_step(step_s: float, error: float, params: SteppingParams) -> float:
    """Length of the next step after one of so large an error; a small change is not made."""
    wanted = 0.9 * step_s * math.sqrt(params.tolerance / max(error, 1e-12))
    wanted = min(wanted, _GROWTH_MAX * step_s, params.step_max_s)
    steady = _STEADY[0] * step_s < wanted < _STEADY[1] * step_s
    return step_s if steady else wanted
