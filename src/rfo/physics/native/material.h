#pragma once
// Constitutive laws of particles.
//
// A law takes the deformation gradient F before plastic flow to the elastic one, Fe, and to the
// Kirchhoff stress tau:
//
//   PLASTICINE   Hencky strain e_i = log s_i of the singular values s, von Mises return mapping of
//                its deviator d:
//                e' = tr(e)/3 + k d, k = min(1, yield / (2 mu |d|));
//                tau_i = 2 mu e'_i + lambda tr(e)
//   FLUID        tau = lambda J (J - 1) I; of F only J = det F is kept: Fe = diag(J, 1, 1)
//   NEO_HOOKEAN  tau = mu (b - I) + lambda log(J) I,   b = F F^T
//   COROTATED    tau_i = 2 mu (s_i^2 - s_i) + lambda J (J - 1)
//
// PLASTICINE and COROTATED are isotropic functions of b = U diag(l) U^T, l_i = s_i^2:
// tau = U diag(t) U^T, and Fe = (I + U diag(g) U^T) F. So one decomposition serves everything, and
// the adjoint needs only the divided differences (t_i - t_j) / (l_i - l_j) and those of g, in
// closed forms whose limit is that at l_i = l_j. An inverted F has its smallest s negative;
// PLASTICINE takes s of at least LEAST.

#include "material_model.h"

constexpr int PLASTICINE = 0, FLUID = 1, NEO_HOOKEAN = 2, COROTATED = 3;
constexpr real LEAST = real(0.01);

struct Mat {
  F a[9];  // rows
  FN Mat operator*(const Mat& o) const {
    Mat r;
    for (int i = 0; i < 9; i += 3)
      for (int j = 0; j < 3; ++j)
        r.a[i + j] = a[i] * o.a[j] + a[i + 1] * o.a[3 + j] + a[i + 2] * o.a[6 + j];
    return r;
  }
  FN Mat operator+(const Mat& o) const {
    Mat r;
    for (int i = 0; i < 9; ++i) r.a[i] = a[i] + o.a[i];
    return r;
  }
  FN Mat operator*(F s) const {
    Mat r;
    for (int i = 0; i < 9; ++i) r.a[i] = a[i] * s;
    return r;
  }
  FN Mat transposed() const { return {{a[0], a[3], a[6], a[1], a[4], a[7], a[2], a[5], a[8]}}; }
  // d det / d F
  FN Mat cofactors() const {
    return {{a[4] * a[8] - a[5] * a[7], a[5] * a[6] - a[3] * a[8], a[3] * a[7] - a[4] * a[6],
             a[2] * a[7] - a[1] * a[8], a[0] * a[8] - a[2] * a[6], a[1] * a[6] - a[0] * a[7],
             a[1] * a[5] - a[2] * a[4], a[2] * a[3] - a[0] * a[5], a[0] * a[4] - a[1] * a[3]}};
  }
  FN F det() const {
    return a[0] * (a[4] * a[8] - a[5] * a[7]) + a[1] * (a[5] * a[6] - a[3] * a[8]) +
           a[2] * (a[3] * a[7] - a[4] * a[6]);
  }
  FN F trace() const { return a[0] + a[4] + a[8]; }
};
FN Mat diagonal(F x, F y, F z) { return Mat{{x, F(0), F(0), F(0), y, F(0), F(0), F(0), z}}; }

// In single precision the polynomials of the Cephes library (1e-7), since the compiler knows no
// vector version.
FN F log_lanes(F x) {
#if LANES == 1
  return log(x);
#else
  if (sizeof(real) == 8) return __builtin_elementwise_log(x);
  typedef decltype(x < x) Bits;
  Bits exponent = ((Bits)x - 0x3f3504f3) >> 23;
  F f = (F)((Bits)x - (exponent << 23)) - real(1), e = __builtin_convertvector(exponent, F),
    f2 = f * f;
  F p = F(real(7.0376836292e-2));
  const real terms[8] = {real(-1.1514610310e-1), real(1.1676998740e-1),  real(-1.2420140846e-1),
                         real(1.4249322787e-1),  real(-1.6668057665e-1), real(2.0000714765e-1),
                         real(-2.4999993993e-1), real(3.3333331174e-1)};
  for (int i = 0; i < 8; ++i) p = p * f + terms[i];
  return f + (f * f2 * p - real(2.12194440e-4) * e - real(0.5) * f2) + real(0.693359375) * e;
#endif
}
FN F exp_lanes(F x) {
#if LANES == 1
  return exp(x);
#else
  if (sizeof(real) == 8) return __builtin_elementwise_exp(x);
  typedef decltype(x < x) Bits;
  x = MAX(MIN(x, F(real(88))), F(real(-87)));
  F n = __builtin_elementwise_floor(x * real(1.44269504088896341) + real(0.5));
  F r = x - n * real(0.693359375) + n * real(2.12194440e-4);
  F p = F(real(1.9875691500e-4));
  const real terms[5] = {real(1.3981999507e-3), real(8.3334519073e-3), real(4.1665795894e-2),
                         real(1.6666665459e-1), real(5.0000001201e-1)};
  for (int i = 0; i < 5; ++i) p = p * r + terms[i];
  return (p * r * r + r + real(1)) * (F)((__builtin_convertvector(n, Bits) + 127) << 23);
#endif
}

struct Principal {
  Mat U;   // eigenvectors of b in columns
  F l[3];  // its eigenvalues
};

// Jacobi's method for the eigenvalues of b.
FN Principal principal(const Mat& B) {
  constexpr int sweeps = sizeof(real) >= 8 ? 6 : 4;
  const F tiny = F(real(1e-30));
  // o[r] couples the two axes other than r
  F d[3] = {B.a[0], B.a[4], B.a[8]}, o[3] = {B.a[5], B.a[2], B.a[1]};
  Principal result{diagonal(F(1), F(1), F(1)), {}};
  F* U = result.U.a;
  for (int turn = 0; turn < 3 * sweeps; ++turn) {
    const int r = 2 - turn % 3, p = r == 0 ? 1 : 0, q = r == 2 ? 1 : 2;
    const F h = d[q] - d[p], twice = o[r] + o[r];
    const F root = SQRT(h * h + twice * twice + tiny);
    const F t = twice / (h < F(0) ? h - root : h + root);
    const F c = F(1) / SQRT(t * t + F(1)), s = t * c;
    d[p] -= t * o[r];
    d[q] += t * o[r];
    o[r] = F(0);
    const F op = o[p], oq = o[q];  // o[q] couples p with r, o[p] couples q with r
    o[q] = c * oq - s * op;
    o[p] = s * oq + c * op;
    for (int i = 0; i < 9; i += 3) {
      const F up = U[i + p], uq = U[i + q];
      U[i + p] = c * up - s * uq;
      U[i + q] = s * up + c * uq;
    }
  }
  for (int i = 0; i < 3; ++i) result.l[i] = MAX(d[i], F(real(1e-12)));
  return result;
}
FN Mat conjugated(const Mat& U, const Mat& A) { return U * A * U.transposed(); }

// Singular values, the smallest one with the sign of det F.
FN void singular_values(const F* l, F sign, F* s) {
  const auto first = (l[0] <= l[1]) & (l[0] <= l[2]);
  const auto second = (l[1] < l[0]) & (l[1] <= l[2]);
  const auto third = (l[2] < l[0]) & (l[2] < l[1]);
  s[0] = SQRT(l[0]) * (first ? sign : F(1));
  s[1] = SQRT(l[1]) * (second ? sign : F(1));
  s[2] = SQRT(l[2]) * (third ? sign : F(1));
}

// The return mapping in principal axes.
struct Flow {
  F s[3], e[3], d[3];  // singular values, strain (of at least LEAST), its deviator
  F volumetric;        // tr(e)
  F size, k;           // |d|, and the factor k
  F g[3];              // Fe = (1 + g) F
};
FN Flow flow(const Material& m, const Principal& p, F sign) {
  Flow f;
  singular_values(p.l, sign, f.s);
  for (int i = 0; i < 3; ++i)
    f.e[i] = f.s[i] > F(LEAST) ? F(real(0.5)) * log_lanes(p.l[i]) : log_lanes(F(LEAST));
  f.volumetric = f.e[0] + f.e[1] + f.e[2];
  for (int i = 0; i < 3; ++i) f.d[i] = f.e[i] - f.volumetric * real(1.0 / 3);
  f.size = SQRT(f.d[0] * f.d[0] + f.d[1] * f.d[1] + f.d[2] * f.d[2]);
  const F most = F(m.yield / (2 * m.mu));
  f.k = f.size > most ? most / MAX(f.size, F(real(1e-20))) : F(1);
  for (int i = 0; i < 3; ++i) {
    const F plastic = exp_lanes((f.k - F(1)) * f.d[i]);
    f.g[i] = (f.s[i] > F(LEAST) ? plastic : plastic * F(LEAST) / f.s[i]) - F(1);
  }
  return f;
}

// Computes Fe, tau and, where the law needs it, the decomposition.
FN void respond(const Material& m, const Mat& A, Mat& Fe, Mat& tau, Principal& p) {
  const F mu = F(m.mu), lambda = F(m.lambda);
  Fe = A;
  if (m.law == FLUID) {
    const F J = A.det(), pressure = lambda * J * (J - F(1));
    Fe = diagonal(J, F(1), F(1));
    tau = diagonal(pressure, pressure, pressure);
    return;
  }
  const Mat b = A * A.transposed();
  if (m.law == NEO_HOOKEAN) {
    const F rest = lambda * log_lanes(MAX(A.det(), F(LEAST))) - mu;
    tau = b * mu + diagonal(rest, rest, rest);
    return;
  }
  p = principal(b);
  const F sign = A.det() < F(0) ? F(-1) : F(1);
  F t[3];
  if (m.law == PLASTICINE) {
    const Flow f = flow(m, p, sign);
    for (int i = 0; i < 3; ++i)
      t[i] = F(2) * mu * (f.volumetric * real(1.0 / 3) + f.k * f.d[i]) + lambda * f.volumetric;
    Fe = A + conjugated(p.U, diagonal(f.g[0], f.g[1], f.g[2])) * A;
  } else {
    F s[3];
    singular_values(p.l, sign, s);
    const F J = s[0] * s[1] * s[2];
    for (int i = 0; i < 3; ++i) t[i] = F(2) * mu * (p.l[i] - s[i]) + lambda * J * (J - F(1));
  }
  tau = conjugated(p.U, diagonal(t[0], t[1], t[2]));
}

// Quotient of differences, or its limit where a and b are nearly equal.
FN F quotient(F difference, F a, F b, F limit) {
  const auto equal = magnitude(a - b) < (a + b) * real(sizeof(real) >= 8 ? 1e-12 : 1e-6);
  return equal ? limit : difference / (equal ? F(1) : a - b);
}

// For PLASTICINE. T and G are the adjoints of tau and of U diag(g) U^T in principal axes; returns
// that of b.
FN Mat flow_adjoint(const Material& m, const Principal& p, F sign, const Mat& T, const Mat& G) {
  const Flow f = flow(m, p, sign);
  const F third = F(real(1.0 / 3)), mu2 = F(2 * m.mu);
  F dir[3], ge1[3], along = F(0), sum = F(0);
  const F yields = f.k < F(1) ? F(1) : F(0);
  const F trace = T.trace();
  for (int i = 0; i < 3; ++i) {
    dir[i] = f.d[i] / MAX(f.size, F(real(1e-20)));
    ge1[i] = mu2 * T.a[4 * i] + G.a[4 * i] * (f.g[i] + F(1));  // adjoint of e'_i
    along += ge1[i] * dir[i];
    sum += ge1[i];
  }
  Mat B;
  for (int i = 0; i < 3; ++i) {
    const F to_e =
        F(m.lambda) * trace + sum * third + f.k * (ge1[i] - sum * third - yields * along * dir[i]);
    const F free = f.s[i] > F(LEAST) ? F(1) : F(0);
    B.a[4 * i] = (free * to_e - G.a[4 * i] * (f.g[i] + F(1))) / (F(2) * p.l[i]);
  }
  for (int r = 0; r < 3; ++r) {
    const int i = r == 0 ? 1 : 0, j = r == 2 ? 1 : 2;
    const F a = p.l[i], b = p.l[j], mean = F(2) / (a + b);
    const F w = (a - b) / (a + b), w2 = w * w;
    const auto near = w2 < F(real(0.0025));
    const auto regular = (f.s[i] > F(LEAST)) & (f.s[j] > F(LEAST));
    // (log a - log b) / (a - b) / 2 = atanh(w) / w / (a + b)
    const F atanh_ratio =
        F(1) + w2 * (F(real(1.0 / 3)) +
                     w2 * (F(real(0.2)) + w2 * (F(real(1.0 / 7)) + w2 * real(1.0 / 9))));
    const F far = (f.e[i] - f.e[j]) / (near ? F(1) : a - b);
    const F de = (regular & near) ? F(real(0.5)) * mean * atanh_ratio
                 : near           ? quotient(f.e[i] - f.e[j], a, b, F(0))
                                  : far;
    // (exp(c e_i) - exp(c e_j)) / (e_i - e_j) = c sqrt(g_i g_j) sinh(h)/h,  h = c (e_i - e_j)/2
    const F c = f.k - F(1), h = c * (f.e[i] - f.e[j]) * real(0.5), h2 = h * h;
    const F sinh_ratio =
        F(1) + h2 * (F(real(1.0 / 6)) + h2 * (F(real(1.0 / 120)) + h2 * real(1.0 / 5040)));
    const F root = SQRT(MAX((f.g[i] + F(1)) * (f.g[j] + F(1)), F(0)));
    const F limit = (f.g[i] + f.g[j] + F(2)) * real(-0.25) / a;
    const F dg =
        (regular & near) ? c * root * sinh_ratio * de : quotient(f.g[i] - f.g[j], a, b, limit);
    B.a[3 * i + j] = B.a[3 * j + i] = T.a[3 * i + j] * mu2 * f.k * de + G.a[3 * i + j] * dg;
  }
  return B;
}

// The same for COROTATED.
FN Mat corotated_adjoint(const Material& m, const Principal& p, F sign, const Mat& T) {
  F s[3];
  singular_values(p.l, sign, s);
  const F J = s[0] * s[1] * s[2], mu2 = F(2 * m.mu);
  const F to_J = F(m.lambda) * (F(2) * J - F(1)) * T.trace();
  Mat B;
  for (int i = 0; i < 3; ++i)
    B.a[4 * i] = mu2 * T.a[4 * i] * (F(1) - real(0.5) / s[i]) + to_J * J / (F(2) * p.l[i]);
  for (int r = 0; r < 3; ++r) {
    const int i = r == 0 ? 1 : 0, j = r == 2 ? 1 : 2;
    B.a[3 * i + j] = B.a[3 * j + i] = T.a[3 * i + j] * mu2 * (F(1) - F(1) / (s[i] + s[j]));
  }
  return B;
}

// Adjoint of `respond`: that of F, given those of Fe and tau and the decomposition found there.
FN Mat respond_adjoint(const Material& m, const Mat& A, const Principal& p, const Mat& gFe,
                       const Mat& gtau) {
  const F mu = F(m.mu), lambda = F(m.lambda);
  if (m.law == FLUID) {
    const F J = A.det();
    return A.cofactors() * (lambda * (F(2) * J - F(1)) * gtau.trace() + gFe.a[0]);
  }
  const Mat T = (gtau + gtau.transposed()) * F(real(0.5));
  if (m.law == NEO_HOOKEAN) {
    const F J = A.det();
    const F to_J = J > F(LEAST) ? lambda * gtau.trace() / MAX(J, F(LEAST)) : F(0);
    return gFe + T * A * (F(2) * mu) + A.cofactors() * to_J;
  }
  const Mat V = p.U.transposed(), Tp = conjugated(V, T);
  const F sign = A.det() < F(0) ? F(-1) : F(1);
  if (m.law == COROTATED)
    return gFe + conjugated(p.U, corotated_adjoint(m, p, sign, Tp)) * A * F(2);
  const Flow f = flow(m, p, sign);
  const Mat G = gFe * A.transposed();
  const Mat Gp = conjugated(V, (G + G.transposed()) * F(real(0.5)));
  return gFe + conjugated(p.U, diagonal(f.g[0], f.g[1], f.g[2])) * gFe +
         conjugated(p.U, flow_adjoint(m, p, sign, Tp, Gp)) * A * F(2);
}

// Adjoints of a law's constants.
struct ModuliAdjoint {
  F mu, lambda, yield;
};
FN ModuliAdjoint moduli_adjoint(const Material& m, const Mat& A, const Principal& p, const Mat& gFe,
                                const Mat& gtau) {
  const F J = A.det(), trace = gtau.trace(), none = F(0);
  if (m.law == FLUID) return {none, J * (J - F(1)) * trace, none};
  const Mat T = (gtau + gtau.transposed()) * F(real(0.5));
  if (m.law == NEO_HOOKEAN)
    return {(T * (A * A.transposed())).trace() - trace, log_lanes(MAX(J, F(LEAST))) * trace, none};
  const Mat V = p.U.transposed(), Tp = conjugated(V, T);
  const F sign = J < none ? F(-1) : F(1);
  F to_mu = none;
  if (m.law == COROTATED) {
    F s[3];
    singular_values(p.l, sign, s);
    for (int i = 0; i < 3; ++i) to_mu += F(2) * (p.l[i] - s[i]) * Tp.a[4 * i];
    return {to_mu, J * (J - F(1)) * trace, none};
  }
  const Flow f = flow(m, p, sign);
  const Mat G = gFe * A.transposed();
  const Mat Gp = conjugated(V, (G + G.transposed()) * F(real(0.5)));
  F to_k = none;
  for (int i = 0; i < 3; ++i) {
    to_mu += F(2) * (f.volumetric * real(1.0 / 3) + f.k * f.d[i]) * Tp.a[4 * i];
    to_k += (F(2 * m.mu) * Tp.a[4 * i] + (f.g[i] + F(1)) * Gp.a[4 * i]) * f.d[i];
  }
  // where it yields, k = yield / (2 mu |d|)
  const F k_by_yield = f.k < F(1) ? F(1) / (F(2 * m.mu) * MAX(f.size, F(real(1e-20)))) : none;
  return {to_mu - to_k * k_by_yield * F(m.yield / m.mu), f.volumetric * trace, to_k * k_by_yield};
}
