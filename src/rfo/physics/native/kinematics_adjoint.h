#pragma once
// Adjoint of forward kinematics: one sweep to the leaves and one back.

#include "articulated.h"

struct Adjoint : Articulated {
  At<F> gq = take(m.nq);
  At<F> g_poses = take(7 * m.links);
  At<Spatial> G = take<Spatial>(m.links);  // dual to displacing a link and all that it carries
  using Articulated::Articulated;

  FN void run(const real* q_in, const real* g_poses_out, real* g_q) {
    gather(q_in, m.nq, q);
    gather(g_poses_out, 7 * m.links, g_poses);
    for (int j = 0; j < m.nq; ++j) gq[j] = F(0);
    for (int i = 0; i < m.links; ++i) {
      place(i);
      At<const F> g = g_poses + 7 * i;
      const V3 force{g[0], g[1], g[2]};
      // a small turn w moves a quaternion r by 1/2 w r
      const V3 torque = (quat_at(g + 3) * rot[i].conjugate()).vector() * real(0.5);
      G[i] = Spatial{torque + pos[i].cross(force), force};
    }
    for (int i = m.links - 1; i >= 0; --i) {
      const int p = m.parent[i];
      credit_coordinates(i, G[i], gq);
      if (m.joint[i] == FREE) {
        At<F> at = gq + m.q_start[i];
        at[0] = G[i].l.x;
        at[1] = G[i].l.y;
        at[2] = G[i].l.z;
      }
      if (p >= 0) G[p] = G[p] + G[i];
    }
    scatter(gq, m.nq, g_q);
  }
};
