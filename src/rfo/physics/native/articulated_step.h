#pragma once
// One control step: all substeps, semi-implicit Euler with implicit joint damping.

#include "articulated_equations.h"
#include "articulated_solve.h"

struct Step : Equations {
  using Equations::Equations;

  // A FREE joint's twist is advanced at a point fixed in space, then taken to where its origin has
  // moved.
  FN void integrate(int i) {
    At<F> qi = q + m.q_start[i];
    At<F> vi = qd + m.v_start[i];
    At<const F> ai = qdd + m.v_start[i];
    const F dt = F(m.dt);
    const int kind = m.joint[i];
    for (int c = 0; c < m.v_count[i]; ++c) vi[c] += dt * ai[c];
    if (kind == SLIDE || kind == HINGE) {
      qi[0] += dt * vi[0];
      return;
    }
    At<F> r = kind == FREE ? qi + 3 : qi;
    const Quat turn = quat_at(r).unit();
    At<const F> wi = kind == FREE ? vi + 3 : vi;
    const V3 w{wi[0], wi[1], wi[2]};
    const Quat spin = Quat{w.x, w.y, w.z, F(0)} * (dt * real(0.5));
    const Quat next = (turn + (kind == FREE ? spin * turn : turn * spin)).unit();
    r[0] = next.w;
    r[1] = next.x;
    r[2] = next.y;
    r[3] = next.z;
    if (kind == FREE) {
      const V3 v{vi[0], vi[1], vi[2]};
      const V3 v1 = v + w.cross(v) * dt;
      qi[0] += dt * v.x;
      qi[1] += dt * v.y;
      qi[2] += dt * v.z;
      vi[0] = v1.x;
      vi[1] = v1.y;
      vi[2] = v1.z;
    }
  }

#ifdef PARAMETERS
  FN void run(const real* q_in, const real* qd_in, const real* control, const real* parameters,
              real* q_out, real* qd_out) {
    receive(parameters);
    run(q_in, qd_in, control, q_out, qd_out);
  }
#endif
  FN void run(const real* q_in, const real* qd_in, const real* control, real* q_out, real* qd_out) {
    gather(q_in, m.nq, q);
    gather(qd_in, m.nv, qd);
    gather(control, m.nu, u);
    for (int k = 0; k < m.substeps; ++k) {
      save(k, 0, q, m.nq);
      save(k, m.nq, qd, m.nv);
      equations();
      hold(F(m.dt));
      drive(F(m.dt));
      for (int j = 0; j < m.nv; ++j) H[m.row[j]] += F(m.dt) * F(own.damping[j]);
      factorise(m, H);
      solve(m, H, qdd);
      save(k, m.nq + m.nv, qdd, m.nv);
      save(k, m.nq + 2 * m.nv, H, m.nm);
      activate();
      for (int i = 0; i < m.links; ++i) integrate(i);
    }
    scatter(q, m.nq, q_out);
    scatter(qd, m.nv, qd_out);
  }
};
