#pragma once
// A material's response to each of `envs` deformation gradients, by itself.

#include "material.h"
#include "pack.h"

typedef Material Model;

struct Step : Pack {
  const Model& m;
  FN Step(const Call& call, const Model& model) : Pack(call, 0, 0), m(model) {}

  FN void run(const real* deformation, real* elastic, real* stress) {
    Mat A, Fe, tau;
    Principal axes;
    gather(deformation, 9, A.a);
    respond(m, A, Fe, tau, axes);
    scatter(Fe.a, 9, elastic);
    scatter(tau.a, 9, stress);
  }
};
