"""Penalty contact with regularised Coulomb friction.

The law is that of the reference tasks: with penetration depth d [m], normal velocity v_n and tangential
velocity v_t of the contact point [m/s],

    N = k_e d + k_d max(-v_n, 0),        F = N n - min(k_f, mu N / |v_t|) v_t.

Damping acts on approach only, so that the ground never pulls. Stiff constants make stiff gradients: k_e should
scale with the mass that it carries (docs/gradients.md).
"""

import warp as wp

SLIDING_SPEED_FLOOR = wp.constant(1.0e-6)
"""Keeps the friction law's gradient finite at zero tangential speed [m/s]; the force there is k_f v_t."""


@wp.func
def contact_force(
    depth: float,
    normal: wp.vec3,
    velocity: wp.vec3,
    ke: float,
    kd: float,
    kf: float,
    mu: float,
) -> wp.vec3:
    """Force of the ground on a contact point [N]; `depth` must be positive."""
    vn = wp.dot(velocity, normal)
    vt = velocity - normal * vn
    pressure = ke * depth + kd * wp.max(-vn, 0.0)
    speed = wp.sqrt(wp.dot(vt, vt) + SLIDING_SPEED_FLOOR * SLIDING_SPEED_FLOOR)
    grip = wp.min(kf, mu * pressure / speed)
    return normal * pressure - vt * grip
