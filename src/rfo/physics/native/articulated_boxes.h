#pragma once
// Two boxes: the direction in which they separate, and how deep a point of one is in the other.
//
// Where faces lie on faces and edges on edges, a single point does not tell which way out is meant:
// a corner of a cube on an equal cube lies on three faces at once. So the direction belongs to the
// pair. Of the 15 axes that can separate two boxes (the three of each, and the products of an edge
// of each) number k is overlapped by
//
//     d_k = (r_k^2 - x_k^2) / (2 r_k),
//     x_k: distance of the centres along it,    r_k: sum of the half widths along it,
//
// which is r_k - |x_k| where that is small, and smooth where the centres coincide. The direction n
// is that of the mean of x_k / r_k times axis k, with the weights q_k (d_k + r_k / 1000)^-4: nearly
// the axis of the least overlap, and continuous down to the first touch. q_k fades a product out
// where its edges are parallel. The smooth minimum of the overlaps is (sum_k q_k d_k^-4)^(-1/4).
//
// A point is as deep as the way along n to the first face that it meets, and no deeper than twice
// the smooth minimum. Across n the box is grown by a twentieth, and within a twentieth of its rim a
// point counts in part, on it by half: where faces are aligned both boxes' edges lie on the rim,
// and carry together what one's carry alone on a larger face. Edges count with the squared sine of
// their angle to n, times 3/2, so that the three directions of a box count 1 in the mean.

#include "lanes.h"

constexpr real grown = real(0.05);  // share of a half extent by which a box grows across n
constexpr real steepest = real(4);  // depth gained for each metre across n from the grown box's rim
constexpr int axes = 15;
constexpr real blur = real(1e-3);  // share of r_k that is added to d_k for the weights
constexpr real parallel =
    real(1e-4);  // squared sine of the angle below which edges have no product

struct Boxes {
  F a[3][3];  // axes of the segments' box, in the target's frame
  F c[3];     // centre of that box
  F n[3];     // from the target to that box, of unit length
  F most;     // greatest depth of a point
  F least;    // least d_k
  F blurred;  // least d_k + r_k / 1000
  F sum;      // sum_k q_k (blurred / (d_k + r_k / 1000))^4
  F total;    // sum_k q_k (least / d_k)^4
  F size;     // length of the mean vector whose direction is n
  F half[3];  // half extents of the target, grown
  F on;       // 1 where the boxes overlap, else 0
};
struct Axis {
  F l[3], length;  // direction, not of unit length
  F x, r;          // times `length`
  F q, d, e;       // e: d_k + r_k / 1000
};

FN F sign_of(F x) { return (x > F(0)) ? F(1) : ((x < F(0)) ? F(-1) : F(0)); }

// Axis number k of target half extents h and own half extents o.
FN auto box_axis(const Boxes& two, const real* h, const real* o, int k, Axis& at) {
  const F none = F(0), one = F(1);
  F square = one;
  if (k < 3) {
    for (int j = 0; j < 3; ++j) at.l[j] = j == k ? one : none;
    at.x = two.c[k];
    at.r = F(h[k]);
    for (int i = 0; i < 3; ++i) at.r += magnitude(two.a[i][k]) * o[i];
  } else if (k < 6) {
    const int i = k - 3;
    at.x = none;
    at.r = F(o[i]);
    for (int j = 0; j < 3; ++j) {
      at.l[j] = two.a[i][j];
      at.x += two.c[j] * two.a[i][j];
      at.r += magnitude(two.a[i][j]) * h[j];
    }
  } else {
    const int i = (k - 6) / 3, j = (k - 6) % 3;
    const int i1 = (i + 1) % 3, i2 = (i + 2) % 3, j1 = (j + 1) % 3, j2 = (j + 2) % 3;
    const F p = two.a[i][j2], m = two.a[i][j1];
    at.l[j] = none;
    at.l[j1] = p;
    at.l[j2] = -m;
    at.x = two.c[j1] * p - two.c[j2] * m;
    at.r = magnitude(p) * h[j1] + magnitude(m) * h[j2] + magnitude(two.a[i2][j]) * o[i1] +
           magnitude(two.a[i1][j]) * o[i2];
    square = p * p + m * m;
  }
  auto counts = square > F(parallel);
  square = counts ? square : one;
  at.length = SQRT(square);
  at.q = counts ? square * square : none;
  at.r = MAX(at.r, F(real(1e-9)));
  const F d = MAX((at.r - at.x) * (at.r + at.x) / (at.r * at.length * real(2)), at.r * real(1e-6));
  at.d = counts ? d : F(real(1e9));
  at.e = at.d + at.r * blur / at.length;
  return counts;
}

// Where the centres coincide, any direction is as good as another; this one is the same for both
// boxes.
FN void aside(const Boxes& two, real sign, F* way) {
  const real weight[3] = {real(1), real(0.1), real(0.05)};
  for (int j = 0; j < 3; ++j)
    way[j] = (F(weight[j]) + two.a[0][j] * weight[0] + two.a[1][j] * weight[1] +
              two.a[2][j] * weight[2]) *
             sign;
}
constexpr real vague = real(1e-2);  // length of the mean below which `aside` is mixed in

// How far axis j lies across n: 1 if it is perpendicular, 0 within about 14 degrees of n.
FN F crosswise(const Boxes& two, int j) { return MAX(F(1) - two.n[j] * two.n[j] * real(16), F(0)); }

// False if the boxes are apart in every environment. `gap` leads from one centre to the other, in
// the world.
FN bool meet_boxes(const real* h, const real* o, real sign, const Quat& own, const Quat& target,
                   const V3& gap, Boxes& two) {
  const Quat back = target.conjugate(), relative = back * own;
  const V3 c = back.rotate(gap);
  two.c[0] = c.x;
  two.c[1] = c.y;
  two.c[2] = c.z;
  const V3 unit[3] = {{F(1), F(0), F(0)}, {F(0), F(1), F(0)}, {F(0), F(0), F(1)}};
  for (int i = 0; i < 3; ++i) {
    const V3 a = relative.rotate(unit[i]);
    two.a[i][0] = a.x;
    two.a[i][1] = a.y;
    two.a[i][2] = a.z;
  }
  Axis axis[axes];
  F overlap = F(real(1e9));
  two.least = two.blurred = F(real(1e9));
  for (int i = 0; i < axes; ++i) {
    auto counts = box_axis(two, h, o, i, axis[i]);
    overlap = MIN(overlap, counts ? axis[i].r - magnitude(axis[i].x) : overlap);
    two.least = MIN(two.least, axis[i].d);
    two.blurred = MIN(two.blurred, axis[i].e);
  }
  auto touches = overlap > F(0);
  if (!ANY(touches)) return false;
  two.on = touches ? F(1) : F(0);
  two.sum = two.total = F(0);
  F way[3], n[3] = {F(0), F(0), F(0)};
  for (int i = 0; i < axes; ++i) {
    const F ratio = two.blurred / axis[i].e, square = ratio * ratio,
            share = axis[i].q * square * square;
    const F hard = two.least / axis[i].d, harder = hard * hard;
    const F pull = share * axis[i].x / (axis[i].r * axis[i].length);
    two.sum += share;
    two.total += axis[i].q * harder * harder;
    for (int j = 0; j < 3; ++j) n[j] += pull * axis[i].l[j];
  }
  for (int j = 0; j < 3; ++j) n[j] /= two.sum;
  two.most = two.least * real(2) / SQRT(SQRT(two.total));
  const F fade =
      MAX(F(1) - (n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) * (1 / (vague * vague)), F(0));
  aside(two, sign, way);
  F square = F(0);
  for (int j = 0; j < 3; ++j) {
    n[j] += way[j] * fade * vague;
    square += n[j] * n[j];
  }
  two.size = MAX(SQRT(square), F(real(0.1) * vague));
  for (int j = 0; j < 3; ++j) {
    two.n[j] = n[j] / two.size;
    two.half[j] = F(h[j]) * (F(1) + crosswise(two, j) * grown);
  }
  return true;
}

// Part of a point p that counts across axis j: its place between the rims of the grown and the
// shrunk box.
FN F place_on_rim(const Boxes& two, const real* h, F p, int j) {
  return MIN(MAX((two.half[j] - magnitude(p)) * (1 / (2 * grown * h[j])), F(0)), F(1));
}

// Part of the point p on the edge u that counts.
FN F share_of_edge(const Boxes& two, const real* h, const F* p, const F* u, real length) {
  const F along = u[0] * two.n[0] + u[1] * two.n[1] + u[2] * two.n[2];
  F share = F(real(1.5)) - along * along * (real(1.5) / (length * length));
  for (int j = 0; j < 3; ++j)
    share *= F(1) - crosswise(two, j) * (F(1) - place_on_rim(two, h, p[j], j));
  return share;
}

// Depth of a point p, and the face that limits it: 2 j or 2 j + 1 for the upper or lower one across
// axis j, or 6.
FN F depth_in_box(const Boxes& two, const F* p, F* face) {
  F depth = two.most;
  *face = F(6);
  for (int j = 0; j < 3; ++j) {
    const F half = two.half[j], least = F(1 / steepest);
    const F up = (half - p[j]) / MAX(two.n[j], least), down = (half + p[j]) / MAX(-two.n[j], least);
    *face = (up < depth) ? F(2 * j) : *face;
    depth = MIN(depth, up);
    *face = (down < depth) ? F(2 * j + 1) : *face;
    depth = MIN(depth, down);
  }
  return depth;
}
