#pragma once
// Adjoint of articulated_pairs.h: the contacts' share of P, which articulated_adjoint.h defines.

#include "articulated_boxes_adjoint.h"
#include "articulated_pairs.h"

// `g_half` is the adjoint of the half extent.
FN void clip_adjoint(F p, F u, F h, const Touch& t, F g_enter, F g_leave, F& g_p, F& g_u,
                     F& g_half) {
  const F inverse = inverse_of(u), t0 = (-h - p) * inverse, t1 = (h - p) * inverse;
  const F first = MIN(t0, t1), last = MAX(t0, t1);
  const F g = ((first >= t.enter) ? g_enter * inverse : F(0)),
          l = ((last <= t.leave) ? g_leave * inverse : F(0));
  g_p -= g + l;
  g_u -= g * first + l * last;
  g_half = (inverse > F(0)) ? l - g : g - l;
}

// The adjoint of d, given that of n; g_way gains the adjoint of the direction that is mixed in.
FN V3 mix_adjoint(const V3& d, const V3& way, F near, const V3& g_n, V3& g_way) {
  Mixed mixed;
  const V3 n = mix(d, way, near, mixed);
  auto clamped = mixed.size <= near * real(0.125);
  const V3 g = (g_n - n * (clamped ? F(0) : n.dot(g_n))) * (F(1) / mixed.size);
  g_way = g * (mixed.fade * near * real(0.25));
  return g - d * (SQRT(mixed.fade) * g.dot(way) / near);
}

// The adjoint of the point, given those of its distance and normal.
FN V3 box_distance_adjoint(const V3& p, const real* h, F g_distance, const V3& g_n) {
  const V3 d = outside_box(p, h);
  const F square = d.dot(d), length = SQRT(MAX(square, F(hair * hair)));
  auto outside = square > F(0);
  Inside in;
  inside_box(p, h, in);
  const F scale = F(1) / length;
  const V3 n = d * scale, g_out = (g_n - n * n.dot(g_n)) * scale;  // adjoint of d, outside
  V3 g_ahead;
  const V3 g = mix_adjoint(in.m, ahead(), F(near_middle), g_n, g_ahead);  // adjoint of m, inside
  const V3 c{F(3) * in.ratio.x * in.steep.x * in.slope.x * g.x,
             F(3) * in.ratio.y * in.steep.y * in.slope.y * g.y,
             F(3) * in.ratio.z * in.steep.z * in.slope.z * g.z};
  // c_i: adjoint of the depth through its ratio to a_i
  const F g_depth = c.x + c.y + c.z - g_distance;
  auto along = [&](F d, F q, F slope, F g, F g_out, F n, F c, F h) {
    const F cube = q * q * q, out = (d == F(0)) ? F(0) : g_out + g_distance * n;
    return outside ? out : g * cube / h - slope * (g_depth * cube - c * q);
  };
  return V3{along(d.x, in.ratio.x, in.slope.x, g.x, g_out.x, n.x, c.x, F(h[0])),
            along(d.y, in.ratio.y, in.slope.y, g.y, g_out.y, n.y, c.y, F(h[1])),
            along(d.z, in.ratio.z, in.slope.z, g.z, g_out.z, n.z, c.z, F(h[2]))};
}

struct PairsAdjoint : Pairs {
  using Pairs::Pairs;

  // From the adjoint g of the point on the segment, of distance (or less depth), normal and the
  // part that counts to those of p and u, in the target's frame, and of what the boxes share.
  FN void touch_adjoint(int k, int j, const Touch& t, const Boxes& two, V3 g, F g_distance,
                        const V3& g_n, F g_on, V3& g_p, V3& g_u, BoxesAdjoint& shared) {
    const real* h = m.pair_target_half + 3 * k;
    const V3 point = t.p + t.u * t.s;
    const F radius = F(m.pair_radius[k]);
    if (m.pair_box[k] != AXIS) {
      const bool boxes = m.pair_box[k] == BOX_ON_BOX;
      F g_edge[3] = {F(0), F(0), F(0)};
      if (boxes) {
        const F p[3] = {point.x, point.y, point.z}, u[3] = {t.u.x, t.u.y, t.u.z};
        F g_point[3] = {F(0), F(0), F(0)};
        share_of_edge_adjoint(two, h, p, u, m.segment_length[j], g_on, g_point, g_edge, shared);
        depth_in_box_adjoint(two, h, p, g_distance * F(-1), g_point, shared);
        g = g + V3{g_point[0], g_point[1], g_point[2]};
        shared.n[0] += g_n.x;
        shared.n[1] += g_n.y;
        shared.n[2] += g_n.z;
      } else {
        g = g + box_distance_adjoint(point, h, g_distance, g_n);
      }
      g_p = g;
      g_u = g * t.s + V3{g_edge[0], g_edge[1], g_edge[2]};
      const F g_s = g.dot(t.u) * F(real(0.5)), none = F(0);
      const F g_enter = t.enter > F(-1) ? g_s : none, g_leave = t.leave < F(1) ? g_s : none;
      F g_half[3];
      clip_adjoint(t.p.x, t.u.x, two.half[0], t, g_enter, g_leave, g_p.x, g_u.x, g_half[0]);
      clip_adjoint(t.p.y, t.u.y, two.half[1], t, g_enter, g_leave, g_p.y, g_u.y, g_half[1]);
      clip_adjoint(t.p.z, t.u.z, two.half[2], t, g_enter, g_leave, g_p.z, g_u.z, g_half[2]);
      if (boxes)
        for (int i = 0; i < 3; ++i) grown_half_adjoint(two, h, i, g_half[i], shared);
      return;
    }
    const V3 d = point - V3{F(0), F(0), t.tau};
    const real length = m.segment_length[j];
    V3 g_way;
    const V3 g_d =
        mix_adjoint(d, across(t.u, length, m.pair_sign[k]), radius * near_axis, g_n, g_way) +
        d * (g_distance / t.distance);
    g = g + g_d;
    // where they are not at an end, s and tau solve
    // A s - B tau + u.p = 0  and  C tau - B s - p_z = 0
    const real soft = 1 + (length > 0 && h[2] > 0 ? softness : real(0));
    const F A = F(soft * length * length), C = F(soft), B = t.u.z, none = F(0), half = F(h[2]);
    auto free_s = (t.s > F(-1)) & (t.s < F(1));
    auto free_tau = (t.tau > -half) & (t.tau < half);
    const F g_s = (free_s ? g.dot(t.u) : none), g_tau = (free_tau ? -g_d.z : none);
    const F b = ((free_s & free_tau) ? B : none), det = A * C - b * b;
    F y_s = none, y_tau = g_tau / C;
    if (length > 0) {
      y_s = (C * g_s + b * g_tau) / det;
      y_tau = (A * g_tau + b * g_s) / det;
    }
    g_p = g - t.u * y_s;
    g_p.z += y_tau;
    g_u = g * t.s - (t.p + t.u * (F(2 * soft) * t.s)) * y_s;
    g_u.z += t.tau * y_s + t.s * y_tau;
    const F scale = F(length > 0 ? 1 / length : real(0)),
            bend = g_way.x * scale * scale * (real(-2) * m.pair_sign[k]);
    g_u.x += t.u.x * bend - g_way.y * scale;
    g_u.y += t.u.y * bend + g_way.x * scale;
  }

  FN void pair_powers(At<const Spatial> W, At<Spatial> P_V, At<Spatial> P_W, At<Spatial> G,
                      At<V3> P_origin) {
    for (int k = 0; k < m.pairs; ++k) {
      Meeting at;
      Boxes two;
      if (!meet(k, at) || !part(k, at, two)) continue;
      BoxesAdjoint shared;
      if (m.pair_box[k] == BOX_ON_BOX) shared = BoxesAdjoint{};
      for (int j = m.pair_start[k]; j < m.pair_start[k + 1]; ++j) {
        Touch t;
        if (!touch(k, j, at, two, t)) continue;
        const int a = at.a, b = at.b;
        const auto law = own.pair_law + 5 * k;
        const V3 x_b = t.x - at.shift;
        const V3 v = velocity_at(V, a, t.x) - velocity_at(V, b, x_b),
                 w = velocity_at(W, a, t.x) - velocity_at(W, b, x_b);
        const V3 omega_a = a < 0 ? V3{} : V[a].a, omega = omega_a - (b < 0 ? V3{} : V[b].a);
        const V3 alpha_a = a < 0 ? V3{} : W[a].a, alpha = alpha_a - (b < 0 ? V3{} : W[b].a);
        const ContactAdjoint g = contact_force_adjoint(law, t.n, t.depth, v, t.on, w * F(-1));
        credit_law(law, t.n, t.depth, v, t.on, w);
        const V3 push = g.force, g_v = g.velocity;
        const V3 g_x = alpha.cross(push) + g_v.cross(omega);
        const V3 g_n = g.n - g_x * F(m.pair_thickness[k]);
        V3 g_p, g_u;
        const Quat back = at.turn.conjugate();
        const F g_on = (t.on > F(0)) ? g.on : F(0);
        touch_adjoint(k, j, t, two, back.rotate(g_x), -g.depth, back.rotate(g_n), g_on, g_p, g_u,
                      shared);
        g_p = at.turn.rotate(g_p);
        g_u = at.turn.rotate(g_u);
        const V3 u = at.turn.rotate(t.u), p = at.centre + at.turn.rotate(t.p);
        // displacing both rigidly, with their twists, changes nothing: what remains belongs to the
        // target
        const V3 g_b = g_x - g_p,
                 twist = (p - t.x).cross(g_p) + u.cross(g_u) + v.cross(g_v) - w.cross(push);
        const V3 carried = g_p - g_v.cross(omega_a) - alpha_a.cross(push);
        if (a >= 0) {
          P_W[a] = P_W[a] - Spatial{t.x.cross(push), push};
          P_V[a] = P_V[a] + Spatial{t.x.cross(g_v), g_v};
          G[a] = G[a] + Spatial{p.cross(g_p) + u.cross(g_u), g_p};
          P_origin[a] = P_origin[a] + carried;
        }
        if (b >= 0) {
          P_W[b] = P_W[b] + Spatial{x_b.cross(push), push};
          P_V[b] = P_V[b] - Spatial{x_b.cross(g_v), g_v};
          G[b] = G[b] + Spatial{x_b.cross(g_b) - twist, g_b};
          P_origin[b] = P_origin[b] - carried;
        }
      }
      if (m.pair_box[k] != BOX_ON_BOX) continue;
      meet_boxes_adjoint(m.pair_target_half + 3 * k, m.pair_own_half + 3 * k, m.pair_sign[k], two,
                         shared);
      const V3 g = at.turn.rotate({shared.c[0], shared.c[1], shared.c[2]});
      V3 torque = V3{};
      for (int i = 0; i < 3; ++i) {
        const V3 axis{two.a[i][0], two.a[i][1], two.a[i][2]},
            g_axis{shared.a[i][0], shared.a[i][1], shared.a[i][2]};
        torque = torque + axis.cross(g_axis);
      }
      torque = at.turn.rotate(torque);
      const V3 place = at.centre + at.gap;
      if (at.a >= 0) {
        G[at.a] = G[at.a] + Spatial{place.cross(g) + torque, g};
        P_origin[at.a] = P_origin[at.a] + g;
      }
      if (at.b >= 0) {
        G[at.b] = G[at.b] - Spatial{(place - at.shift).cross(g) + torque, g};
        P_origin[at.b] = P_origin[at.b] - g;
      }
    }
  }
};
