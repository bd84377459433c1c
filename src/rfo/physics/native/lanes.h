#pragma once
// Numbers for W environments at once, and the vector algebra on them.
//
// A number `F` has W lanes. On the CPU it is a vector that the compiler keeps in vector registers;
// on CUDA W is 1. Whoever compiles this says which numbers and how many lanes (../native.py for
// Warp): REAL is `float` or `double`, LANES is W.

#ifndef CUDA_CALLABLE  // outside of Warp, as in an editor
#include <math.h>
#define CUDA_CALLABLE
#elif !defined(__CUDA_ARCH__)  // Warp only has C's functions
inline float sqrt(float x) { return sqrtf(x); }
inline float floor(float x) { return floorf(x); }
inline float exp(float x) { return expf(x); }
inline float log(float x) { return logf(x); }
inline float sin(float x) { return sinf(x); }
inline float cos(float x) { return cosf(x); }
#endif
#ifndef REAL
#define REAL float
#endif
#ifndef LANES
#define LANES 1
#endif
#define FN CUDA_CALLABLE inline

typedef REAL real;
constexpr int W = LANES;

// Returns b if a is not a number.
template <class T>
FN T smaller(T a, T b) {
  return a < b ? a : b;
}
template <class T>
FN T larger(T a, T b) {
  return a > b ? a : b;
}

#if LANES == 1
typedef real F;
#define LANE(x, l) (x)
#define SQRT(x) F(sqrt(x))
#define FLOOR(x) F(floor(x))
#define MIN(a, b) smaller<F>(a, b)
#define MAX(a, b) larger<F>(a, b)
#define ANY(mask) (mask)
#else
typedef real F __attribute__((ext_vector_type(LANES)));
#define LANE(x, l) (x)[l]
#define SQRT(x) __builtin_elementwise_sqrt(x)
#define FLOOR(x) __builtin_elementwise_floor(x)
#define MIN(a, b) __builtin_elementwise_min(a, b)
#define MAX(a, b) __builtin_elementwise_max(a, b)
#define ANY(mask) (__builtin_reduce_or(mask) != 0)
FN real magnitude(real x) { return larger(x, -x); }
#endif

FN F magnitude(F x) { return MAX(x, -x); }

template <class T>
struct Vector {
  T x, y, z;
  FN Vector operator+(const Vector& o) const { return {x + o.x, y + o.y, z + o.z}; }
  FN Vector operator-(const Vector& o) const { return {x - o.x, y - o.y, z - o.z}; }
  FN Vector operator*(T s) const { return {x * s, y * s, z * s}; }
  FN Vector cross(const Vector& o) const {
    return {y * o.z - z * o.y, z * o.x - x * o.z, x * o.y - y * o.x};
  }
  FN T dot(const Vector& o) const { return x * o.x + y * o.y + z * o.z; }
};
typedef Vector<F> V3;
typedef Vector<real> R3;  // the number of one environment

struct Quat {
  F x, y, z, w;
  FN Quat operator*(const Quat& o) const {
    return {w * o.x + x * o.w + y * o.z - z * o.y, w * o.y - x * o.z + y * o.w + z * o.x,
            w * o.z + x * o.y - y * o.x + z * o.w, w * o.w - x * o.x - y * o.y - z * o.z};
  }
  FN Quat operator+(const Quat& o) const { return {x + o.x, y + o.y, z + o.z, w + o.w}; }
  FN Quat operator*(F s) const { return {x * s, y * s, z * s, w * s}; }
  FN F dot(const Quat& o) const { return x * o.x + y * o.y + z * o.z + w * o.w; }
  FN Quat conjugate() const { return {-x, -y, -z, w}; }
  FN Quat unit() const { return *this * (F(1) / SQRT(dot(*this))); }
  FN V3 vector() const { return {x, y, z}; }
  FN V3 rotate(const V3& v) const {
    V3 u{x, y, z};
    V3 t = u.cross(v) * F(2);
    return v + t * w + u.cross(t);
  }
};

// Symmetric 3 x 3 matrix.
struct Sym {
  F xx, yy, zz, xy, xz, yz;
  FN V3 operator*(const V3& v) const {
    return {xx * v.x + xy * v.y + xz * v.z, xy * v.x + yy * v.y + yz * v.z,
            xz * v.x + yz * v.y + zz * v.z};
  }
  FN Sym operator+(const Sym& o) const {
    return {xx + o.xx, yy + o.yy, zz + o.zz, xy + o.xy, xz + o.xz, yz + o.yz};
  }
};

// Motion (angular, linear) or force (moment, force), about the tree's origin.
struct Spatial {
  V3 a, l;
  FN Spatial operator+(const Spatial& o) const { return {a + o.a, l + o.l}; }
  FN Spatial operator-(const Spatial& o) const { return {a - o.a, l - o.l}; }
  FN Spatial operator*(F s) const { return {a * s, l * s}; }
  FN F dot(const Spatial& o) const { return a.dot(o.a) + l.dot(o.l); }
  // rate of a motion vector carried along by this motion
  FN Spatial cross_motion(const Spatial& o) const {
    return {a.cross(o.a), a.cross(o.l) + l.cross(o.a)};
  }
  // rate of a force vector carried along by this motion;
  // f.dot(X.cross_motion(m)) == X.dot(m.cross_force(f))
  FN Spatial cross_force(const Spatial& f) const {
    return {a.cross(f.a) + l.cross(f.l), a.cross(f.l)};
  }
};

struct Inertia {
  F mass;
  V3 moment;  // mass times centre of mass
  Sym rotational;
  FN Inertia operator+(const Inertia& o) const {
    return {mass + o.mass, moment + o.moment, rotational + o.rotational};
  }
  FN Spatial operator*(const Spatial& m) const {
    return {rotational * m.a + moment.cross(m.l), m.l * mass - moment.cross(m.a)};
  }
};

template <class P>
FN V3 broadcast(const P& v) {
  return {F(v[0]), F(v[1]), F(v[2])};
}
FN Quat quat_of(const real* t) { return {F(t[0]), F(t[1]), F(t[2]), F(t[3])}; }  // (x, y, z, w)

// Sine and cosine. In single precision a Cody-Waite reduction and the minimax polynomials of the
// Cephes library, good to 1e-7 for |x| < 8192, since the compiler knows no vector version.
FN void sincos_lanes(F x, F& sine, F& cosine) {
#if LANES == 1
  sine = sin(x);
  cosine = cos(x);
#else
  if (sizeof(real) == 8) {
    sine = __builtin_elementwise_sin(x);
    cosine = __builtin_elementwise_cos(x);
    return;
  }
  F n = __builtin_elementwise_rint(x * real(0.636619772367581));
  F r = ((x - n * real(1.5703125)) - n * real(4.837512969970703125e-4)) -
        n * real(7.5497899548918821e-8);
  F r2 = r * r;
  F s =
      r +
      r * r2 * (real(-1.6666654611e-1) + r2 * (real(8.3321608736e-3) - r2 * real(1.9515295891e-4)));
  F c = real(1) - real(0.5) * r2 +
        r2 * r2 *
            (real(4.166664568298827e-2) +
             r2 * (real(-1.388731625493765e-3) + r2 * real(2.443315711809948e-5)));
  F quarter = n - real(4) * __builtin_elementwise_floor(n * real(0.25));  // 0, 1, 2, 3
  auto odd = (quarter == real(1)) | (quarter == real(3));
  F s1 = odd ? c : s;
  F c1 = odd ? s : c;
  sine = (quarter >= real(2)) ? -s1 : s1;
  cosine = ((quarter == real(1)) | (quarter == real(2))) ? -c1 : c1;
#endif
}
