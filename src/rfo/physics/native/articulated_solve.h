#pragma once
// H = L^T D L along the tree.

#include "articulated_model.h"

// H to rows of L (unit diagonal) with 1 / D on the diagonal, in place.
FN void factorise(const Model& m, F* H) {
  for (int k = m.nv - 1; k >= 0; --k) {
    const F inverse = F(1) / H[m.row[k]];
    H[m.row[k]] = inverse;
    F* Lki = H + m.row[k] + 1;
    for (int i = m.dof_above[k]; i >= 0; i = m.dof_above[i]) {
      const F value = *Lki * inverse;
      const F* Lkj = Lki;
      F* Hij = H + m.row[i];
      for (int j = i; j >= 0; j = m.dof_above[j]) *Hij++ -= value * *Lkj++;
      *Lki++ = value;
    }
  }
}

// x <- H^-1 x, of the factors.
FN void solve(const Model& m, const F* H, F* x) {
  for (int i = m.nv - 1; i >= 0; --i) {
    const F xi = x[i];
    const F* row = H + m.row[i] + 1;
    for (int j = m.dof_above[i]; j >= 0; j = m.dof_above[j]) x[j] -= *row++ * xi;
  }
  for (int i = 0; i < m.nv; ++i) {
    F xi = x[i] * H[m.row[i]];
    const F* row = H + m.row[i] + 1;
    for (int j = m.dof_above[i]; j >= 0; j = m.dof_above[j]) xi -= *row++ * x[j];
    x[i] = xi;
  }
}
