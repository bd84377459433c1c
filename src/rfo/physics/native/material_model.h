#pragma once
// A material in memory, see model.h and ../materials.py.

#include "model.h"

struct Material : Fields {
  int law = integer();
  real mu = number();
  real lambda = number();
  real yield = number();
};
