#pragma once
// Adjoint of one control step. Its substeps run again and their particles are kept. Then they run
// backwards, and each makes its grid again.

#include "mpm_tools.h"

constexpr int CACHE = 30;  // numbers of a particle: Fe, A, axes and eigenvalues of b

FN void plus(real* to, const R3& v) {
  ADD(to[0], v.x);
  ADD(to[1], v.y);
  ADD(to[2], v.z);
}
FN void plus_outer(real* to, const R3& u, const R3& v) {
  plus(to, v * u.x);
  plus(to + 3, v * u.y);
  plus(to + 6, v * u.z);
}

struct Adjoint : Tools {
  real* const states = take<real>((m.substeps + 1) * STATE * padded);
  real* const adj = take<real>(STATE * padded);
  real* const cache = take<real>(CACHE * padded);
  real* const gnode = take<real>(grid_numbers);  // adjoint of `moving`, then of `node`
  // adjoint of a substep's frames now (rows of R, p) and of their change
  real* const gshape = take<real>(24 * m.shapes);
  R3* const before = take<R3>(m.shapes + 1);
  real* g_pose = nullptr;
  // adjoint of the parameters, this thread's share of it
  real shares[MOST_PARAMETERS]{};
  const Parameters credit{{shares}};
  using Tools::Tools;

  // ------------------------------------------------------------------------------------- tools

  // Adjoint of `touch`: returns that of v, and adds to those of the shape's frames.
  FN R3 touch_adjoint(const Shape& s, const R3& at, const R3& v, const R3& g, real* gs) {
    const R3 x = s.now.R.back(at - s.now.p);
    const Surface f = surface(s, x);
    if (!(f.d < m.halo)) return g;
    const real h = influence(f.d);
    const R3 n = s.now.R * f.n;
    const R3 b = (s.change.R * x + s.change.p) * (1 / m.dt);
    const R3 r = v - b;
    R3 t = r, gr = g, gn{0, 0, 0};
    if (r.dot(n) < 0) {
      t = slide(r, n, m.friction);
      gr = g * (1 - h) + slide_adjoint(r, n, m.friction, g * h, gn);
      if (VARIES) *credit.friction += slide_by_friction(r, n, m.friction, g * h);
    }
    const R3 gb = (g - gr) * (1 / m.dt);
    const real gd = f.d > 0 ? -m.softness * (h + m.cut / (1 - m.cut)) * g.dot(t - r) : real(0);
    const R3 gnl = s.now.R.back(gn);
    // the normal turns with x: (free - n n^T) / distance
    const R3 across = R3{f.free.x * gnl.x, f.free.y * gnl.y, f.free.z * gnl.z} - f.n * f.n.dot(gnl);
    const R3 gx = s.change.R.back(gb) + f.n * gd + across * f.reciprocal;
    plus_outer(gs, gn, f.n);
    plus_outer(gs, at - s.now.p, gx);
    plus(gs + 9, s.now.R * gx * real(-1));
    plus_outer(gs + 12, gb, x);
    plus(gs + 21, gb);
    return gr;
  }

  FN R3 walls_adjoint(R3 v, int i, int j, int k, R3 g) {
    const bool stop_x = (i < m.wall && v.x < 0) || (i > m.nx - m.wall && v.x > 0);
    const bool stop_y = (j < m.wall && v.y < 0) || (j > m.ny - m.wall && v.y > 0);
    if (stop_x) v.x = 0;
    if (stop_y) v.y = 0;
    if (k > m.nz - m.wall && v.z > 0) g.z = 0;
    R3 g_up;
    if (k < m.wall && v.z < 0) {
      if (VARIES) *credit.ground_friction += slide_by_friction(v, up, m.ground_friction, g);
      g = slide_adjoint(v, up, m.ground_friction, g, g_up);
    }
    return R3{stop_x ? 0 : g.x, stop_y ? 0 : g.y, g.z};
  }

  // Turns the adjoint of the velocities in place into that of momentum and mass, and adds to those
  // of the tools' frames.
  FN void grid_adjoint() {
    EACH(ij, box.nx * box.ny) {
      const int i = ij / box.ny, j = ij % box.ny;
      for (int k = 0; k < box.nz; ++k) {
        const real* n = node + 4 * (ij * box.nz + k);
        real* to = gnode + 4 * (ij * box.nz + k);
        R3 g = r3(to);
        if (!(n[3] > LEAST_MASS)) {
          for (int a = 0; a < 4; ++a) to[a] = real(0);
          continue;
        }
        const R3 free = free_flight(n), at = node_at(i, j, k);
#if TEAM > 1
        R3 v = free;  // each finds again what touched before it
        for (int s = 0; s < m.shapes; ++s)
          if (inside(shapes[s], i, j, k)) v = touch(shapes[s], at, v);
        g = walls_adjoint(v, box.x + i, box.y + j, box.z + k, g);
        for (int s = m.shapes - 1; s >= 0; --s)
          if (inside(shapes[s], i, j, k)) {
            v = free;
            for (int other = 0; other < s; ++other)
              if (inside(shapes[other], i, j, k)) v = touch(shapes[other], at, v);
            g = touch_adjoint(shapes[s], at, v, g, gshape + 24 * s);
          }
#else
        before[0] = free;
        for (int s = 0; s < m.shapes; ++s)
          before[s + 1] = inside(shapes[s], i, j, k) ? touch(shapes[s], at, before[s]) : before[s];
        g = walls_adjoint(before[m.shapes], box.x + i, box.y + j, box.z + k, g);
        for (int s = m.shapes - 1; s >= 0; --s)
          if (inside(shapes[s], i, j, k))
            g = touch_adjoint(shapes[s], at, before[s], g, gshape + 24 * s);
#endif
        if (VARIES) {
          credit.gravity[0] += g.x * m.dt;
          credit.gravity[1] += g.y * m.dt;
          credit.gravity[2] += g.z * m.dt;
        }
        const real inverse = 1 / n[3];
        to[0] = g.x * inverse;
        to[1] = g.y * inverse;
        to[2] = g.z * inverse;
        to[3] = -(n[0] * g.x + n[1] * g.y + n[2] * g.z) * inverse * inverse;
      }
    }
    SYNC();
  }

  // Turns the frames' adjoints into those of the poses before and after the substep.
  FN void pose_adjoint(int k, int body, const Turn& gR, const R3& gp) {
    real* to = g_pose + (((long long)pack * (m.substeps + 1) + k) * m.bodies + body) * 7;
    const real* q = pose_at(k, body);
    const real* a = gR.a;
    const real w = q[3], i = q[4], j = q[5], l = q[6];
    plus(to, gp);
    ADD(to[3], 2 * (-l * a[1] + j * a[2] + l * a[3] - i * a[5] - j * a[6] + i * a[7]));
    ADD(to[4], 2 * (j * a[1] + l * a[2] + j * a[3] - w * a[5] + l * a[6] + w * a[7] -
                    2 * i * (a[4] + a[8])));
    ADD(to[5], 2 * (i * a[1] + w * a[2] + i * a[3] + l * a[5] - w * a[6] + l * a[7] -
                    2 * j * (a[0] + a[8])));
    ADD(to[6], 2 * (-w * a[1] + i * a[2] + w * a[3] + j * a[5] + i * a[6] + j * a[7] -
                    2 * l * (a[0] + a[4])));
  }
  FN void tools_adjoint(int k) {
    EACH(i, m.shapes) {
      if (m.shape_body[i] < 0) continue;
      const real* g = gshape + 24 * i;
      const Pose local = to_pose(m.shape_pose + 7 * i);
      for (int after = 0; after < 2; ++after) {  // change = after - now
        Turn gR;
        for (int j = 0; j < 9; ++j) gR.a[j] = after ? g[12 + j] : g[j] - g[12 + j];
        const R3 gp = after ? r3(g + 21) : r3(g + 9) - r3(g + 21);
        // R = R_body R_local, p = p_body + R_body p_local
        Turn of_body = gR * local.R.transposed();
        const real u[3] = {gp.x, gp.y, gp.z}, v[3] = {local.p.x, local.p.y, local.p.z};
        for (int j = 0; j < 9; ++j) of_body.a[j] += u[j / 3] * v[j % 3];
        pose_adjoint(k + after, m.shape_body[i], of_body, gp);
      }
    }
    SYNC();
  }

  // ------------------------------------------------------------------------------------- transfers

  // Adjoint of `from_grid`. `adj` starts as that of the state after it. In the end its parts x and
  // F belong to x and Fe, and v to nothing.
  FN void from_grid_adjoint(real* state, real* after) {
    const int cells[3] = {m.nx, m.ny, m.nz};
    EACH(b, blocks) {
      const F* p = part(state, STATE, b);
      const F* p1 = part(after, STATE, b);
      F* g = part(adj, STATE, b);
      const Mat Fe = matrix(part(cache, CACHE, b)), gF = matrix(g + AT_F), C1 = matrix(p1 + AT_C);
      const Mat gC = (matrix(g + AT_C) + gF * Fe.transposed() * F(m.dt)) * F(stiffening);
      put(gF + C1.transposed() * gF * F(m.dt), g + AT_F);
      F gv[3];
      for (int a = 0; a < 3; ++a) {
        const F moved = p[AT_X + a] + p1[AT_V + a] * m.dt;
        g[AT_X + a] = clamped(moved, cells[a]) == moved ? g[AT_X + a] : F(0);
        gv[a] = g[AT_V + a] + g[AT_X + a] * m.dt;
      }
      for (int a = 0; a < 3; ++a)
        g[AT_X + a] -= gC.a[a] * p1[AT_V] + gC.a[3 + a] * p1[AT_V + 1] + gC.a[6 + a] * p1[AT_V + 2];
      const Stencil s = stencil(p + AT_X);
      for (int l = 0; l < active(b); ++l) {
        const Reach r = reach(s, l);
        const Affine q = affine(r, gv, gC, real(0), l);
        Row sx{}, sy{}, sz{};
        for (int i = 0; i < 3; ++i) {
          const Row qi = q.value + q.x * r.d[0][i], wi = r.wz * r.w[0][i];
          Row sum{}, slope{};
          for (int j = 0; j < 3; ++j) {
            const long long at = row_of(r, i, j);
            const Row shed = qi + q.y * r.d[1][j];
            const Row work = load(moving + at) * shed;
            sum = sum + work * r.w[1][j];
            slope = slope + work * r.slope[1][j];
            add_row(gnode + at, shed * wi * r.w[1][j]);
          }
          sx = sx + sum * r.slope[0][i];
          sy = sy + slope * r.w[0][i];
          sz = sz + sum * r.w[0][i];
        }
        LANE(g[AT_X], l) += sum(fold(sx * r.wz));
        LANE(g[AT_X + 1], l) += sum(fold(sy * r.wz));
        LANE(g[AT_X + 2], l) += sum(fold(sz * r.sz));
      }
    }
    SYNC();
  }

  // Adjoint of `to_grid` and of the response.
  FN void to_grid_adjoint(real* state) {
    EACH(b, blocks) {
      const F* p = part(state, STATE, b);
      const F* c = part(cache, CACHE, b);
      F* g = part(adj, STATE, b);
      const Mat Fb = matrix(p + AT_F);
      const Mat A = matrix(c + 9);
      const Principal axes{matrix(c + 18), {c[27], c[28], c[29]}};
      Mat gA{};
      const F momentum[3] = {p[AT_V] * m.mass, p[AT_V + 1] * m.mass, p[AT_V + 2] * m.mass};
      const Stencil s = stencil(p + AT_X);
      for (int l = 0; l < active(b); ++l) {
        const Reach r = reach(s, l);
        const Affine q = affine(r, momentum, A, m.mass, l);
        Row sx{}, sy{}, sz{}, value{}, x{}, y{};
        for (int i = 0; i < 3; ++i) {
          const Row qi = q.value + q.x * r.d[0][i];
          Row sum{}, slope{}, all{}, lever{};
          for (int j = 0; j < 3; ++j) {
            const Row given = load(gnode + row_of(r, i, j));
            const Row work = given * (qi + q.y * r.d[1][j]);
            sum = sum + work * r.w[1][j];
            slope = slope + work * r.slope[1][j];
            all = all + given * r.w[1][j];
            lever = lever + given * (r.w[1][j] * r.d[1][j]);
          }
          sx = sx + sum * r.slope[0][i];
          sy = sy + slope * r.w[0][i];
          sz = sz + sum * r.w[0][i];
          value = value + all * r.w[0][i];
          x = x + all * (r.w[0][i] * r.d[0][i]);
          y = y + lever * r.w[0][i];
        }
        value = value * r.wz;
        const Four v = fold(value), ax = fold(x * r.wz), ay = fold(y * r.wz),
                   az = fold(value * r.dz);
        const real gv[3] = {v.x, v.y, v.z};
        const real ga[9] = {ax.x, ay.x, az.x, ax.y, ay.y, az.y, ax.z, ay.z, az.z};
        LANE(g[AT_X], l) += sum(fold(sx * r.wz));
        LANE(g[AT_X + 1], l) += sum(fold(sy * r.wz));
        LANE(g[AT_X + 2], l) += sum(fold(sz * r.sz));
        for (int j = 0; j < 3; ++j) LANE(g[AT_V + j], l) = gv[j];
        for (int j = 0; j < 9; ++j) LANE(gA.a[j], l) = ga[j];
        if (VARIES) {
          *credit.mass += v.w;
          for (int a = 0; a < 3; ++a) *credit.mass += gv[a] * LANE(p[AT_V + a], l);
          for (int j = 0; j < 9; ++j) *credit.mass += ga[j] * LANE(p[AT_C + j], l);
        }
      }
      if (VARIES) {
        const ModuliAdjoint moduli =
            moduli_adjoint(m, Fb, axes, matrix(g + AT_F), gA * F(load_of_stress));
        for (int l = 0; l < active(b); ++l) {
          *credit.mu += LANE(moduli.mu, l);
          *credit.lambda += LANE(moduli.lambda, l);
          *credit.yield += LANE(moduli.yield, l);
        }
      }
      for (int a = 0; a < 3; ++a)
        g[AT_X + a] -= A.a[a] * g[AT_V] + A.a[3 + a] * g[AT_V + 1] + A.a[6 + a] * g[AT_V + 2];
      for (int a = 0; a < 3; ++a) g[AT_V + a] *= m.mass;
      put(gA * F(m.mass), g + AT_C);
      put(respond_adjoint(m, Fb, axes, matrix(g + AT_F), gA * F(load_of_stress)), g + AT_F);
    }
    SYNC();
  }

  FN void substep_adjoint(real* state, real* after, int k) {
    enclose(state);
    to_grid(state, [&](int b, const Mat& Fe, const Mat& A, const Principal& axes) {
      F* c = part(cache, CACHE, b);
      put(Fe, c);
      put(A, c + 9);
      put(axes.U, c + 18);
      for (int j = 0; j < 3; ++j) c[27 + j] = axes.l[j];
    });
    move_grid(k);
    clear(gnode);
    EACH(i, 24 * m.shapes) gshape[i] = real(0);
    SYNC();
    from_grid_adjoint(state, after);
    grid_adjoint();
    tools_adjoint(k);
    to_grid_adjoint(state);
  }

#ifdef PARAMETERS
  FN void run(const real* x_in, const real* v_in, const real* c_in, const real* f_in,
              const real* pose_in, const real* parameters, const real* g_x_out, const real* g_v_out,
              const real* g_c_out, const real* g_f_out, real* g_x, real* g_v, real* g_c, real* g_f,
              real* g_pose_out, real* g_parameters) {
    m.receive(parameters, pack);
    run(x_in, v_in, c_in, f_in, pose_in, g_x_out, g_v_out, g_c_out, g_f_out, g_x, g_v, g_c, g_f,
        g_pose_out);
    const int numbers = parameter_numbers();
    real* const whole = g_parameters + (long long)pack * numbers;
    EACH(j, numbers) whole[j] = real(0);
    SYNC();
    for (int j = 0; j < numbers; ++j) ADD(whole[j], shares[j]);
  }
#endif
  FN void run(const real* x_in, const real* v_in, const real* c_in, const real* f_in,
              const real* pose_in, const real* g_x_out, const real* g_v_out, const real* g_c_out,
              const real* g_f_out, real* g_x, real* g_v, real* g_c, real* g_f, real* g_pose_out) {
    pose = pose_in;
    g_pose = g_pose_out;
    sort(x_in + (long long)pack * m.particles * 3);
    gather(x_in, 3, states, AT_X);
    gather(v_in, 3, states, AT_V);
    gather(c_in, 9, states, AT_C);
    gather(f_in, 9, states, AT_F);
    gather(g_x_out, 3, adj, AT_X);
    gather(g_v_out, 3, adj, AT_V);
    gather(g_c_out, 9, adj, AT_C);
    gather(g_f_out, 9, adj, AT_F);
    const int pose_numbers = (m.substeps + 1) * m.bodies * 7;
    EACH(i, pose_numbers) g_pose[(long long)pack * pose_numbers + i] = real(0);
    SYNC();
    auto at_substep = [&](int k) { return states + (long long)k * STATE * padded; };
    for (int k = 0; k < m.substeps; ++k) {
      EACH(i, STATE * padded) at_substep(k + 1)[i] = at_substep(k)[i];
      SYNC();
      substep(at_substep(k + 1), k);
    }
    for (int k = m.substeps - 1; k >= 0; --k) substep_adjoint(at_substep(k), at_substep(k + 1), k);
    scatter(adj, AT_X, 3, g_x);
    scatter(adj, AT_V, 3, g_v);
    scatter(adj, AT_C, 9, g_c);
    scatter(adj, AT_F, 9, g_f);
  }
};
