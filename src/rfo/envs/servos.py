"""What actions stand for: the controls of actuators, or targets of servos around a pose."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from rfo.envs.moment import Body
from rfo.errors import SettingError
from rfo.physics.lengths import Actuators, Dynamics, Lengths
from rfo.physics.model import Model
from rfo.physics.reference import reference

FREQUENCY = 8.0
"""Natural frequency of a servo whose stiffness is chosen [Hz]."""


def with_servos(model: Model, stiffness: float | None, damping: float | None) -> Model:
    """The model with a position servo in place of every motor; servos that it has stay.

    A servo's force is limited to that of its motor over the control range.

    Args:
        model: whose actuators are motors and position servos.
        stiffness: of each new servo [N/m or N m/rad]; None: for 8 Hz with the inertia that it
            moves in the reference configuration.
        damping: [N s/m or N m s/rad]; None: critical, with that inertia.
    """
    own = model.actuators
    motor = (own.bias == 0).all(axis=-1) & (own.gain[:, 1:] == 0).all(axis=-1)
    motor &= own.dynamics == Dynamics.NONE
    if not motor.any():
        return model
    direct = _direct(own, motor)
    along = direct.jacobian(model.nv)
    mobility = np.einsum("ci,ij,cj->c", along, np.linalg.inv(reference(model).mass_matrix), along)
    mass = 1 / np.maximum(mobility, 1e-12)
    chosen = mass * (2 * np.pi * FREQUENCY) ** 2
    ke = chosen if stiffness is None else np.full(model.nu, float(stiffness))
    kd = 2 * np.sqrt(ke * mass) if damping is None else np.full(model.nu, float(damping))
    zero = np.zeros(model.nu)
    gear = np.abs(own.lengths.jacobian(model.nv)).max(axis=-1) / np.abs(along).max(axis=-1)
    # of a motor's own force range, and of its control range, the narrower one
    ends = own.control_range * own.gain[:, :1]
    limits = np.clip(np.sort(ends, axis=-1), *own.force_range.T[:, :, None]) * gear[:, None]
    new = np.stack([ke, zero, zero], axis=-1), np.stack([zero, -ke, -kd], axis=-1)
    servos = replace(
        own,
        lengths=direct,
        gain=np.where(motor[:, None], new[0], own.gain),
        bias=np.where(motor[:, None], new[1], own.bias),
        force_range=np.where(motor[:, None], limits, own.force_range),
        control_range=np.where(motor[:, None], [-np.inf, np.inf], own.control_range),
    )
    # its file has motors: whoever reads it again would move another robot
    return replace(model, actuators=servos, source="")


def _direct(own: Actuators, motor: np.ndarray) -> Lengths:
    """The actuators' lengths, those of motors without their gear where they act on one joint."""
    coef = own.lengths.coef.copy()
    count = np.diff(own.lengths.start)
    single = own.lengths.start[:-1][motor & (count == 1) & (own.lengths.cord < 0)]
    coef[single] = 1.0
    return replace(own.lengths, coef=coef)


def control_range(model: Model) -> tuple[tuple[float, float], ...]:
    """Control range of each actuator; [-1, 1] where the file gives none."""
    ranges = model.actuators.control_range
    return tuple(
        (-1.0, 1.0) if np.isinf(low) else (float(low), float(high)) for low, high in ranges
    )


def target_range(model: Model, pose: np.ndarray, scale: float) -> tuple[tuple[float, float], ...]:
    """Targets of the servos at actions of -1 and 1.

    Raises:
        SettingError: if an actuator is no servo.
    """
    servo = (model.actuators.bias[:, 1] < 0) & (model.actuators.gain[:, 1:] == 0).all(axis=-1)
    if not servo.all():
        named = ", ".join(np.array(model.actuators.names)[~servo])
        raise SettingError(
            f"positions need motors or position servos, unlike {named}", "action_mode"
        )
    body = Body(model, pose, 1.0, np.zeros(model.nu), np.zeros(model.nu))
    still = jnp.zeros((1, model.nv))
    middle = np.asarray(body.lengths(jnp.asarray(pose)[None], still)[0])[0]
    reach = scale * np.abs(body.along).sum(axis=-1)
    return tuple((float(m - r), float(m + r)) for m, r in zip(middle, reach, strict=True))
