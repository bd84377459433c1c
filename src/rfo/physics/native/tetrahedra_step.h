#pragma once
// One control step: all substeps, semi-implicit Euler.

#include "tetrahedra.h"

struct Step : Tetrahedra {
  V3* f = take<V3>(m.nodes);
  using Tetrahedra::Tetrahedra;

  FN void element(int e) {
    const Tet t = tet(e);
    const V3 x0 = x[t.node[0]], v0 = v[t.node[0]];
    const V3 v1 = v[t.node[1]], v2 = v[t.node[2]], v3 = v[t.node[3]];
    const V3 X1 = x[t.node[1]] - x0, X2 = x[t.node[2]] - x0, X3 = x[t.node[3]] - x0;
    const V3 V1 = v1 - v0, V2 = v2 - v0, V3_ = v3 - v0, w0 = v0 * held;
    const Sym A = t.A;
    const V3 G1 = X1 * A.xx + X2 * A.xy + X3 * A.xz;
    const V3 G2 = X1 * A.xy + X2 * A.yy + X3 * A.yz;
    const V3 G3 = X1 * A.xz + X2 * A.yz + X3 * A.zz;
    const F c = t.mu - t.mu / (X1.dot(G1) + X2.dot(G2) + X3.dot(G3) + F(1));
    const V3 C1 = X2.cross(X3), C2 = X3.cross(X1), C3 = X1.cross(X2);
    const F J = t.s * X1.dot(C1);
    const F rate = t.s * (C1.dot(v1 - w0) + C2.dot(v2 - w0) + C3.dot(v3 - w0));
    const F p = t.s * (t.lambda * (J - t.alpha + activation(e)) + t.d * rate);
    const F dxx = t.d * A.xx, dyy = t.d * A.yy, dzz = t.d * A.zz, dxy = t.d * A.xy,
            dxz = t.d * A.xz, dyz = t.d * A.yz;
    const V3 f1 = G1 * c + V1 * dxx + V2 * dxy + V3_ * dxz + C1 * p;
    const V3 f2 = G2 * c + V1 * dxy + V2 * dyy + V3_ * dyz + C2 * p;
    const V3 f3 = G3 * c + V1 * dxz + V2 * dyz + V3_ * dzz + C3 * p;
    add(f[t.node[0]], f1 + f2 + f3);
    add(f[t.node[1]], f1 * F(-1));
    add(f[t.node[2]], f2 * F(-1));
    add(f[t.node[3]], f3 * F(-1));
  }

  FN V3 contact(int i) { return contact_force(own.contact_law, up, depth(i), v[i], touches(i)); }

#ifdef PARAMETERS
  FN void run(const real* q_in, const real* qd_in, const real* control, const real* parameters,
              real* q_out, real* qd_out) {
    receive(parameters);
    run(q_in, qd_in, control, q_out, qd_out);
  }
#endif
  FN void run(const real* q_in, const real* qd_in, const real* control, real* q_out, real* qd_out) {
    gather(q_in, 3 * m.nodes, (F*)x);
    gather(qd_in, 3 * m.nodes, (F*)v);
    gather(control, m.nu, u);
    const V3 gravity = broadcast(own.gravity);
    const F dt = F(m.dt);
    EACH(i, m.nodes) f[i] = V3{};
    SYNC();
    for (int k = 0; k < m.substeps; ++k) {
      EACH(e, m.elements) element(e);
      SYNC();
      EACH(i, m.nodes) {
        v[i] = v[i] + (gravity + (f[i] + contact(i)) * F(own.inverse_mass[i])) * dt;
        x[i] = x[i] + v[i] * dt;
        f[i] = V3{};
      }
      SYNC();
      save(k, 0, (F*)v, 3 * m.nodes);
    }
    scatter((F*)x, 3 * m.nodes, q_out);
    scatter((F*)v, 3 * m.nodes, qd_out);
  }
};
