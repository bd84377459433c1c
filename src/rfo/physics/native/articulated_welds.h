#pragma once
// Springs and dampers between two links (../welds.py).

#include "articulated_driven.h"

struct Weld {
  int a, b;          // links, -1 is the world
  V3 x_a, x_b;       // the points, about the origins of their links' trees
  V3 gap, rate;      // distance of the points in the world, and its rate
  Quat turned;       // turn of the first frame against the second, in the world
  V3 force, torque;  // wrench on the first link
};

struct Welds : Driven {
  using Driven::Driven;

  FN Quat frame_of(int i, const real* t) { return i < 0 ? quat_of(t) : rot[i] * quat_of(t); }

  FN Weld weld(int k) {
    Weld at;
    at.a = m.weld_link[2 * k];
    at.b = m.weld_link[2 * k + 1];
    at.x_a = point_of(at.a, m.weld_pos + 6 * k);
    at.x_b = point_of(at.b, m.weld_pos + 6 * k + 3);
    at.gap = at.x_a - at.x_b + (at.a < 0 ? V3{} : origin[at.a]) - (at.b < 0 ? V3{} : origin[at.b]);
    const Spatial v_a = motion_of(V, at.a), v_b = motion_of(V, at.b);
    at.rate = rate_at(v_a, at.x_a) - rate_at(v_b, at.x_b);
    at.turned =
        frame_of(at.a, m.weld_quat + 8 * k) * frame_of(at.b, m.weld_quat + 8 * k + 4).conjugate();
    at.force = at.gap * F(-m.weld_ke[k]) - at.rate * F(m.weld_kd[k]);
    at.torque = at.turned.vector() * (at.turned.w * F(-2 * m.weld_turn_ke[k])) -
                (v_a.a - v_b.a) * F(m.weld_turn_kd[k]);
    return at;
  }

  FN void weld_forces() {
    for (int k = 0; k < m.welds; ++k) {
      const Weld at = weld(k);
      if (at.a >= 0) f[at.a] = f[at.a] - Spatial{at.x_a.cross(at.force) + at.torque, at.force};
      if (at.b >= 0) f[at.b] = f[at.b] + Spatial{at.x_b.cross(at.force) + at.torque, at.force};
    }
  }

  // See articulated_adjoint.h.
  FN void weld_powers(At<const Spatial> W, At<Spatial> P_V, At<Spatial> P_W, At<Spatial> G,
                      At<V3> P_origin) {
    for (int k = 0; k < m.welds; ++k) {
      const Weld at = weld(k);
      const Spatial w_a = motion_of(W, at.a), w_b = motion_of(W, at.b);
      const V3 w = rate_at(w_a, at.x_a) - rate_at(w_b, at.x_b), turn = w_a.a - w_b.a;
      const V3 g_gap = w * F(m.weld_ke[k]), g_rate = w * F(m.weld_kd[k]),
               g_turn = turn * F(m.weld_turn_kd[k]);
      const V3 g = turn * F(m.weld_turn_ke[k]), v = at.turned.vector();
      const F s = at.turned.w;
      const V3 common = v * -g.dot(v) + g * (s * s), twist = v.cross(g) * s;
      for (int end = 0; end < 2; ++end) {
        const int i = end ? at.b : at.a;
        if (i < 0) continue;
        const F sign = F(end ? -1 : 1);
        const V3 x = end ? at.x_b : at.x_a;
        P_W[i] = P_W[i] - Spatial{x.cross(at.force) + at.torque, at.force} * sign;
        P_V[i] = P_V[i] + Spatial{x.cross(g_rate) + g_turn, g_rate} * sign;
        const V3 g_x = (g_gap + g_rate.cross(V[i].a) + W[i].a.cross(at.force)) * sign;
        const V3 g_frame = end ? twist - common : common + twist;
        G[i] = G[i] + Spatial{x.cross(g_x) + g_frame, g_x};
        P_origin[i] = P_origin[i] + g_gap * sign;
      }
    }
  }
};
