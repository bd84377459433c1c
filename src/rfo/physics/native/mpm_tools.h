#pragma once
// What acts on the nodes of the grid: gravity, kinematic tools, walls and ground.
//
// A tool's shape is a box of half extents `core` rounded by `radius` (a sphere and a capsule have a
// core without volume), or a half-space below z = 0 of its frame. A node at signed distance d along
// the outward normal n with e = min(exp(-d softness), 1) > 0.1 is drawn in with influence
// h = (e - cut) / (1 - cut). The reference has cut = 0, and so a jump at the end of a tool's reach;
// cut = 0.1 has none. The tool moves there with b, the finite motion over the substep; the node's
// velocity relative to it, r = v - b, loses its part into the tool and friction times that part of
// the rest:
//
//     t = r - min(r.n, 0) n,   t <- t max(0, 1 + mu (r.n)/|t|)  where r.n < 0,
//     v <- b + (1 - h) r + h t

#include "contact.h"
#include "mpm.h"

constexpr real LEAST_MASS = real(1e-15);

struct Turn {  // rotation or its adjoint, rows
  real a[9];
  FN R3 operator*(const R3& v) const {
    return {a[0] * v.x + a[1] * v.y + a[2] * v.z, a[3] * v.x + a[4] * v.y + a[5] * v.z,
            a[6] * v.x + a[7] * v.y + a[8] * v.z};
  }
  FN R3 back(const R3& v) const {
    return {a[0] * v.x + a[3] * v.y + a[6] * v.z, a[1] * v.x + a[4] * v.y + a[7] * v.z,
            a[2] * v.x + a[5] * v.y + a[8] * v.z};
  }
  FN Turn operator*(const Turn& o) const {
    Turn r;
    for (int i = 0; i < 9; i += 3)
      for (int j = 0; j < 3; ++j)
        r.a[i + j] = a[i] * o.a[j] + a[i + 1] * o.a[3 + j] + a[i + 2] * o.a[6 + j];
    return r;
  }
  FN Turn transposed() const { return {{a[0], a[3], a[6], a[1], a[4], a[7], a[2], a[5], a[8]}}; }
};
struct Pose {
  Turn R;
  R3 p;
};
FN R3 r3(const real* a) { return R3{a[0], a[1], a[2]}; }
FN Pose to_pose(const real* q) {  // x, y, z, w, i, j, k
  const real w = q[3], i = q[4], j = q[5], k = q[6];
  return Pose{{{1 - 2 * (j * j + k * k), 2 * (i * j - w * k), 2 * (i * k + w * j),
                2 * (i * j + w * k), 1 - 2 * (i * i + k * k), 2 * (j * k - w * i),
                2 * (i * k - w * j), 2 * (j * k + w * i), 1 - 2 * (i * i + j * j)}},
              {q[0], q[1], q[2]}};
}
FN Pose times(const Pose& a, const Pose& b) { return Pose{a.R * b.R, a.p + a.R * b.p}; }

// A shape in a substep: its frame, the change of the frame, and the nodes that it may draw in.
struct Shape {
  Pose now;
  Pose change;
  R3 core;
  real radius;
  int half_space;
  int low[3], high[3];
};
struct Surface {
  real d;           // signed distance
  R3 n;             // outward normal, in the shape's frame
  R3 free;          // 1 along axes in which the nearest point of the core stays
  real reciprocal;  // 1 / distance from the core, 0 inside
};
FN Surface surface(const Shape& s, const R3& x) {
  if (s.half_space) return Surface{x.z, {0, 0, 1}, {0, 0, 0}, 0};
  const R3 q{magnitude(x.x) - s.core.x, magnitude(x.y) - s.core.y, magnitude(x.z) - s.core.z};
  const R3 side{x.x < 0 ? real(-1) : real(1), x.y < 0 ? real(-1) : real(1),
                x.z < 0 ? real(-1) : real(1)};
  const R3 o{q.x > 0 ? q.x : real(0), q.y > 0 ? q.y : real(0), q.z > 0 ? q.z : real(0)};
  const real far = sqrt(o.dot(o));
  if (far > 0) {
    const real r = 1 / far;
    return Surface{far - s.radius,
                   {o.x * r * side.x, o.y * r * side.y, o.z * r * side.z},
                   {real(q.x > 0), real(q.y > 0), real(q.z > 0)},
                   r};
  }
  const bool x_most = q.x >= q.y && q.x >= q.z, y_most = !x_most && q.y >= q.z;
  const real deepest = x_most ? q.x : y_most ? q.y : q.z;
  return Surface{deepest - s.radius,
                 {x_most ? side.x : 0, y_most ? side.y : 0, x_most || y_most ? 0 : side.z},
                 {0, 0, 0},
                 0};
}

struct Tools : Particles {
  const real* pose = nullptr;  // of each body, at the start and after each substep
  Shape* const shapes = take<Shape>(m.shapes);
  const R3 up{0, 0, 1};

  using Particles::Particles;

  FN const real* pose_at(int k, int body) {
    return pose + (((long long)pack * (m.substeps + 1) + k) * m.bodies + body) * 7;
  }
  FN void place_tools(int k) {
    EACH(i, m.shapes) {
      Shape& s = shapes[i];
      const Pose local = to_pose(m.shape_pose + 7 * i);
      const int body = m.shape_body[i];
      const Pose identity{{{1, 0, 0, 0, 1, 0, 0, 0, 1}}, {0, 0, 0}};
      s.now = times(body < 0 ? identity : to_pose(pose_at(k, body)), local);
      const Pose next = times(body < 0 ? identity : to_pose(pose_at(k + 1, body)), local);
      for (int j = 0; j < 9; ++j) s.change.R.a[j] = next.R.a[j] - s.now.R.a[j];
      s.change.p = next.p - s.now.p;
      s.core = r3(m.shape_core + 3 * i);
      s.radius = m.shape_radius[i];
      s.half_space = m.shape_half_space[i];
      const real p[3] = {s.now.p.x, s.now.p.y, s.now.p.z}, core[3] = {s.core.x, s.core.y, s.core.z};
      const int first[3] = {box.x, box.y, box.z}, count[3] = {box.nx, box.ny, box.nz};
      for (int a = 0; a < 3; ++a) {
        real extent = s.radius + m.halo;
        for (int j = 0; j < 3; ++j) extent += magnitude(s.now.R.a[3 * a + j]) * core[j];
        const real lo = s.half_space ? real(0) : (p[a] - extent) / m.dx - first[a];
        const real hi = s.half_space ? real(count[a]) : (p[a] + extent) / m.dx - first[a];
        s.low[a] = (int)(smaller(larger(lo, real(0)), real(count[a])));
        s.high[a] = (int)(smaller(larger(hi + 1, real(0)), real(count[a])));
      }
    }
    SYNC();
  }

  FN real influence(real d) {
    return d > 0 ? (exp(-d * m.softness) - m.cut) / (1 - m.cut) : real(1);
  }
  FN bool inside(const Shape& s, int i, int j, int k) {
    return i >= s.low[0] && i < s.high[0] && j >= s.low[1] && j < s.high[1] && k >= s.low[2] &&
           k < s.high[2];
  }

  FN R3 touch(const Shape& s, const R3& at, const R3& v) {
    const R3 x = s.now.R.back(at - s.now.p);
    const Surface f = surface(s, x);
    if (!(f.d < m.halo)) return v;
    const real h = influence(f.d);
    const R3 n = s.now.R * f.n;
    const R3 b = (s.change.R * x + s.change.p) * (1 / m.dt);
    const R3 r = v - b;
    const R3 t = r.dot(n) < 0 ? slide(r, n, m.friction) : r;
    return b + r * (1 - h) + t * h;
  }

  FN R3 walls(R3 v, int i, int j, int k) {
    if ((i < m.wall && v.x < 0) || (i > m.nx - m.wall && v.x > 0)) v.x = 0;
    if ((j < m.wall && v.y < 0) || (j > m.ny - m.wall && v.y > 0)) v.y = 0;
    if (k > m.nz - m.wall && v.z > 0) v.z = 0;
    if (k < m.wall && v.z < 0) v = slide(v, up, m.ground_friction);
    return v;
  }
  FN R3 node_at(int i, int j, int k) {
    return R3{(box.x + i) * m.dx, (box.y + j) * m.dx, (box.z + k) * m.dx};
  }
  FN R3 free_flight(const real* n) {
    return R3{n[0] / n[3] + m.gravity[0] * m.dt, n[1] / n[3] + m.gravity[1] * m.dt,
              n[2] / n[3] + m.gravity[2] * m.dt};
  }

  // Turns momentum and mass of all nodes into velocities.
  FN void move_grid(int step) {
    place_tools(step);
    EACH(ij, box.nx * box.ny) {
      const int i = ij / box.ny, j = ij % box.ny;
      for (int k = 0; k < box.nz; ++k) {
        const real* n = node + 4 * (ij * box.nz + k);
        real* to = moving + 4 * (ij * box.nz + k);
        R3 v{0, 0, 0};
        if (n[3] > LEAST_MASS) {
          v = free_flight(n);
          for (int s = 0; s < m.shapes; ++s)
            if (inside(shapes[s], i, j, k)) v = touch(shapes[s], node_at(i, j, k), v);
          v = walls(v, box.x + i, box.y + j, box.z + k);
        }
        to[0] = v.x;
        to[1] = v.y;
        to[2] = v.z;
        to[3] = real(0);
      }
    }
    EACH(i, 4) moving[4 * nodes() + i] = real(0);
    SYNC();
  }
  FN void substep(real* state, int k) {
    enclose(state);
    to_grid(state, [&](int b, const Mat& Fe, const Mat&, const Principal&) {
      put(Fe, part(state, STATE, b) + AT_F);
    });
    move_grid(k);
    from_grid(state);
  }
};
