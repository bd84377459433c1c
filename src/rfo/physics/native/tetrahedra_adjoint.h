#pragma once
// Adjoint of one control step, substep by substep, backwards.
//
// With lambda = dt/m (adjoint of the velocity after the substep), the adjoint of the state before
// gains d(lambda . f) / d(x, v). An element's part of lambda . f is minus, with
// L = [l1-l0, l2-l0, l3-l0] and JL = s C . L,
//
//     c <L, X A> + d <L, V A> + p JL,
//
// whose last term is differentiated by way of B(Q) = s C . Q, cyclic bilinear in the edges:
// dp = lambda dJ + d d(dJ/dt).

#include "tetrahedra.h"

struct Adjoint : Tetrahedra {
  V3* gx = take<V3>(m.nodes);
  V3* gv = take<V3>(m.nodes);
  V3* l = take<V3>(m.nodes);
  F* gu = take(m.nu);
  using Tetrahedra::Tetrahedra;

  FN void element(int e) {
    const Tet t = tet(e);
    const V3 x0 = x[t.node[0]], l0 = l[t.node[0]], w0 = v[t.node[0]] * held;
    const V3 X1 = x[t.node[1]] - x0, X2 = x[t.node[2]] - x0, X3 = x[t.node[3]] - x0;
    const V3 L1 = l[t.node[1]] - l0, L2 = l[t.node[2]] - l0, L3 = l[t.node[3]] - l0;
    const V3 w1 = v[t.node[1]] - w0, w2 = v[t.node[2]] - w0, w3 = v[t.node[3]] - w0;
    const Sym A = t.A;
    const V3 G1 = X1 * A.xx + X2 * A.xy + X3 * A.xz;
    const V3 G2 = X1 * A.xy + X2 * A.yy + X3 * A.yz;
    const V3 G3 = X1 * A.xz + X2 * A.yz + X3 * A.zz;
    const V3 H1 = L1 * A.xx + L2 * A.xy + L3 * A.xz;
    const V3 H2 = L1 * A.xy + L2 * A.yy + L3 * A.yz;
    const V3 H3 = L1 * A.xz + L2 * A.yz + L3 * A.zz;
    const F inverse = F(1) / (X1.dot(G1) + X2.dot(G2) + X3.dot(G3) + F(1));
    const F c = t.mu - t.mu * inverse;
    const F stiffening = F(2) * t.mu * inverse * inverse * (L1.dot(G1) + L2.dot(G2) + L3.dot(G3));
    const V3 C1 = X2.cross(X3) * t.s, C2 = X3.cross(X1) * t.s, C3 = X1.cross(X2) * t.s;
    const F J = X1.dot(C1);
    const F rate = C1.dot(w1) + C2.dot(w2) + C3.dot(w3);
    const F p = t.lambda * (J - t.alpha + activation(e)) + t.d * rate;
    const F JL = C1.dot(L1) + C2.dot(L2) + C3.dot(L3);
    const F bulk = t.lambda * JL, damp = t.d * JL;
    const F sp = t.s * p, sd = t.s * damp;
    const V3 Q1 = L1 * sp + w1 * sd, Q2 = L2 * sp + w2 * sd, Q3 = L3 * sp + w3 * sd;
    const V3 E1 = H1 * c + G1 * stiffening + C1 * bulk + Q2.cross(X3) + X2.cross(Q3);
    const V3 E2 = H2 * c + G2 * stiffening + C2 * bulk + Q3.cross(X1) + X3.cross(Q1);
    const V3 E3 = H3 * c + G3 * stiffening + C3 * bulk + Q1.cross(X2) + X1.cross(Q2);
    add(gx[t.node[0]], E1 + E2 + E3);
    add(gx[t.node[1]], E1 * F(-1));
    add(gx[t.node[2]], E2 * F(-1));
    add(gx[t.node[3]], E3 * F(-1));
    const V3 R1 = H1 * t.d, R2 = H2 * t.d, R3 = H3 * t.d;
    const V3 D1 = C1 * damp, D2 = C2 * damp, D3 = C3 * damp;
    add(gv[t.node[0]], R1 + R2 + R3 + (D1 + D2 + D3) * held);
    add(gv[t.node[1]], (R1 + D1) * F(-1));
    add(gv[t.node[2]], (R2 + D2) * F(-1));
    add(gv[t.node[3]], (R3 + D3) * F(-1));
    if (m.muscle[e] >= 0) ADD(gu[m.muscle[e]], bulk * F(-own.gain[e]));
    if (VARIES) {
      const V3 v0 = v[t.node[0]];
      const V3 V1 = v[t.node[1]] - v0, V2 = v[t.node[2]] - v0, V3_ = v[t.node[3]] - v0;
      credit(own.mu + e, (inverse - F(1)) * (L1.dot(G1) + L2.dot(G2) + L3.dot(G3)));
      credit(own.lambda + e, (t.alpha - J - activation(e)) * JL);
      credit(own.damping + e, -(H1.dot(V1) + H2.dot(V2) + H3.dot(V3_) + rate * JL));
      credit(own.alpha + e, bulk);
      if (m.muscle[e] >= 0) credit(own.gain + e, bulk * -u[m.muscle[e]]);
    }
  }

  FN void contact(int i) {
    const ContactAdjoint g =
        contact_force_adjoint(own.contact_law, up, depth(i), v[i], touches(i), l[i]);
    gx[i].z -= g.depth;
    gv[i] = gv[i] + g.velocity;
    if (VARIES) {
      const LawAdjoint law =
          contact_law_adjoint(own.contact_law, up, depth(i), v[i], touches(i), l[i]);
      for (int j = 0; j < 5; ++j) credit(own.contact_law + j, law.of[j]);
    }
  }

  // Adjoint of gravity and mass: a vertex with force f gains (g + f/m) dt of velocity.
  FN void credit_gain(int k, int i) {
    const F dt = F(m.dt);
    const V3 g = gv[i], gravity = broadcast(own.gravity) * dt;
    credit(own.gravity, g.x * dt);
    credit(own.gravity + 1, g.y * dt);
    credit(own.gravity + 2, g.z * dt);
    const V3 after = ((const V3*)(tape + k * width))[i];
    credit(own.inverse_mass + i, g.dot(after - v[i] - gravity) / F(own.inverse_mass[i]));
  }

#ifdef PARAMETERS
  FN void run(const real* q_in, const real* qd_in, const real* control, const real* parameters,
              const real* g_q_out, const real* g_qd_out, real* g_q, real* g_qd, real* g_control,
              real* g_parameters) {
    receive(parameters);
    run(q_in, qd_in, control, g_q_out, g_qd_out, g_q, g_qd, g_control);
    report(g_parameters);
  }
#endif
  FN void run(const real* q_in, const real* qd_in, const real* control, const real* g_q_out,
              const real* g_qd_out, real* g_q, real* g_qd, real* g_control) {
    gather(q_in, 3 * m.nodes, (F*)x);
    gather(control, m.nu, u);
    gather(g_q_out, 3 * m.nodes, (F*)gx);
    gather(g_qd_out, 3 * m.nodes, (F*)gv);
    EACH(c, m.nu) gu[c] = F(0);
    const F dt = F(m.dt);
    F* const flat_x = (F*)x;
    F* const flat_v = (F*)v;
    SYNC();
    for (int k = 0; k < m.substeps; ++k) {
      restore(k, 0, flat_v, 3 * m.nodes);
      EACH(j, 3 * m.nodes) flat_x[j] += dt * flat_v[j];
    }
    for (int k = m.substeps - 1; k >= 0; --k) {
      EACH(j, 3 * m.nodes) flat_x[j] -= dt * flat_v[j];
      if (k > 0)
        restore(k - 1, 0, flat_v, 3 * m.nodes);
      else
        gather(qd_in, 3 * m.nodes, flat_v);
      SYNC();
      EACH(i, m.nodes) {
        gv[i] = gv[i] + gx[i] * dt;
        if (VARIES) credit_gain(k, i);
        l[i] = gv[i] * (dt * F(own.inverse_mass[i]));
        contact(i);
      }
      SYNC();
      EACH(e, m.elements) element(e);
      SYNC();
    }
    scatter((F*)gx, 3 * m.nodes, g_q);
    scatter((F*)gv, 3 * m.nodes, g_qd);
    scatter(gu, m.nu, g_control);
  }
};
