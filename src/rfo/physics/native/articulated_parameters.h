#pragma once
// What an environment may have of its own; the names are those of the model.

#include "articulated_model.h"
#include "parameters.h"

struct Parameters : Varied {
  const Model& m;
  F* gravity = varied(3);
  F* mass = varied(m.links);
  F* com = varied(3 * m.links);
  F* inertia = varied(6 * m.links);
  F* armature = varied(m.nv);
  F* damping = varied(m.nv);
  F* stiffness = varied(m.nv);
  F* spring_reference = varied(m.nv);
  F* limit_ke = varied(m.nv);
  F* limit_kd = varied(m.nv);
  F* tendon_stiffness = varied(m.tendons);
  F* tendon_damping = varied(m.tendons);
  F* tendon_friction = varied(m.tendons);
  F* tendon_armature = varied(m.tendons);
  F* actuator_gain = varied(3 * m.nu);
  F* actuator_bias = varied(3 * m.nu);
  F* activation_rate = varied(m.nu);
  F* activation_decay = varied(m.nu);
  F* contact_law = varied(5 * m.contacts);
  F* support_law = varied(5 * m.supports);
  F* pair_law = varied(5 * m.pairs);
};
