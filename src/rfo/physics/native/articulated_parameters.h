#pragma once
// The constants that an environment may have of its own, by their names in the model.

#include "articulated_model.h"
#include "parameters.h"

struct Parameters : Varied<F> {
  const Model& m;
  At<F> gravity = varied(3);
  At<F> mass = varied(m.links);
  At<F> com = varied(3 * m.links);
  At<F> inertia = varied(6 * m.links);
  At<F> armature = varied(m.nv);
  At<F> damping = varied(m.nv);
  At<F> stiffness = varied(m.nv);
  At<F> spring_reference = varied(m.nv);
  At<F> limit_ke = varied(m.nv);
  At<F> limit_kd = varied(m.nv);
  At<F> tendon_stiffness = varied(m.tendons);
  At<F> tendon_damping = varied(m.tendons);
  At<F> tendon_friction = varied(m.tendons);
  At<F> tendon_armature = varied(m.tendons);
  At<F> actuator_gain = varied(3 * m.nu);
  At<F> actuator_bias = varied(3 * m.nu);
  At<F> activation_rate = varied(m.nu);
  At<F> activation_decay = varied(m.nu);
  At<F> contact_law = varied(5 * m.contacts);
  At<F> support_law = varied(5 * m.supports);
  At<F> pair_law = varied(5 * m.pairs);
};
