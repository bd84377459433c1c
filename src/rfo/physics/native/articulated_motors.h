#pragma once
// For models whose only forces along lengths are motors; in place of articulated_lengths.h.

#include "articulated_cordless.h"

struct Driven : Cords {
  At<F> u = take(m.nu);
  using Cords::Cords;

  FN void drive(F) {
    for (int c = 0; c < m.nu; ++c)
      qdd[m.length_dof[c]] += F(m.length_coef[c]) * F(own.actuator_gain[3 * c]) * u[c];
  }
  FN void activate() {}
  FN void hold(F) {}
  FN void drive_adjoint(At<const F> lambda, At<F>, At<F>, At<F> gu) {
    for (int c = 0; c < m.nu; ++c) {
      const F power = F(m.length_coef[c]) * lambda[m.length_dof[c]];
      gu[c] += F(own.actuator_gain[3 * c]) * power;
      credit(own.actuator_gain + 3 * c, u[c] * power);
    }
  }
  FN void hold_adjoint(At<const F>, At<F>, At<F>) {}
};
