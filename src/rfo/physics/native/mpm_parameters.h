#pragma once
// The constants that an environment may have of its own, by their names in the model. Python says
// what they follow from (../mpm_parameters.py).

#include "mpm_model.h"
#include "parameters.h"

struct Parameters : Varied<real> {
  real* gravity = varied(3);
  real* mass = varied(1);
  real* mu = varied(1);
  real* lambda = varied(1);
  real* yield = varied(1);
  real* friction = varied(1);
  real* ground_friction = varied(1);
};
constexpr int MOST_PARAMETERS = 16;
FN int parameter_numbers() {
  real first[MOST_PARAMETERS];
  return (int)(Parameters{{first}}.next - first);
}

#ifdef PARAMETERS
// A model with the constants of one environment.
struct Own : Model {
  FN Own(const Model& model) : Model(model) {}
  FN void receive(const real* parameters, int env) {
    const Parameters given{{(real*)parameters + env * parameter_numbers()}};
    gravity = given.gravity;
    mass = *given.mass;
    mu = *given.mu;
    lambda = *given.lambda;
    yield = *given.yield;
    friction = *given.friction;
    ground_friction = *given.ground_friction;
  }
};
#else
typedef const Model& Own;
#endif
