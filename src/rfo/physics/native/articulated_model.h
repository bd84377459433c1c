#pragma once
// An articulated model in memory, see model.h; what its arrays hold is in ../model.py,
// ../supports.py and ../pairs.py.

#include "model.h"

struct Model : Fields {
  int links = integer();
  int nq = integer();
  int nv = integer();
  int nu = integer();
  int nm = integer();  // numbers of the mass matrix H
  int contacts = integer();
  int supports = integer();
  int pairs = integer();
  int pair_ends = integer();
  int segments = integer();
  int substeps = integer();
  real dt = number();
  real ground_height = number();
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
  const real* inertia = reals(9 * links);
  // per degree of freedom
  const int* dof_parent = integers(nv);
  const int* dof_q = integers(nv);  // coordinate of a SLIDE or HINGE, else -1
  const int* row = integers(nv);  // where a row of H starts: its diagonal, then its ancestors upwards
  const real* armature = reals(nv);
  const real* damping = reals(nv);
  const real* stiffness = reals(nv);
  const real* spring_reference = reals(nv);
  const real* limit_lower = reals(nv);
  const real* limit_upper = reals(nv);
  const real* limit_ke = reals(nv);
  const real* limit_kd = reals(nv);
  // per control
  const int* control_dof = integers(nu);
  const real* control_gear = reals(nu);
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
