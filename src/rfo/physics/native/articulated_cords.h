#pragma once
// Lengths of cords (../cords.py), in each pose anew: what they are, their rates J per unit of qd,
// and what the adjoint makes of J.

#include "articulated.h"

struct CordSegment {
  int a, b;     // links, -1 is the world
  V3 x_a, x_b;  // the points, about the origins of their links' trees
  V3 u;         // from b to a
  F size, scale;
  V3 rate, bend;  // of the gap: its rate, and its acceleration
};

struct Cords : Articulated {
  At<F> stretch = take(m.cords);       // lengths
  At<F> rates = take(m.cords * m.nv);  // J
  At<F> bends = take(m.cords);         // accelerations of the lengths, for those that A has
  // Derivatives of the power P of a cord's forces, see articulated_adjoint.h: by its length, by
  // J . qd, by J . lambda, by J . qdd and by its acceleration.
  At<F> powers = take(5 * m.cords);
  At<Spatial> Q = take<Spatial>(m.links);  // motion that qdd alone gives a link
  At<Spatial> P_Q = take<Spatial>(m.links);
  using Articulated::Articulated;

  FN V3 acceleration_at(int i, const V3& x) {
    return i < 0 ? base_acceleration().l : rate_at(A[i], x) + V[i].a.cross(rate_at(V[i], x));
  }
  FN CordSegment cord_segment(int s) {
    CordSegment at;
    at.a = m.cord_link[2 * s];
    at.b = m.cord_link[2 * s + 1];
    at.x_a = point_of(at.a, m.cord_pos + 6 * s);
    at.x_b = point_of(at.b, m.cord_pos + 6 * s + 3);
    const V3 gap =
        at.x_a - at.x_b + (at.a < 0 ? V3{} : origin[at.a]) - (at.b < 0 ? V3{} : origin[at.b]);
    at.size = SQRT(gap.dot(gap) + F(m.cord_hair * m.cord_hair));
    at.u = gap * (F(1) / at.size);
    at.scale = F(m.cord_scale[s]);
    at.rate = rate_at(motion_of(V, at.a), at.x_a) - rate_at(motion_of(V, at.b), at.x_b);
    at.bend = acceleration_at(at.a, at.x_a) - acceleration_at(at.b, at.x_b);
    return at;
  }
  FN int last_dof(int i) { return i < 0 ? -1 : m.v_start[i] + m.v_count[i] - 1; }

  FN void measure() {
    for (int n = 0; n < m.cords * m.nv; ++n) rates[n] = F(0);
    for (int c = 0; c < m.cords; ++c) {
      stretch[c] = bends[c] = F(0);
      for (int s = m.cord_start[c]; s < m.cord_start[c + 1]; ++s) {
        const CordSegment at = cord_segment(s);
        const V3 across = at.rate - at.u * at.u.dot(at.rate);
        stretch[c] += at.size * at.scale;
        bends[c] += (at.u.dot(at.bend) + across.dot(at.rate) / at.size) * at.scale;
        add_rates(at, rates + c * m.nv);
      }
    }
  }
  FN void add_rates(const CordSegment& at, At<F> rate) {
    const V3 pull = at.u * at.scale;
    const Spatial on_a{at.x_a.cross(pull), pull}, on_b{at.x_b.cross(pull), pull};
    // up to where the links' ways to the root meet: what carries both does not move them apart
    int i = last_dof(at.a), j = last_dof(at.b);
    while (i != j)
      if (i > j) {
        rate[i] += S[i].dot(on_a);
        i = m.dof_parent[i];
      } else {
        rate[j] -= S[j].dot(on_b);
        j = m.dof_parent[j];
      }
  }

  FN bool corded(int r) { return m.length_cord[r] >= 0; }
  FN F cord_length(int r) { return F(m.length_gear[r]) * stretch[m.length_cord[r]]; }
  FN F cord_bend(int r) { return F(m.length_gear[r]) * bends[m.length_cord[r]]; }
  // Coefficient of term k, of length r.
  FN F coef(int r, int k) {
    if (!corded(r)) return F(m.length_coef[k]);
    return F(m.length_gear[r]) * rates[m.length_cord[r] * m.nv + m.length_dof[k]];
  }

  // ------------------------------------------------------------------------------------- adjoints

  FN void weightless() {
    for (int n = 0; n < 5 * m.cords; ++n) powers[n] = F(0);
  }
  // Adds to `powers` those of length r.
  FN void weigh(int r, F by_length, F by_rate, F by_lambda, F by_qdd, F by_bend) {
    At<F> of = powers + 5 * m.length_cord[r];
    const F by[5] = {by_length, by_rate, by_lambda, by_qdd, by_bend};
    for (int k = 0; k < 5; ++k) of[k] += F(m.length_gear[r]) * by[k];
  }
  FN void follow(int i) {
    Q[i] = joint_sum(i, qdd);
    if (m.parent[i] >= 0) Q[i] = Q[i] + Q[m.parent[i]];
    P_Q[i] = Spatial{};
  }
  FN void spread(At<const Spatial> W, At<Spatial> P_V, At<Spatial> P_A, At<Spatial> P_W,
                 At<Spatial> G, At<V3> P_origin) {
    for (int c = 0; c < m.cords; ++c) {
      At<const F> by = powers + 5 * c;
      for (int s = m.cord_start[c]; s < m.cord_start[c + 1]; ++s) {
        const CordSegment at = cord_segment(s);
        // J acts on the sum of three motions
        const Spatial Y_a = pushed(W, at.a, by), Y_b = pushed(W, at.b, by);
        const F per = F(1) / at.size, along = at.u.dot(at.rate);
        const V3 across = at.rate - at.u * along;
        const V3 g_u = rate_at(Y_a, at.x_a) - rate_at(Y_b, at.x_b) +
                       (at.bend - at.rate * (F(2) * along * per)) * by[4];
        const F g_size = by[0] - across.dot(across) * per * per * by[4];
        const V3 g_gap = (at.u * (g_size - at.u.dot(g_u) * per) + g_u * per) * at.scale;
        const V3 g_rate = across * (F(2) * per * by[4] * at.scale);
        for (int end = 0; end < 2; ++end) {
          const int i = end ? at.b : at.a;
          const F sign = F(end ? -1 : 1);
          const V3 x = end ? at.x_b : at.x_a, pull = at.u * (at.scale * sign),
                   g_bend = pull * by[4];
          if (i < 0) {  // the world's acceleration is that of a base against gravity
            credit(own.gravity, g_bend.x);
            credit(own.gravity + 1, g_bend.y);
            credit(own.gravity + 2, g_bend.z);
            continue;
          }
          const V3 turn = V[i].a, g_v = g_bend.cross(turn) + g_rate * sign;
          const Spatial push{x.cross(pull), pull};
          P_V[i] =
              P_V[i] + push * by[1] + Spatial{x.cross(g_v) + rate_at(V[i], x).cross(g_bend), g_v};
          P_A[i] = P_A[i] + push * by[4];
          P_W[i] = P_W[i] + push * by[2];
          P_Q[i] = P_Q[i] + push * by[3];
          const V3 g_x = g_gap * sign + pull.cross(end ? Y_b.a : Y_a.a) + g_bend.cross(A[i].a) +
                         g_v.cross(turn);
          G[i] = G[i] + Spatial{x.cross(g_x), g_x};
          P_origin[i] = P_origin[i] + g_gap * sign;
        }
      }
    }
  }
  FN Spatial pushed(At<const Spatial> W, int i, At<const F> by) {
    return motion_of(V, i) * by[1] + motion_of(W, i) * by[2] + motion_of(Q, i) * by[3];
  }
  FN void collect_cords(int i, At<Spatial> G) {
    const int p = m.parent[i];
    if (m.joint[i] != FREE) G[i] = G[i] + joint_sum(i, qdd).cross_force(P_Q[i]);
    if (p >= 0) P_Q[p] = P_Q[p] + P_Q[i];
  }
};
