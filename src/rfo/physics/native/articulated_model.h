#pragma once
// An articulated model in memory, see model.h. ../model.py, ../supports.py and ../pairs.py say what
// its arrays hold.

#include "model.h"

struct Model : Fields {
  int links = integer();
  int nq = integer();  // coordinates, then activations
  int nv = integer();
  int nu = integer();
  int nm = integer();      // numbers of the mass matrix H
  int filled = integer();  // whether rows of H hold more than the links' own
  int lengths = integer();
  int terms = integer();
  int tendons = integer();
  int couplings = integer();
  int cords = integer();
  int cord_segments = integer();
  int welds = integer();
  int contacts = integer();
  int supports = integer();
  int pairs = integer();
  int pair_ends = integer();
  int segments = integer();
  int substeps = integer();
  real dt = number();
  real ground_height = number();
  real cord_hair = number();  // below which a segment of a cord has a smooth length [m]
  const real* gravity = reals(3);
  const real* ground_normal = reals(3);
  // per link
  const int* parent = integers(links);
  const int* joint = integers(links);
  const int* q_start = integers(links);
  const int* v_start = integers(links);
  const int* v_count = integers(links);
  const real* pos = reals(3 * links);
  const real* quat = reals(4 * links);  // (x, y, z, w)
  const real* axis = reals(3 * links);
  const real* mass = reals(links);
  const real* com = reals(3 * links);
  const real* inertia = reals(6 * links);  // xx, yy, zz, xy, xz, yz
  // per degree of freedom
  const int* dof_parent = integers(nv);
  // a row of H goes up a tree, in which degrees of freedom that a length couples are ancestors too
  const int* dof_above = integers(nv);
  const int* level = integers(nv);  // number of ancestors in that tree
  const int* dof_q = integers(nv);  // coordinate of a SLIDE or HINGE, else -1
  const int* row = integers(nv);    // start of a row of H: its diagonal, then its ancestors upwards
  const real* armature = reals(nv);
  const real* damping = reals(nv);
  const real* stiffness = reals(nv);
  const real* spring_reference = reals(nv);
  const real* limit_lower = reals(nv);
  const real* limit_upper = reals(nv);
  const real* limit_ke = reals(nv);
  const real* limit_kd = reals(nv);
  // terms of the lengths of actuators, of tendons, then of the first and second lengths of
  // couplings
  const int* length_start = integers(lengths + 1);
  const int* length_dof = integers(terms);
  const real* length_coef = reals(terms);
  const int* length_cord = integers(lengths);  // the cord that it is the length of, or -1
  const real* length_gear = reals(lengths);    // times which it is that
  // per cord, and per segment of one: see rfo.physics.cords.Cords
  const int* cord_start = integers(cords + 1);
  const int* cord_link = integers(2 * cord_segments);
  const real* cord_pos = reals(6 * cord_segments);
  const real* cord_scale = reals(cord_segments);
  // per actuator
  const real* actuator_gain = reals(3 * nu);
  const real* actuator_bias = reals(3 * nu);
  const real* force_range = reals(2 * nu);
  const real* actuator_mass = reals(nu);    // effective mass at the reference pose
  const real* actuator_ahead = reals(nu);   // 1 where the length is implicit too, else 0
  const int* actuator_soft = integers(nu);  // whether something is implicit
  const int* activation_q = integers(nu);   // where q holds its activation, or -1
  const int* activation_early = integers(nu);
  const real* activation_rate = reals(nu);  // a' = rate u - decay a [1/s]
  const real* activation_decay = reals(nu);
  const real* activation_range = reals(2 * nu);
  // per tendon
  const real* tendon_stiffness = reals(tendons);
  const real* tendon_rest = reals(2 * tendons);
  const real* tendon_damping = reals(tendons);
  const real* tendon_friction = reals(tendons);
  const real* tendon_creep = reals(tendons);
  const real* tendon_armature = reals(tendons);
  const real* tendon_limit_lower = reals(tendons);
  const real* tendon_limit_upper = reals(tendons);
  const real* tendon_limit_ke = reals(tendons);
  const real* tendon_limit_kd = reals(tendons);
  // per coupling
  const real* coupling_poly = reals(5 * couplings);
  const real* coupling_ke = reals(couplings);
  const real* coupling_kd = reals(couplings);
  // per weld
  const int* weld_link = integers(2 * welds);
  const real* weld_pos = reals(6 * welds);
  const real* weld_quat = reals(8 * welds);  // (x, y, z, w) each
  const real* weld_ke = reals(welds);
  const real* weld_kd = reals(welds);
  const real* weld_turn_ke = reals(welds);
  const real* weld_turn_kd = reals(welds);
  // per contact sphere
  const int* contact_link = integers(contacts);
  const real* contact_pos = reals(3 * contacts);
  const real* contact_radius = reals(contacts);
  const real* contact_law = reals(5 * contacts);
  // per ellipsoid on a plane, see rfo.physics.supports.Supports
  const int* support_link = integers(supports);
  const real* support_pos = reals(3 * supports);
  const real* support_quat = reals(4 * supports);  // (x, y, z, w)
  const real* support_axes = reals(3 * supports);
  const real* support_normal = reals(3 * supports);
  const real* support_height = reals(supports);
  const real* support_law = reals(5 * supports);
  // per directed pair, see rfo.physics.pairs.Pairs
  const int* pair_link = integers(pairs);
  const int* pair_target = integers(pairs);
  const int* pair_box = integers(pairs);  // 0 an axis, 1 a box, 2 a box on a box
  const int* pair_start = integers(pair_ends);
  const real* pair_centre = reals(3 * pairs);
  const real* pair_reach = reals(pairs);
  const real* pair_radius = reals(pairs);
  const real* pair_thickness = reals(pairs);
  const real* pair_target_pos = reals(3 * pairs);
  const real* pair_target_quat = reals(4 * pairs);  // (x, y, z, w)
  const real* pair_target_half = reals(3 * pairs);
  const real* pair_own_quat = reals(4 * pairs);  // (x, y, z, w)
  const real* pair_own_half = reals(3 * pairs);
  const real* pair_sign = reals(pairs);
  const real* pair_law = reals(5 * pairs);
  // per segment
  const real* segment_mid = reals(3 * segments);
  const real* segment_half = reals(3 * segments);
  const real* segment_length = reals(segments);
};
