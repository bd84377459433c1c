#pragma once
// Contact of bodies with one another.
//
// A pair is directed: the segments of one shape, of half vector u about a middle p, against another
// shape, the target. In the target's frame that is a box of half extents h or an axis from
// (0, 0, -h_z) to (0, 0, h_z), with a radius. On each segment one point p + s u is in contact,
// chosen so that it moves continuously with the poses:
//
// - against a box, half way between where the segment enters and leaves it (grown by the radius, or
//   for the edges of a box as articulated_boxes.h says), so that an edge that lies flat on a face
//   touches at its middle and not at whichever end rounding favours;
// - against an axis, the minimum of  |p + s u - tau e_z|^2 + softness (|s u|^2 + tau^2),  unique
//   even if parallel.
//
// Edges of a box are pushed in the direction in which the two boxes part. Elsewhere each point has
// its own normal; inside a box the distance is minus a smooth minimum of those to its faces, so
// that its gradient n has no jumps. Where a point's direction fades, on an axis or in the middle of
// a box, a fixed one is mixed in.

#include "articulated_boxes.h"
#include "articulated_supports.h"
#include "contact.h"

enum { AXIS = 0, ROUND_ON_BOX = 1, BOX_ON_BOX = 2 };

struct Meeting {
  int a, b;   // links of the segments and of the target
  V3 shift;   // from the origin of a's tree to the origin of b's
  V3 centre;  // centre of the target, about the origin of a's tree
  Quat turn;  // of the target
  V3 gap;     // from the target's centre to that of the other shape
};
struct Touch {
  V3 p, u;         // the segment, in the target's frame
  F s, tau;        // places where they touch, on the segment and on the axis
  F enter, leave;  // where the segment enters and leaves a box
  F distance, depth;
  V3 n, x;  // normal towards the segment and point of contact, in the world
  F on;     // the part that counts where they touch, else 0
};

constexpr real softness = real(1e-2);
constexpr real hair = real(1e-9);
FN F clamp(F x, F low, F high) { return MIN(MAX(x, low), high); }

FN F inverse_of(F u) {
  const F least = F(hair * hair);
  auto moves = (u > least) | (u < -least);
  return F(1) / (moves ? u : least);
}
FN void clip(F p, F u, F h, F& enter, F& leave) {
  const F inverse = inverse_of(u), t0 = (-h - p) * inverse, t1 = (h - p) * inverse;
  enter = MAX(enter, MIN(t0, t1));
  leave = MIN(leave, MAX(t0, t1));
}

// The direction of d, if d is longer than `near`. Below that `way` is mixed in: n = d' / max(|d'|,
// near / 8).
struct Mixed {
  V3 d;
  F fade, size;
};
FN V3 mix(const V3& d, const V3& way, F near, Mixed& mixed) {
  const F square = d.dot(d);
  auto fades = square < near * near;
  mixed.fade = F(0);
  mixed.d = d;
  if (ANY(fades)) {
    const F bare = MAX(F(1) - square / (near * near), F(0));
    mixed.fade = bare * bare;
    mixed.d = d + way * (mixed.fade * near * real(0.25));
  }
  mixed.size = MAX(SQRT(mixed.d.dot(mixed.d)), near * real(0.125));
  return mixed.d * (F(1) / mixed.size);
}
constexpr real near_axis = real(0.02);  // share of the radius
constexpr real near_middle = real(0.02);
// Perpendicular to both axes; where they are parallel or one has no length, to the target's.
FN V3 across(const V3& u, real length, real sign) {
  const F scale = F(length > 0 ? 1 / length : real(0)), x = u.x * scale, y = u.y * scale;
  return V3{y + (F(1) - x * x - y * y) * sign, -x, F(0)};
}
FN V3 ahead() { return {F(1), F(0), F(0)}; }

// Distance of a point to a box, and its gradient.
struct Inside {
  V3 ratio, slope;  // depth over the distance to a face (d / a_i), and -da_i / dp_i
  V3 steep;         // ratio / a_i
  V3 m;             // gradient, not of unit length
};
FN F inside_box(const V3& p, const real* h, Inside& in) {
  auto face = [&](F p, real h) {
    return F(1) / MAX((F(h) - p) * (F(h) + p) * F(real(0.5) / h), F(hair));
  };
  const V3 r{face(p.x, h[0]), face(p.y, h[1]), face(p.z, h[2])};
  const F depth = F(1) / SQRT(r.dot(r));
  in.ratio = r * depth;
  in.slope = {p.x * F(1 / h[0]), p.y * F(1 / h[1]), p.z * F(1 / h[2])};
  in.steep = {in.ratio.x * r.x, in.ratio.y * r.y, in.ratio.z * r.z};
  const V3& q = in.ratio;
  in.m = {q.x * q.x * q.x * in.slope.x, q.y * q.y * q.y * in.slope.y, q.z * q.z * q.z * in.slope.z};
  return depth;
}
FN V3 outside_box(const V3& p, const real* h) {
  return V3{p.x - clamp(p.x, F(-h[0]), F(h[0])), p.y - clamp(p.y, F(-h[1]), F(h[1])),
            p.z - clamp(p.z, F(-h[2]), F(h[2]))};
}
FN void box_distance(const V3& p, const real* h, F& distance, V3& n) {
  const V3 d = outside_box(p, h);
  const F square = d.dot(d);
  auto outside = square > F(0);
  Inside in;
  const F depth = inside_box(p, h, in), length = SQRT(MAX(square, F(hair * hair)));
  distance = outside ? length : -depth;
  Mixed mixed;
  const V3 inner = mix(in.m, ahead(), F(near_middle), mixed);
  const F scale = F(1) / length;
  n = V3{outside ? d.x * scale : inner.x, outside ? d.y * scale : inner.y,
         outside ? d.z * scale : inner.z};
}

// Closest points of a segment and an axis of half length h.
FN void closest(Touch& t, real length, real h) {
  const real soft = 1 + (length > 0 && h > 0 ? softness : real(0));
  const F A = F(soft * length * length), C = F(soft), B = t.u.z, along = t.u.dot(t.p), half = F(h);
  t.s = F(0);
  if (length > 0) t.s = clamp((B * t.p.z - C * along) / (A * C - B * B), F(-1), F(1));
  t.tau = clamp((t.p.z + B * t.s) / C, -half, half);
  if (length > 0) t.s = clamp((B * t.tau - along) / A, F(-1), F(1));
}

struct Pairs : Supports {
  using Supports::Supports;

  FN V3 pos_of(int i) { return i < 0 ? V3{} : pos[i]; }
  FN Quat rot_of(int i) { return i < 0 ? Quat{F(0), F(0), F(0), F(1)} : rot[i]; }
  FN V3 origin_of(int i) { return i < 0 ? V3{} : origin[i]; }
  FN V3 velocity_at(At<const Spatial> v, int i, const V3& x) {
    return i < 0 ? V3{} : v[i].l + v[i].a.cross(x);
  }

  // Poses of a pair's shapes; false if they are too far from each other in every environment.
  FN bool meet(int k, Meeting& at) {
    at.a = m.pair_link[k];
    at.b = m.pair_target[k];
    const Quat target = rot_of(at.b);
    at.shift = origin_of(at.b) - origin_of(at.a);
    at.centre = pos_of(at.b) + target.rotate(broadcast(m.pair_target_pos + 3 * k)) + at.shift;
    at.gap = pos_of(at.a) + rot_of(at.a).rotate(broadcast(m.pair_centre + 3 * k)) - at.centre;
    auto near = at.gap.dot(at.gap) < F(m.pair_reach[k] * m.pair_reach[k]);
    if (!ANY(near)) return false;
    at.turn = target * quat_of(m.pair_target_quat + 4 * k);
    return true;
  }

  // What all segments of a pair share; false if nothing touches in any environment.
  FN bool part(int k, const Meeting& at, Boxes& two) {
    if (m.pair_box[k] == BOX_ON_BOX)
      return meet_boxes(m.pair_target_half + 3 * k, m.pair_own_half + 3 * k, m.pair_sign[k],
                        rot_of(at.a) * quat_of(m.pair_own_quat + 4 * k), at.turn, at.gap, two);
    for (int j = 0; j < 3; ++j)
      two.half[j] = F(m.pair_target_half[3 * k + j]) + F(m.pair_radius[k]);
    return true;
  }

  // Contact of segment j with the target of pair k; false if there is none in any environment.
  FN bool touch(int k, int j, const Meeting& at, const Boxes& two, Touch& t) {
    const Quat turn = rot_of(at.a), back = at.turn.conjugate();
    const V3 middle = pos_of(at.a) + turn.rotate(broadcast(m.segment_mid + 3 * j));
    const V3 half = turn.rotate(broadcast(m.segment_half + 3 * j));
    const real* h = m.pair_target_half + 3 * k;
    const F radius = F(m.pair_radius[k]);
    t.p = back.rotate(middle - at.centre);
    t.u = back.rotate(half);
    t.enter = F(-1);
    t.leave = F(1);
    V3 n;
    F share = F(1);
    if (m.pair_box[k] == AXIS) {
      closest(t, m.segment_length[j], h[2]);
      const V3 d = t.p + t.u * t.s - V3{F(0), F(0), t.tau};
      Mixed mixed;
      t.distance = MAX(SQRT(d.dot(d)), F(hair));
      n = mix(d, across(t.u, m.segment_length[j], m.pair_sign[k]), radius * near_axis, mixed);
      t.depth = radius - t.distance;
    } else {
      const bool boxes = m.pair_box[k] == BOX_ON_BOX;
      clip(t.p.x, t.u.x, two.half[0], t.enter, t.leave);
      clip(t.p.y, t.u.y, two.half[1], t.enter, t.leave);
      clip(t.p.z, t.u.z, two.half[2], t.enter, t.leave);
      t.s = (t.enter + t.leave) * F(real(0.5));
      if (!ANY(t.leave > t.enter)) return false;
      const V3 point = t.p + t.u * t.s;
      if (boxes) {
        const F p[3] = {point.x, point.y, point.z}, u[3] = {t.u.x, t.u.y, t.u.z};
        F face;
        t.depth = depth_in_box(two, p, &face) * two.on;
        share = share_of_edge(two, h, p, u, m.segment_length[j]);
        n = V3{two.n[0], two.n[1], two.n[2]};
      } else {
        box_distance(point, h, t.distance, n);
        t.depth = radius - t.distance;
      }
    }
    auto touches = (t.depth > F(0)) & (t.leave > t.enter);
    if (!ANY(touches)) return false;
    t.on = touches ? share : F(0);
    t.n = at.turn.rotate(n);
    t.x = middle + half * t.s - t.n * F(m.pair_thickness[k]);
    return true;
  }

  FN void pair_forces() {
    for (int k = 0; k < m.pairs; ++k) {
      Meeting at;
      Boxes two;
      if (!meet(k, at) || !part(k, at, two)) continue;
      for (int j = m.pair_start[k]; j < m.pair_start[k + 1]; ++j) {
        Touch t;
        if (!touch(k, j, at, two, t)) continue;
        const V3 x_b = t.x - at.shift;
        const V3 velocity = velocity_at(V, at.a, t.x) - velocity_at(V, at.b, x_b);
        const V3 push = contact_force(own.pair_law + 5 * k, t.n, t.depth, velocity, t.on);
        if (at.a >= 0) f[at.a] = f[at.a] - Spatial{t.x.cross(push), push};
        if (at.b >= 0) f[at.b] = f[at.b] + Spatial{x_b.cross(push), push};
      }
    }
  }
};
