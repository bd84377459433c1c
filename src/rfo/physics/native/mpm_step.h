#pragma once
// One control step. Nothing is kept for the adjoint but the state before, which the caller has.

#include "mpm_tools.h"

struct Step : Tools {
  real* const state = take<real>(STATE * padded);
  using Tools::Tools;

#ifdef PARAMETERS
  FN void run(const real* x_in, const real* v_in, const real* c_in, const real* f_in,
              const real* pose_in, const real* parameters, real* x_out, real* v_out, real* c_out,
              real* f_out) {
    m.receive(parameters, pack);
    run(x_in, v_in, c_in, f_in, pose_in, x_out, v_out, c_out, f_out);
  }
#endif
  FN void run(const real* x_in, const real* v_in, const real* c_in, const real* f_in,
              const real* pose_in, real* x_out, real* v_out, real* c_out, real* f_out) {
    pose = pose_in;
    sort(x_in + (long long)pack * m.particles * 3);
    gather(x_in, 3, state, AT_X);
    gather(v_in, 3, state, AT_V);
    gather(c_in, 9, state, AT_C);
    gather(f_in, 9, state, AT_F);
    SYNC();
    for (int k = 0; k < m.substeps; ++k) substep(state, k);
    scatter(state, AT_X, 3, x_out);
    scatter(state, AT_V, 3, v_out);
    scatter(state, AT_C, 9, c_out);
    scatter(state, AT_F, 9, f_out);
  }
};
