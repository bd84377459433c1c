#pragma once
// For a state: the mass matrix (with armature, sparse rows), tau - bias without actuators, and the
// actuators' forces.

#include "articulated_equations.h"

struct Inspection : Equations {
  using Equations::Equations;

  FN void run(const real* q_in, const real* qd_in, const real* control, real* mass_matrix,
              real* right, real* driven) {
    gather(q_in, m.nq, q);
    gather(qd_in, m.nv, qd);
    gather(control, m.nu, u);
    equations();
    hold(F(0));
    scatter(H, m.nm, mass_matrix);
    scatter(qdd, m.nv, right);
    for (int j = 0; j < m.nv; ++j) qdd[j] = F(0);
    drive(F(0));
    scatter(qdd, m.nv, driven);
  }
};
