#pragma once
// Mass matrix (with armature, sparse rows) and tau - bias without controls, of a state.

#include "articulated_equations.h"

struct Inspection : Equations {
  F* u = take(m.nu);
  using Equations::Equations;

  FN void run(const real* q_in, const real* qd_in, real* mass_matrix, real* right) {
    for (int c = 0; c < m.nu; ++c) u[c] = F(0);
    gather(q_in, m.nq, q);
    gather(qd_in, m.nv, qd);
    equations(u);
    scatter(H, m.nm, mass_matrix);
    scatter(qdd, m.nv, right);
  }
};
