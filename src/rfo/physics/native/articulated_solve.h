#pragma once
// H = L^T D L along the tree.

#include "articulated_model.h"
#include "team.h"

// Turns H in place into rows of L, whose unit diagonal makes room for 1 / D.
FN void factorise(const Model& m, At<F> H) {
  for (int k = m.nv - 1; k >= 0; --k) {
    const F inverse = F(1) / H[m.row[k]];
    H[m.row[k]] = inverse;
    At<F> Lki = H + m.row[k] + 1;
    for (int i = m.dof_above[k]; i >= 0; i = m.dof_above[i]) {
      const F value = *Lki * inverse;
      At<const F> Lkj = Lki;
      At<F> Hij = H + m.row[i];
      for (int j = i; j >= 0; j = m.dof_above[j]) *Hij++ -= value * *Lkj++;
      *Lki++ = value;
    }
  }
}

// x <- H^-1 x, with the factors of H.
FN void solve(const Model& m, At<const F> H, At<F> x) {
  for (int i = m.nv - 1; i >= 0; --i) {
    const F xi = x[i];
    At<const F> row = H + m.row[i] + 1;
    for (int j = m.dof_above[i]; j >= 0; j = m.dof_above[j]) x[j] -= *row++ * xi;
  }
  for (int i = 0; i < m.nv; ++i) {
    F xi = x[i] * H[m.row[i]];
    At<const F> row = H + m.row[i] + 1;
    for (int j = m.dof_above[i]; j >= 0; j = m.dof_above[j]) xi -= *row++ * x[j];
    x[i] = xi;
  }
}
