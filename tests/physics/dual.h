#pragma once
// Numbers with a derivative: a + d eps, eps^2 = 0. As REAL of the native headers they carry a
// tangent through any function.

struct Dual {
  double a, d;
  constexpr CUDA_CALLABLE Dual(double a = 0, double d = 0) : a(a), d(d) {}
  explicit operator int() const { return (int)a; }
  explicit operator long long() const { return (long long)a; }
  Dual operator-() const { return {-a, -d}; }
  Dual& operator+=(Dual o) { return *this = {a + o.a, d + o.d}; }
  Dual& operator-=(Dual o) { return *this = {a - o.a, d - o.d}; }
  Dual& operator*=(Dual o) { return *this = {a * o.a, a * o.d + d * o.a}; }
  Dual& operator/=(Dual o) { return *this = {a / o.a, (d - a / o.a * o.d) / o.a}; }
};
inline Dual operator+(Dual x, Dual y) { return x += y; }
inline Dual operator-(Dual x, Dual y) { return x -= y; }
inline Dual operator*(Dual x, Dual y) { return x *= y; }
inline Dual operator/(Dual x, Dual y) { return x /= y; }
inline bool operator<(Dual x, Dual y) { return x.a < y.a; }
inline bool operator>(Dual x, Dual y) { return x.a > y.a; }
inline bool operator<=(Dual x, Dual y) { return x.a <= y.a; }
inline bool operator>=(Dual x, Dual y) { return x.a >= y.a; }
inline bool operator==(Dual x, Dual y) { return x.a == y.a; }
inline bool operator!=(Dual x, Dual y) { return x.a != y.a; }
inline Dual sqrt(Dual x) { return {sqrt(x.a), x.d / (2 * sqrt(x.a))}; }
inline Dual sin(Dual x) { return {sin(x.a), cos(x.a) * x.d}; }
inline Dual cos(Dual x) { return {cos(x.a), -sin(x.a) * x.d}; }
inline Dual exp(Dual x) { return {exp(x.a), exp(x.a) * x.d}; }
inline Dual log(Dual x) { return {log(x.a), x.d / x.a}; }
inline Dual floor(Dual x) { return {floor(x.a)}; }
