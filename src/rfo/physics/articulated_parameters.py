"""What the environments of an articulated simulator may each have of their own."""

from __future__ import annotations

from typing import NamedTuple

from rfo.physics.lengths import Tendons
from rfo.physics.model import Model
from rfo.physics.parameters import ONE, Quantity, columns, contact_quantities, times
from rfo.types import Array, Float


class ArticulatedParameters(NamedTuple):
    """Constants of a model; R is the number of environments, or 1 for all alike.

    L links, nv degrees of freedom, N tendons (dry friction of a joint is one) and nu actuators,
    contacts of C spheres with the ground, of S other shapes with planes, and of P pairs.
    `rfo.physics.model.Model` and `rfo.physics.lengths` define the constants.

    None follows another. Where a mass changes, these stay as they were: inertias, the constants of
    contacts and limits, the creep speed of dry friction, and the mass by which a clamped servo
    fades. So a body that is made much lighter may need more substeps to be stable.
    """

    gravity: Float[Array, "R 3"]
    mass: Float[Array, "R L"]
    com: Float[Array, "R L 3"]
    inertia: Float[Array, "R L 6"]
    """xx, yy, zz, xy, xz, yz"""
    armature: Float[Array, "R nv"]
    damping: Float[Array, "R nv"]
    stiffness: Float[Array, "R nv"]
    spring_reference: Float[Array, "R nv"]
    limit_ke: Float[Array, "R nv"]
    limit_kd: Float[Array, "R nv"]
    tendon_stiffness: Float[Array, "R N"]
    tendon_damping: Float[Array, "R N"]
    tendon_friction: Float[Array, "R N"]
    tendon_armature: Float[Array, "R N"]
    actuator_gain: Float[Array, "R nu 3"]
    actuator_bias: Float[Array, "R nu 3"]
    activation_rate: Float[Array, "R nu"]
    """An activation has the rate a' = rate u - decay a [1/s]."""
    activation_decay: Float[Array, "R nu"]
    contact_law: Float[Array, "R C 5"]
    """k_e, k_d, k_f, mu, k_h, see `rfo.physics.model.Model`."""
    support_law: Float[Array, "R S 5"]
    pair_law: Float[Array, "R P 5"]


def quantities(model: Model) -> dict[str, Quantity]:
    """What can be scaled by name.

    A factor on ``body.mass`` scales the inertia too, as another density does. One on
    ``actuator.gain`` scales all of an actuator's force: the gear of a motor, kp and kv of a servo;
    ``actuator.damping`` scales kv further. ``body.com`` is added [m].
    """
    links, dofs, actuators = model.link_names, model.dof_names, model.actuators.names
    tendons = tendon_names(model.tendons, dofs)
    offset = tuple(f"{name}.{axis}" for name in links for axis in "xyz")
    return {
        "gravity": Quantity(ONE, times("gravity")),
        "body.mass": Quantity(links, times("mass", "inertia")),
        "body.inertia": Quantity(links, times("inertia")),
        "body.com": Quantity(offset, _offset, added=True),
        "joint.armature": Quantity(dofs, times("armature")),
        "joint.damping": Quantity(dofs, times("damping")),
        "joint.stiffness": Quantity(dofs, times("stiffness")),
        "joint.limit": Quantity(dofs, times("limit_ke", "limit_kd")),
        "joint.friction": Quantity(tendons, times("tendon_friction")),
        "tendon.armature": Quantity(tendons, times("tendon_armature")),
        "tendon.damping": Quantity(tendons, times("tendon_damping")),
        "tendon.stiffness": Quantity(tendons, times("tendon_stiffness")),
        "actuator.gain": Quantity(actuators, times("actuator_gain", "actuator_bias")),
        "actuator.damping": Quantity(actuators, columns((2,), "actuator_bias")),
        "actuator.rate": Quantity(actuators, times("activation_rate", "activation_decay")),
        **contact_quantities(*LAWS),
    }


LAWS = ("contact_law", "support_law", "pair_law")


def tendon_names(tendons: Tendons, dofs: tuple[str, ...]) -> tuple[str, ...]:
    """A name for each row: the joint's, if it acts along one alone."""
    rows = [tendons.lengths.one(i) for i in range(len(tendons.lengths))]
    alone = [len(row.terms) == 1 and row.cord < 0 for row in rows]
    return tuple(
        dofs[row.terms[0][0]] if is_joint else f"tendon {i}"
        for i, (row, is_joint) in enumerate(zip(rows, alone, strict=True))
    )


def _offset(parameters: ArticulatedParameters, added: Array) -> ArticulatedParameters:
    com = parameters.com
    return parameters._replace(com=com + added.reshape(len(added), *com.shape[1:]))
