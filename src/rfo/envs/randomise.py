"""Domain randomisation: what differs from episode to episode, drawn at each reset.

`Randomised` is a task like the one that it holds. Everything that it draws is in its state, keys
included, so that batches, chunks and checkpoints need to know nothing of it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfo.envs.base import Environment, EnvSpec, Step
from rfo.errors import SettingError
from rfo.physics.model import Joint, Model
from rfo.physics.parameters import factors_of, scaled
from rfo.types import Array, Float, Int, Key, Observation, PRNGKey, PyTree

OBSERVATION, LATENCY, PUSH, INTERVAL = "observation", "latency", "push", "push.interval"
OWN = (OBSERVATION, LATENCY, PUSH, INTERVAL)


@dataclass(frozen=True)
class Distribution:
    """A distribution by its name and one or two numbers.

    Raises:
        SettingError: for an unknown name, or numbers that it cannot have.

    Example:
        >>> Distribution.parse("uniform 0.8 1.2")
        Distribution(kind='uniform', numbers=(0.8, 1.2))
    """

    kind: str
    """One of `KINDS`."""
    numbers: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingError(f"unknown distribution '{self.kind}': {HOW}")
        if len(self.numbers) != len(KINDS[self.kind][0].split()):
            raise SettingError(f"'{self}' has not the numbers of {self.kind}: {HOW}")
        if not all(map(math.isfinite, self.numbers)):
            raise SettingError(f"'{self}' has a number that is not finite")
        low, high = self.numbers[0], self.numbers[-1]
        if (self.kind != "normal" and low > high) or (self.kind == "normal" and high < 0):
            raise SettingError(f"'{self}': the numbers are in the wrong order, or negative")
        if self.kind == "loguniform" and low <= 0:
            raise SettingError(f"'{self}': a loguniform distribution has positive numbers")
        if self.kind == "integers" and any(x != int(x) for x in self.numbers):
            raise SettingError(f"'{self}' has a number that is not whole")

    def __str__(self) -> str:
        return " ".join([self.kind, *(f"{x:g}" for x in self.numbers)])

    @classmethod
    def parse(cls, text: str | float) -> Distribution:
        """From ``"uniform 0.8 1.2"``, or a number that is always drawn."""
        words = str(text).split()
        try:
            if len(words) == 1:
                return cls("constant", (float(words[0]),))
            return cls(words[0] if words else "", tuple(map(float, words[1:])))
        except ValueError as error:
            if isinstance(error, SettingError):
                raise
            raise SettingError(f"'{text}' is no distribution: {HOW}") from None

    @property
    def most(self) -> float:
        """The largest number that it draws."""
        return math.inf if self.kind == "normal" else self.numbers[-1]

    @property
    def least(self) -> float:
        """The smallest number that it draws."""
        return -math.inf if self.kind == "normal" else self.numbers[0]

    def draw(self, key: PRNGKey, shape: tuple[int, ...]) -> Array:
        """Independent numbers."""
        return KINDS[self.kind][1](key, shape, *self.numbers)


def _log_uniform(key: PRNGKey, shape: tuple[int, ...], low: float, high: float) -> Array:
    drawn = jax.random.uniform(key, shape, minval=math.log(low), maxval=math.log(high))
    return jnp.clip(jnp.exp(drawn), low, high)


KINDS: dict[str, tuple[str, Callable[..., Array]]] = {
    "constant": ("value", lambda key, shape, value: jnp.full(shape, value)),
    "uniform": (
        "low high",
        lambda key, shape, low, high: jax.random.uniform(key, shape, minval=low, maxval=high),
    ),
    "loguniform": ("low high", _log_uniform),
    "normal": (
        "mean deviation",
        lambda key, shape, mean, deviation: mean + deviation * jax.random.normal(key, shape),
    ),
    "integers": (
        "low high",
        lambda key, shape, low, high: jax.random.randint(key, shape, int(low), int(high) + 1),
    ),
}
"""Names of the numbers of each kind, and how it is drawn."""
HOW = (
    "write uniform LOW HIGH, loguniform LOW HIGH, normal MEAN DEVIATION, integers LOW HIGH or"
    " one number"
)


class RandomisedState(NamedTuple):
    """State of a `Randomised` task."""

    task: PyTree
    factors: dict[str, Float[Array, "B n"]]
    """Factors on the simulator's quantities in this episode, by name."""
    latency: Int[Array, " B"]
    """Control steps by which actions come late in this episode."""
    waiting: Float[Array, "B D A"]
    """The last actions that were given, the newest last."""
    until_push: Float[Array, " B"]
    """Time to the next push [s]."""
    key: Key[Array, " B"]
    """For what is drawn in this control step."""


class _Keys(NamedTuple):
    noise: Key[Array, " B"]
    speed: Key[Array, " B"]
    direction: Key[Array, " B"]
    interval: Key[Array, " B"]
    next: Key[Array, " B"]


class Randomised:
    """A task that is a little different in each episode of each environment.

    By name, with a distribution such as ``uniform 0.8 1.2`` (see `Distribution`):

    - a quantity of its simulator, as ``body.mass`` or ``body.mass.torso``: a factor for each part
      that has one, for the episode;
    - ``observation``, or ``observation.NAME`` for an entry of its specification or an array of a
      dict: added to each number, anew in each control step;
    - ``latency``: by how many control steps an action acts late, for the episode. Until the first
      one comes through, actions are 0;
    - ``push``: change of the first link's horizontal velocity [m/s], in a random direction; along
      its slide, for a robot that has no free joint. ``push.interval``: time between two of them
      [s], by default ``uniform 2 4``.

    Args:
        task: what to randomise. Its `step` must take `parameters` if any quantity is given.
        distributions: by name.

    Raises:
        SettingError: for a name or a distribution that does not fit the task.

    Example:
        >>> import jax, rfo
        >>> task = rfo.Randomised(rfo.make("hopper").task, {"body.mass": "uniform 0.8 1.2"})
        >>> task.reset(jax.random.key(0), 4).factors["body.mass"].shape
        (4, 6)
    """

    def __init__(self, task: Environment, distributions: Mapping[str, str | float]):
        self.task = task
        self.distributions: dict[str, Distribution] = {}
        for name, text in sorted(distributions.items()):
            try:
                self.distributions[name] = Distribution.parse(text)
            except SettingError as error:
                raise SettingError(f"{name}: {error}", name) from None
        self._simulator: Any = getattr(task, "simulator", None)
        quantities = getattr(self._simulator, "quantities", {})
        others = [name for name in self.distributions if name in OWN[1:]]
        noisy = [n for n in self.distributions if n.split(".")[0] == OBSERVATION]
        varied = [n for n in self.distributions if n not in [*others, *noisy]]
        if varied and not quantities:
            raise SettingError(f"{varied[0]}: {self.spec.name} has no simulator to randomise")
        self._counts = {name: _count(quantities, name) for name in varied}
        if varied and "parameters" not in inspect.signature(task.step).parameters:
            raise SettingError(
                f"{varied[0]}: the step of {self.spec.name} must take parameters, as in "
                "step(state, action, parameters=None), and hand them to its simulator",
                varied[0],
            )
        self._noise = {name: _noisy(self.spec, name) for name in noisy}
        late = self.distributions.get(LATENCY, Distribution("constant", (0.0,)))
        if late.kind not in ("integers", "constant") or late.least < 0 or late.most % 1:
            raise SettingError("latency: write integers LOW HIGH, in control steps", LATENCY)
        self._late, self._longest = late, int(late.most)
        self._interval = self.distributions.get(INTERVAL, Distribution("uniform", (2.0, 4.0)))
        if self._interval.least <= 0:
            raise SettingError("push.interval: a time must be positive [s]", INTERVAL)
        self._pushed = _pushed(self._simulator, self.spec) if PUSH in self.distributions else ()

    @property
    def spec(self) -> EnvSpec:
        """The task's."""
        return self.task.spec

    @property
    def simulator(self) -> Any:
        """The task's."""
        return self._simulator

    def reset(self, key: PRNGKey, batch: int) -> RandomisedState:
        """Start episodes of the task, and draw what is particular to each."""
        task_key, late_key, push_key, own_key, *keys = jax.random.split(key, 4 + len(self._counts))
        shape = (batch, self._longest, self.spec.action_size)
        return RandomisedState(
            task=self.task.reset(task_key, batch),
            factors={
                name: self.distributions[name].draw(key, (batch, count))
                for key, (name, count) in zip(keys, self._counts.items(), strict=True)
            },
            latency=self._late.draw(late_key, (batch,)).astype(jnp.int32),
            waiting=jnp.zeros(shape),
            until_push=self._interval.draw(push_key, (batch,)),
            key=jax.random.split(own_key, batch),
        )

    def observe(self, state: RandomisedState) -> Observation:
        """The task's observation with the noise of this control step."""
        observation = self.task.observe(state.task)
        if not self._noise:
            return observation
        keys = jax.vmap(lambda key: jax.random.split(key, len(self._noise)))(_keys(state).noise)
        for i, (name, place) in enumerate(self._noise.items()):
            observation = self._added(observation, self.distributions[name], place, keys[:, i])
        return observation

    def parameters(self, state: RandomisedState) -> Any:
        """The simulator's parameters in these episodes."""
        return scaled(self._simulator.parameters, self._simulator.quantities, state.factors)

    def step(self, state: RandomisedState, action: Float[Array, "B A"]) -> Step:
        """Advance by one control step."""
        keys = _keys(state)
        given = jnp.concatenate([state.waiting, action[:, None]], axis=1)
        acts = jnp.take_along_axis(given, (self._longest - state.latency)[:, None, None], axis=1)[
            :, 0
        ]
        inner, until_push = self._push(state, keys)
        more = {"parameters": self.parameters(state)} if self._counts else {}
        out = self.task.step(inner, acts, **more)
        after = state._replace(
            task=out.state, waiting=given[:, 1:], until_push=until_push, key=keys.next
        )
        return Step(after, self.observe(after), out.reward, out.terminated)

    def _push(self, state: RandomisedState, keys: _Keys) -> tuple[PyTree, Float[Array, " B"]]:
        """The task's state after a push, if there is one, and the time to the next."""
        if not self._pushed:
            return state.task, state.until_push
        now = state.until_push <= 0
        speed = _drawn(self.distributions[PUSH], keys.speed)
        again = _drawn(self._interval, keys.interval)
        angle = 2 * jnp.pi * jax.vmap(jax.random.uniform)(keys.direction)
        ways = (jnp.cos(angle), jnp.sin(angle))
        if len(self._pushed) == 1:
            ways = (jnp.sign(jnp.cos(angle)),)
        kick = jnp.where(now, speed, 0.0)
        physics = getattr(state.task, "physics", state.task)
        qd = physics.qd
        for dof, way in zip(self._pushed, ways, strict=True):
            qd = qd.at[:, dof].add(kick * way)
        physics = physics._replace(qd=qd)
        whole = hasattr(state.task, "physics")
        pushed = state.task._replace(physics=physics) if whole else physics
        return pushed, jnp.where(now, again, state.until_push - self.spec.dt)

    def _added(
        self, observation: Observation, noise: Distribution, place: Any, keys: Key[Array, " B"]
    ) -> Observation:
        """An observation with noise at a place: a slice, or arrays of a dict."""
        if isinstance(observation, dict):
            parts = jax.vmap(lambda key: jax.random.split(key, len(place)))(keys)
            shapes = {name: observation[name].shape[1:] for name in place}
            drawn = {n: _drawn(noise, parts[:, i], s) for i, (n, s) in enumerate(shapes.items())}
            return {name: x + drawn.get(name, 0.0) for name, x in observation.items()}
        shape = observation[:, place].shape[1:]
        return observation.at[:, place].add(_drawn(noise, keys, shape))


def _keys(state: RandomisedState) -> _Keys:
    parts = jax.vmap(lambda key: jax.random.split(key, len(_Keys._fields)))(state.key)
    return _Keys(*(parts[:, i] for i in range(len(_Keys._fields))))


def _drawn(
    distribution: Distribution, keys: Key[Array, " B"], shape: tuple[int, ...] = ()
) -> Array:
    """Numbers of this shape for each environment."""
    return jax.vmap(lambda key: distribution.draw(key, shape))(keys)


def _count(quantities: Mapping[str, Any], name: str) -> int:
    """Factors that a name means."""
    try:
        return len(factors_of(quantities, name))
    except SettingError as error:
        known = f"{error}, or {', '.join(OWN)}" if "unknown" in str(error) else str(error)
        raise SettingError(known, name) from None


def _noisy(spec: EnvSpec, name: str) -> Any:
    """Where noise is added: a slice of a vector, or the arrays of a dict."""
    entry = name.removeprefix(OBSERVATION).removeprefix(".")
    if isinstance(spec.observation, Mapping):
        known = {key: [key] for key in spec.observation} | {"": [*spec.observation]}
    else:
        known, start = {"": slice(None)}, 0
        for each in spec.entries:
            known[each.name] = slice(start, start + each.size)
            start += each.size
    if entry not in known:
        raise SettingError(f"{name}: the observation has {', '.join(filter(None, known))}", name)
    return known[entry]


def _pushed(simulator: Any, spec: EnvSpec) -> tuple[int, ...]:
    """Degrees of freedom that a push changes."""
    model = getattr(simulator, "model", None)
    if isinstance(model, Model) and model.joint[0] == Joint.FREE:
        return (0, 1)
    if isinstance(model, Model) and model.joint[0] == Joint.SLIDE:
        return (0,)
    raise SettingError(f"push: {spec.name} has no robot whose first joint is free or a slide", PUSH)
