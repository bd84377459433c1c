#pragma once
// MLS-MPM (Hu et al. 2018) with APIC transfers and quadratic B-splines; what the step and its
// adjoint share.
//
// A substep, with weights w of the nodes n around a particle, d = x_n - x, K = 4/dx^2, volume V and
// mass m at rest:
//
//     Fe, tau = response of the material to F
//     A = m C - dt V K tau
//     grid:   (m u)_n = sum w (m v + A d),   m_n = sum w m
//     u_n     = op((m u)_n / m_n + dt g)                                      (mpm_tools.h)
//     v'      = sum w u_n,   C' = K sum w u_n d^T,   x' = x + dt v',   F' = (I + dt C') Fe
//
// Particles are sorted by cell at the start of a control step and lie in blocks of W lanes. The
// grid is the box of nodes that particles reach, cleared at every substep.

#include "material.h"
#include "mpm_parameters.h"
#include "rows.h"

constexpr int AT_X = 0, AT_V = 3, AT_C = 6, AT_F = 15, STATE = 24;  // numbers of a particle
// Numbers of a block's particles.
FN F* part(real* particles, int width, int block) { return (F*)particles + block * width; }
FN Mat matrix(const F* from) {
  Mat A;
  for (int j = 0; j < 9; ++j) A.a[j] = from[j];
  return A;
}
FN void put(const Mat& A, F* to) {
  for (int j = 0; j < 9; ++j) to[j] = A.a[j];
}

struct Particles : Team {
  Own m;
  const int blocks = (m.particles + W - 1) / W;
  const int padded = (m.particles + 15) / 16 * 16;
  const int grid_numbers = 4 * (m.nx + 2) * (m.ny + 2) * (m.nz + 2) + 16;
  const real stiffening = real(4) / (m.dx * m.dx);  // K
  const real load_of_stress = -m.dt * m.volume * stiffening;
  int* const order = take<int>(padded);
  real* const node = take<real>(grid_numbers);    // momentum and mass of the box's nodes
  real* const moving = take<real>(grid_numbers);  // velocity of the box's nodes

  FN Particles(const Call& call, const Model& model) : Team(call), m(model) {}

  FN int cell(real x, int cells) {
    const real c = x / m.dx - real(0.5);
    return c > 0 ? (c < cells - 1 ? (int)c : cells - 1) : 0;  // also for a NaN
  }
  FN int key(const real* x) {
    return (cell(x[0], m.nx) * m.ny + cell(x[1], m.ny)) * m.nz + cell(x[2], m.nz);
  }
  // Counting sort on the CPU; CUDA keeps the given order.
  FN void sort(const real* x) {
#if LANES == 1
    EACH(p, m.particles) order[p] = p;
#else
    int* const count = (int*)node;
    const int cells = m.nx * m.ny * m.nz;
    for (int c = 0; c <= cells; ++c) count[c] = 0;
    for (int p = 0; p < m.particles; ++p) ++count[key(x + 3 * p) + 1];
    for (int c = 0; c < cells; ++c) count[c + 1] += count[c];
    for (int p = 0; p < m.particles; ++p) order[count[key(x + 3 * p)]++] = p;
#endif
    SYNC();
  }
  // Copy environment-major arrays (particles, n) to a field of the blocks, and back. Idle lanes
  // repeat the last particle.
  FN void gather(const real* from, int n, real* to, int at) {
    from += (long long)pack * m.particles * n;
    EACH(b, blocks)
    for (int l = 0; l < W; ++l) {
      const int i = b * W + l;
      const real* particle = from + n * order[i < m.particles ? i : m.particles - 1];
      for (int j = 0; j < n; ++j) LANE(part(to, STATE, b)[at + j], l) = particle[j];
    }
  }
  FN void scatter(real* from, int at, int n, real* to) {
    to += (long long)pack * m.particles * n;
    EACH(b, blocks)
    for (int l = 0; l < W && b * W + l < m.particles; ++l)
      for (int j = 0; j < n; ++j)
        to[n * order[b * W + l] + j] = LANE(part(from, STATE, b)[at + j], l);
  }
  // ------------------------------------------------------------------------------------- the box

  struct Box {
    int x, y, z;     // first node
    int nx, ny, nz;  // nodes
  };
  Box box;

  // First of the three nodes along an axis.
  FN F base(F x, int cells) {
    return FLOOR(MIN(MAX(x * (real(1) / m.dx) - real(0.5), F(0)), F(real(cells - 1))));
  }
  FN int lowest(F x) {
    real r = LANE(x, 0);
    for (int l = 1; l < W; ++l) r = smaller(r, real(LANE(x, l)));
    return (int)r;
  }
  FN void enclose(real* state) {
#if LANES == 1
    box = Box{0, 0, 0, m.nx + 2, m.ny + 2, m.nz + 2};
#else
    const int cells[3] = {m.nx, m.ny, m.nz};
    int low[3], count[3];
    for (int a = 0; a < 3; ++a) {
      F lo = F(real(cells[a])), hi = F(0);
      for (int b = 0; b < blocks; ++b) {
        const F at = base(part(state, STATE, b)[AT_X + a], cells[a]);
        lo = MIN(lo, at);
        hi = MAX(hi, at);
      }
      low[a] = lowest(lo);
      count[a] = -lowest(-hi) - low[a] + 3;
    }
    box = Box{low[0], low[1], low[2], count[0], count[1], count[2]};
#endif
  }
  FN int nodes() { return box.nx * box.ny * box.nz; }
  FN void clear(real* grid) { EACH(i, 4 * nodes() + 4) grid[i] = real(0); }

  // Places of a block's particles among the nodes.
  struct Stencil {
    F first;        // number of the first node in the box
    F w[3][3];      // weights by axis and node
    F slope[3][3];  // their derivatives by x
    F d[3][3];      // distances x_n - x
  };
  FN Stencil stencil(const F* x) {
    Stencil s;
    const int cells[3] = {m.nx, m.ny, m.nz};
    F at[3];
    for (int a = 0; a < 3; ++a) {
      const real inverse = real(1) / m.dx;
      at[a] = base(x[a], cells[a]);
      const F f = x[a] * inverse - at[a];
      const F far = F(real(1.5)) - f, mid = f - real(1), near = f - real(0.5);
      s.w[a][0] = real(0.5) * far * far;
      s.w[a][1] = F(real(0.75)) - mid * mid;
      s.w[a][2] = real(0.5) * near * near;
      s.slope[a][0] = -far * inverse;
      s.slope[a][1] = real(-2) * mid * inverse;
      s.slope[a][2] = near * inverse;
      for (int i = 0; i < 3; ++i) s.d[a][i] = (F(real(i)) - f) * m.dx;
    }
    s.first = ((at[0] - real(box.x)) * real(box.ny) + (at[1] - real(box.y))) * real(box.nz) +
              (at[2] - real(box.z));
    return s;
  }
  // Place of one particle, and of its rows. Sums over nodes run along z, then y, then x, and take
  // their weights as late as possible.
  struct Reach {
    real w[3][3], slope[3][3], d[3][3];
    Row wz, sz, dz;
    long long first;
  };
  FN Reach reach(const Stencil& s, int l) {
    Reach r;
    for (int a = 0; a < 3; ++a)
      for (int i = 0; i < 3; ++i) {
        r.w[a][i] = LANE(s.w[a][i], l);
        r.slope[a][i] = LANE(s.slope[a][i], l);
        r.d[a][i] = LANE(s.d[a][i], l);
      }
    r.wz = along(r.w[2][0], r.w[2][1], r.w[2][2]);
    r.sz = along(r.slope[2][0], r.slope[2][1], r.slope[2][2]);
    r.dz = along(r.d[2][0], r.d[2][1], r.d[2][2]);
    r.first = 4 * (long long)LANE(s.first, l);
    return r;
  }
  FN long long row_of(const Reach& r, int i, int j) {
    return r.first + 4 * (long long)(i * box.ny + j) * box.nz;
  }
  FN int active(int b) { return m.particles - b * W < W ? m.particles - b * W : W; }

  // The affine field that a particle gives to its nodes: value + A d, four numbers a node.
  struct Affine {
    Row value, x, y;
  };
  FN Affine affine(const Reach& r, const F* v, const Mat& A, real fourth, int l) {
    const F* a = A.a;
    return Affine{repeat(LANE(v[0], l), LANE(v[1], l), LANE(v[2], l), fourth) +
                      r.dz * repeat(LANE(a[2], l), LANE(a[5], l), LANE(a[8], l), real(0)),
                  repeat(LANE(a[0], l), LANE(a[3], l), LANE(a[6], l), real(0)),
                  repeat(LANE(a[1], l), LANE(a[4], l), LANE(a[7], l), real(0))};
  }

  // ------------------------------------------------------------------------------------- transfers

  // From particles to the grid: momentum and mass. `answer` receives every block's response and A.
  template <class Answer>
  FN void to_grid(real* state, Answer&& answer) {
    clear(node);
    SYNC();
    EACH(b, blocks) {
      const F* p = part(state, STATE, b);
      Mat Fe, tau;
      Principal axes{};
      respond(m, matrix(p + AT_F), Fe, tau, axes);
      const Mat A = matrix(p + AT_C) * F(m.mass) + tau * F(load_of_stress);
      answer(b, Fe, A, axes);
      const F momentum[3] = {p[AT_V] * m.mass, p[AT_V + 1] * m.mass, p[AT_V + 2] * m.mass};
      const Stencil s = stencil(p + AT_X);
      for (int l = 0; l < active(b); ++l) {
        const Reach r = reach(s, l);
        const Affine q = affine(r, momentum, A, m.mass, l);
        for (int i = 0; i < 3; ++i) {
          const Row wi = r.wz * r.w[0][i], qi = (q.value + q.x * r.d[0][i]) * wi, yi = q.y * wi;
          for (int j = 0; j < 3; ++j)
            add_row(node + row_of(r, i, j), qi * r.w[1][j] + yi * (r.w[1][j] * r.d[1][j]));
        }
      }
    }
    SYNC();
  }

  // Sums of w g and w g d^T over a particle's nodes, four numbers each.
  struct Moments {
    Four value, x, y, z;
  };
  FN Moments moments(const Reach& r, const real* grid) {
    Row value{}, x{}, y{};
    for (int i = 0; i < 3; ++i) {
      Row sum{}, lever{};
      for (int j = 0; j < 3; ++j) {
        const Row g = load(grid + row_of(r, i, j));
        sum = sum + g * r.w[1][j];
        lever = lever + g * (r.w[1][j] * r.d[1][j]);
      }
      value = value + sum * r.w[0][i];
      x = x + sum * (r.w[0][i] * r.d[0][i]);
      y = y + lever * r.w[0][i];
    }
    value = value * r.wz;
    return Moments{fold(value), fold(x * r.wz), fold(y * r.wz), fold(value * r.dz)};
  }
  FN F clamped(F x, int cells) {
    return MIN(MAX(x, F(real(0.5) * m.dx)), F((real(cells) - real(0.5)) * m.dx));
  }

  // From the grid to the particles: velocities. F is elastic here.
  FN void from_grid(real* state) {
    const int cells[3] = {m.nx, m.ny, m.nz};
    EACH(b, blocks) {
      F* p = part(state, STATE, b);
      const Stencil s = stencil(p + AT_X);
      for (int l = 0; l < active(b); ++l) {
        const Reach r = reach(s, l);
        const Moments g = moments(r, moving);
        const real v[3] = {g.value.x, g.value.y, g.value.z};
        const real C[9] = {g.x.x, g.y.x, g.z.x, g.x.y, g.y.y, g.z.y, g.x.z, g.y.z, g.z.z};
        for (int j = 0; j < 3; ++j) LANE(p[AT_V + j], l) = v[j];
        for (int j = 0; j < 9; ++j) LANE(p[AT_C + j], l) = stiffening * C[j];
      }
      const Mat C = matrix(p + AT_C), Fe = matrix(p + AT_F);
      put(Fe + C * Fe * F(m.dt), p + AT_F);
      for (int a = 0; a < 3; ++a) p[AT_X + a] = clamped(p[AT_X + a] + p[AT_V + a] * m.dt, cells[a]);
    }
    SYNC();
  }
};
