// Contact of bodies with one another. Follows articulated.h.
//
// A pair is directed: the segments of one shape, of half vector u about a middle p, against another shape, the target.
// In the target's frame that is a box of half extents h or an axis from (0, 0, -h_z) to (0, 0, h_z), with a radius. On
// each segment one point p + s u is in contact, chosen so that it moves continuously with the poses:
//
// - against a box, half way between where the segment enters and leaves it (grown by the radius), so that an edge that
//   lies flat on a face touches at its middle and not at whichever end rounding favours;
// - against an axis, the minimum of  |p + s u - tau e_z|^2 + softness (|s u|^2 + tau^2),  unique even if parallel.
//
// Inside a box the distance is minus a smooth minimum of those to its faces, so that its gradient n has no jumps.

struct Meeting {
  int a, b;   // links of the segments and of the target
  V3 shift;   // from the origin of a's tree to that of b's
  V3 centre;  // of the target, about the origin of a's tree
  Quat turn;  // of the target
};
struct Touch {
  V3 p, u;          // the segment, in the target's frame
  F s, tau;         // where they touch: on the segment, on the axis
  F enter, leave;   // where the segment enters and leaves a box
  F distance, depth;
  V3 n, x;          // normal towards the segment and point of contact, in the world
  F on;             // 1 where they touch, else 0
};

const real softness = real(1e-2);
const real hair = real(1e-9);
const Quat no_turn{F(0), F(0), F(0), F(1)};
auto pos_of = [&](int i) { return i < 0 ? zero3 : pos[i]; };
auto rot_of = [&](int i) { return i < 0 ? no_turn : rot[i]; };
auto origin_of = [&](int i) { return i < 0 ? zero3 : origin[i]; };
auto velocity_at = [&](const Spatial* v, int i, const V3& x) { return i < 0 ? zero3 : v[i].l + v[i].a.cross(x); };
auto clamp = [](F x, F low, F high) { return MIN(MAX(x, low), high); };

// Poses of a pair's shapes; false where they are too far from each other in every environment.
auto meet = [&](int k, Meeting& at) {
  at.a = m.pair_link[k];
  at.b = m.pair_target[k];
  const Quat target = rot_of(at.b);
  at.shift = origin_of(at.b) - origin_of(at.a);
  at.centre = pos_of(at.b) + target.rotate(broadcast(m.pair_target_pos + 3 * k)) + at.shift;
  const V3 gap = pos_of(at.a) + rot_of(at.a).rotate(broadcast(m.pair_centre + 3 * k)) - at.centre;
  auto near = gap.dot(gap) < F(m.pair_reach[k] * m.pair_reach[k]);
  if (!ANY(near)) return false;
  const real* t = m.pair_target_quat + 4 * k;
  at.turn = target * Quat{F(t[0]), F(t[1]), F(t[2]), F(t[3])};
  return true;
};

auto inverse_of = [&](F u) {
  const F least = F(hair * hair);
  auto moves = (u > least) | (u < -least);
  return F(1) / (moves ? u : least);
};
auto clip = [&](F p, F u, F h, F& enter, F& leave) {
  const F inverse = inverse_of(u), t0 = (-h - p) * inverse, t1 = (h - p) * inverse;
  enter = MAX(enter, MIN(t0, t1));
  leave = MIN(leave, MAX(t0, t1));
};

// Distance of a point to a box, and its gradient.
struct Inside {
  V3 ratio, slope;  // depth over the distance to a face (d / a_i), and -da_i / dp_i
  V3 steep;         // ratio / a_i
  V3 m;             // gradient, not of unit length
};
auto inside_box = [&](const V3& p, const real* h, Inside& in) {
  auto face = [&](F p, real h) { return F(1) / MAX((F(h) - p) * (F(h) + p) * F(real(0.5) / h), F(hair)); };
  const V3 r{face(p.x, h[0]), face(p.y, h[1]), face(p.z, h[2])};
  const F depth = F(1) / SQRT(r.dot(r));
  in.ratio = r * depth;
  in.slope = {p.x * F(1 / h[0]), p.y * F(1 / h[1]), p.z * F(1 / h[2])};
  in.steep = {in.ratio.x * r.x, in.ratio.y * r.y, in.ratio.z * r.z};
  const V3& q = in.ratio;
  in.m = {q.x * q.x * q.x * in.slope.x, q.y * q.y * q.y * in.slope.y, q.z * q.z * q.z * in.slope.z};
  return depth;
};
auto outside_box = [&](const V3& p, const real* h) {
  return V3{p.x - clamp(p.x, F(-h[0]), F(h[0])), p.y - clamp(p.y, F(-h[1]), F(h[1])),
            p.z - clamp(p.z, F(-h[2]), F(h[2]))};
};
auto box_distance = [&](const V3& p, const real* h, F& distance, V3& n) {
  const V3 d = outside_box(p, h);
  const F square = d.dot(d);
  auto outside = square > F(0);
  Inside in;
  const F depth = inside_box(p, h, in), length = SQRT(MAX(square, F(hair * hair)));
  distance = outside ? length : -depth;
  const F scale = F(1) / (outside ? length : MAX(SQRT(in.m.dot(in.m)), F(hair)));
  n = V3{outside ? d.x : in.m.x, outside ? d.y : in.m.y, outside ? d.z : in.m.z} * scale;
};

// Closest points of a segment and an axis of half length h.
auto closest = [&](Touch& t, real length, real h) {
  const real soft = 1 + (length > 0 && h > 0 ? softness : real(0));
  const F A = F(soft * length * length), C = F(soft), B = t.u.z, along = t.u.dot(t.p), half = F(h);
  t.s = F(0);
  if (length > 0) t.s = clamp((B * t.p.z - C * along) / (A * C - B * B), F(-1), F(1));
  t.tau = clamp((t.p.z + B * t.s) / C, -half, half);
  if (length > 0) t.s = clamp((B * t.tau - along) / A, F(-1), F(1));
};

// Contact of segment j with the target of pair k; false where there is none in any environment.
auto touch = [&](int k, int j, const Meeting& at, Touch& t) {
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
  if (m.pair_box[k]) {
    clip(t.p.x, t.u.x, F(h[0]) + radius, t.enter, t.leave);
    clip(t.p.y, t.u.y, F(h[1]) + radius, t.enter, t.leave);
    clip(t.p.z, t.u.z, F(h[2]) + radius, t.enter, t.leave);
    t.s = (t.enter + t.leave) * F(real(0.5));
    if (!ANY(t.leave > t.enter)) return false;
    box_distance(t.p + t.u * t.s, h, t.distance, n);
  } else {
    closest(t, m.segment_length[j], h[2]);
    const V3 d = t.p + t.u * t.s - V3{F(0), F(0), t.tau};
    t.distance = MAX(SQRT(d.dot(d)), F(hair));
    n = d * (F(1) / t.distance);
  }
  t.depth = radius - t.distance;
  auto touches = (t.depth > F(0)) & (t.leave > t.enter);
  if (!ANY(touches)) return false;
  t.on = touches ? F(1) : F(0);
  t.n = at.turn.rotate(n);
  t.x = middle + half * t.s - t.n * F(m.pair_thickness[k]);
  return true;
};

auto pair_forces = [&]() {
  for (int k = 0; k < m.pairs; ++k) {
    Meeting at;
    if (!meet(k, at)) continue;
    for (int j = m.pair_start[k]; j < m.pair_start[k + 1]; ++j) {
      Touch t;
      if (!touch(k, j, at, t)) continue;
      const V3 x_b = t.x - at.shift;
      V3 vt;
      F vn, pressure, speed, grip;
      contact_law(m.pair_law + 5 * k, t.n, t.depth, velocity_at(V, at.a, t.x) - velocity_at(V, at.b, x_b), vn, vt,
                  pressure, speed, grip);
      const V3 push = (t.n * pressure - vt * grip) * t.on;
      if (at.a >= 0) f[at.a] = f[at.a] - Spatial{t.x.cross(push), push};
      if (at.b >= 0) f[at.b] = f[at.b] + Spatial{x_b.cross(push), push};
    }
  }
};
