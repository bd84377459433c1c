#pragma once
// Adjoint of articulated_boxes.h.

#include "articulated_boxes.h"

// Adjoints of a pair of boxes.
struct BoxesAdjoint {
  F n[3], most;     // sums over the segments
  F c[3], a[3][3];  // what follows from these sums
};

FN void crosswise_adjoint(const Boxes& two, int j, F g, BoxesAdjoint& to) {
  to.n[j] -= (crosswise(two, j) > F(0)) ? g * two.n[j] * real(32) : F(0);
}

// Adds to the adjoint of n, given that of a grown half extent.
FN void grown_half_adjoint(const Boxes& two, const real* h, int j, F g, BoxesAdjoint& to) {
  crosswise_adjoint(two, j, g * (h[j] * grown), to);
}

// Adds to the adjoints of the point, its edge and n, given that of the part that counts.
FN void share_of_edge_adjoint(const Boxes& two, const real* h, const F* p, const F* u, real length,
                              F g, F* g_p, F* g_u, BoxesAdjoint& to) {
  const F along = u[0] * two.n[0] + u[1] * two.n[1] + u[2] * two.n[2];
  const F flat = F(real(1.5)) - along * along * (real(1.5) / (length * length));
  F rim[3], part[3];
  for (int j = 0; j < 3; ++j) {
    rim[j] = place_on_rim(two, h, p[j], j);
    part[j] = F(1) - crosswise(two, j) * (F(1) - rim[j]);
  }
  const F g_along = g * part[0] * part[1] * part[2] * along * (-3 / (length * length));
  for (int j = 0; j < 3; ++j) {
    g_u[j] += g_along * two.n[j];
    to.n[j] += g_along * u[j];
    const F g_part = g * flat * part[(j + 1) % 3] * part[(j + 2) % 3];
    auto inside = (rim[j] > F(0)) & (rim[j] < F(1));
    const F g_half = inside ? g_part * crosswise(two, j) * (1 / (2 * grown * h[j])) : F(0);
    g_p[j] -= g_half * sign_of(p[j]);
    grown_half_adjoint(two, h, j, g_half, to);
    crosswise_adjoint(two, j, g_part * (rim[j] - F(1)), to);
  }
}

// Adds to the adjoints of the point, n and the greatest depth, given that of the point's depth.
FN void depth_in_box_adjoint(const Boxes& two, const real* h, const F* p, F g, F* g_p,
                             BoxesAdjoint& to) {
  const F none = F(0), least = F(1 / steepest);
  F face;
  depth_in_box(two, p, &face);
  to.most += (face == F(6)) ? g : none;
  for (int j = 0; j < 3; ++j) {
    for (int side = 0; side < 2; ++side) {
      const F outward = side ? -two.n[j] : two.n[j], along = MAX(outward, least),
              s = side ? F(-1) : F(1);
      const F here = (face == F(2 * j + side)) ? g / along : none;
      const F depth = (two.half[j] - s * p[j]) / along;
      g_p[j] -= s * here;
      grown_half_adjoint(two, h, j, here, to);
      to.n[j] -= (outward > least) ? s * here * depth : none;
    }
  }
}

// Turns the adjoints of n and of the greatest depth into those of the centre and the axes.
FN void meet_boxes_adjoint(const real* h, const real* o, real sign, const Boxes& two,
                           BoxesAdjoint& to) {
  const real weight[3] = {real(1), real(0.1), real(0.05)};
  const F none = F(0);
  Axis axis[axes];
  F n[3] = {none, none, none}, way[3], g_n[3];
  for (int i = 0; i < axes; ++i) {
    box_axis(two, h, o, i, axis[i]);
    const F ratio = two.blurred / axis[i].e, square = ratio * ratio;
    const F pull = axis[i].q * square * square * axis[i].x / (axis[i].r * axis[i].length * two.sum);
    for (int j = 0; j < 3; ++j) n[j] += pull * axis[i].l[j];
  }
  // n = (mean + way fade vague) / size
  const F bare = F(1) - (n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) * (1 / (vague * vague)),
          fade = MAX(bare, none);
  auto clamped = two.size <= F(real(0.1) * vague);
  const F along = clamped ? none : two.n[0] * to.n[0] + two.n[1] * to.n[1] + two.n[2] * to.n[2];
  aside(two, sign, way);
  F g_fade = none;
  for (int j = 0; j < 3; ++j) {
    g_n[j] = (to.n[j] - two.n[j] * along) / two.size;
    g_fade += g_n[j] * way[j] * vague;
    for (int i = 0; i < 3; ++i) to.a[i][j] += g_n[j] * fade * (vague * weight[i] * sign);
  }
  // most = 2 least total^(-1/4); `least` cancels here, and `blurred` in the mean
  const F g_total = to.most * two.most * real(-0.25) / two.total;
  F g_sum = none;
  for (int j = 0; j < 3; ++j) {
    g_n[j] -= (bare > none) ? g_fade * n[j] * (2 / (vague * vague)) : none;
    g_sum -= g_n[j] * n[j];
  }
  g_sum = g_sum / two.sum;
  for (int j = 0; j < 3; ++j) g_n[j] = g_n[j] / two.sum;
  for (int number = 0; number < axes; ++number) {
    const Axis& at = axis[number];
    const F ratio = two.blurred / at.e, square = ratio * ratio, hard = two.least / at.d,
            harder = hard * hard;
    const F share = at.q * square * square, hard_share = at.q * harder * harder;
    const F slope = at.x / (at.r * at.length), pull = share * slope;
    const F e = at.l[0] * g_n[0] + at.l[1] * g_n[1] + at.l[2] * g_n[2];
    const F g_e = (e * pull + g_sum * share) * real(-4) / at.e,
            g_d = g_e - g_total * hard_share * real(4) / at.d;
    const F g_x = e * share / (at.r * at.length) - g_d * slope;
    const F g_r = -e * pull / at.r +
                  g_d * (at.r * at.r + at.x * at.x) / (at.r * at.r * at.length * real(2)) +
                  g_e * blur / at.length;
    F g_l[3];
    for (int j = 0; j < 3; ++j) {
      to.c[j] += g_x * at.l[j];
      g_l[j] = g_n[j] * pull + g_x * two.c[j];
    }
    if (number < 3) {
      for (int i = 0; i < 3; ++i) to.a[i][number] += g_r * sign_of(two.a[i][number]) * o[i];
    } else if (number < 6) {
      const int i = number - 3;
      for (int j = 0; j < 3; ++j) to.a[i][j] += g_l[j] + g_r * sign_of(two.a[i][j]) * h[j];
    } else {
      const int i = (number - 6) / 3, j = (number - 6) % 3;
      const int i1 = (i + 1) % 3, i2 = (i + 2) % 3, j1 = (j + 1) % 3, j2 = (j + 2) % 3;
      // q is length^4, and the sums have it over length
      const F g_length = (e * pull * real(3) + (g_sum * share + g_total * hard_share) * real(4) -
                          g_d * at.d - g_e * (at.r * blur / at.length)) /
                         at.length;
      auto counts = at.q > none;
      const F by_length = counts ? g_length / at.length : none;
      to.a[i][j2] += (counts ? g_l[j1] + g_r * sign_of(two.a[i][j2]) * h[j1] : none) +
                     by_length * two.a[i][j2];
      to.a[i][j1] += (counts ? g_r * sign_of(two.a[i][j1]) * h[j2] - g_l[j2] : none) +
                     by_length * two.a[i][j1];
      to.a[i2][j] += counts ? g_r * sign_of(two.a[i2][j]) * o[i1] : none;
      to.a[i1][j] += counts ? g_r * sign_of(two.a[i1][j]) * o[i2] : none;
    }
  }
}
