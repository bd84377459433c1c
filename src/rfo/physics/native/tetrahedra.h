#pragma once
// Finite elements shared by the step and its adjoint.
//
// A tetrahedron with vertices 0 to 3, edges X = [x1-x0, x2-x0, x3-x0], rest shape D (inverse of the
// rest edges) and rest volume vol has F = X D, and with A = D D^T:
// I_C = |F|^2 = <X, X A>,  J = det F = s X1 . (X2 x X3),  s = det D.
// Stable neo-Hookean energy (Smith, de Goes, Kim 2018) and the force on vertices 1 to 3, vertex 0
// balancing them:
//
//     psi = mu/2 (I_C - 3) - mu/2 log(I_C + 1) + lambda/2 (J - alpha + a)^2,
//     alpha = 1 + 3/4 mu/lambda,
//     -f_i = c (X A)_i + d (V A)_i + p s C_i,
//     c = mu (1 - 1/(I_C + 1)),     p = lambda (J - alpha + a) + d dJ/dt,
//
// with V the edges' rates, C_1 = X2 x X3 and its cyclic mates (s C_i = dJ/dx_i), activation a,
// damping d, and mu, lambda, d times the rest volume. dJ/dt = s C . (v_i - (1 - drag) v0): the
// reference takes drag = 1, the truth is 0.

#include "contact.h"
#include "tetrahedra_parameters.h"

struct Tet {
  int node[4];
  Sym A;
  F s, mu, lambda, d, alpha;
};

FN void add(V3& to, const V3& value) {
  ADD(to.x, value.x);
  ADD(to.y, value.y);
  ADD(to.z, value.z);
}

struct Tetrahedra : Varying<Model, Parameters> {
  V3* x = take<V3>(m.nodes);
  V3* v = take<V3>(m.nodes);
  F* u = take(m.nu);
  const V3 up{F(0), F(0), F(1)};
  const F held = F(real(1) - m.drag);  // share of v0 that counts in dJ/dt

  // The tape holds the velocities after each substep; positions follow from them.
  FN Tetrahedra(const Call& call, const Model& model)
      : Varying(call, model, model.substeps, 3 * model.nodes) {}

  FN Tet tet(int e) {
    const int* n = m.tets + 4 * e;
    const real* a = m.shape + 6 * e;
    return Tet{{n[0], n[1], n[2], n[3]},
               {F(a[0]), F(a[1]), F(a[2]), F(a[3]), F(a[4]), F(a[5])},
               F(m.det[e]),
               F(own.mu[e]),
               F(own.lambda[e]),
               F(own.damping[e]),
               F(own.alpha[e])};
  }
  FN F activation(int e) {
    const int control = m.muscle[e];
    return control < 0 ? F(0) : u[control] * F(own.gain[e]);
  }

  // Force on a vertex in the ground.
  FN F depth(int i) { return F(m.radius + m.ground_height) - x[i].z; }
  FN F touches(int i) { return depth(i) > F(0) ? F(1) : F(0); }
};
