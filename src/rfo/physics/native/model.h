#pragma once
// A model in memory: its integers in one array, its reals in another. A simulator's `Model` names
// them in the order in which they follow each other; Python packs them by the same lines
// (../native.py).

#include "lanes.h"

struct Fields {
  const int* next_int;
  const real* next_real;

  FN int integer() { return *next_int++; }
  FN real number() { return *next_real++; }
  FN const int* integers(int n) {
    const int* first = next_int;
    next_int += n;
    return first;
  }
  FN const real* reals(int n) {
    const real* first = next_real;
    next_real += n;
    return first;
  }
};
