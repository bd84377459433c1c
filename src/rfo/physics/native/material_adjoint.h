#pragma once
// Adjoint of material_step.h, which is found again.

#include "material_step.h"

struct Adjoint : Pack {
  const Model& m;
  FN Adjoint(const Call& call, const Model& model) : Pack(call, 0, 0), m(model) {}

  FN void run(const real* deformation, const real* g_elastic, const real* g_stress,
              real* g_deformation) {
    Mat A, Fe, tau, g_Fe, g_tau;
    Principal axes;
    gather(deformation, 9, A.a);
    gather(g_elastic, 9, g_Fe.a);
    gather(g_stress, 9, g_tau.a);
    respond(m, A, Fe, tau, axes);
    scatter(respond_adjoint(m, A, axes, g_Fe, g_tau).a, 9, g_deformation);
  }
};
