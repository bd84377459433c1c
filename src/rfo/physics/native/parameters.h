#pragma once
// Parameters: constants of a model that each environment may have of its own. Where PARAMETERS is
// defined, a simulator reads them from an input and its adjoint yields their adjoints. Elsewhere
// the model has them, and this file adds nothing to a program.

#include "pack.h"

#ifdef PARAMETERS
typedef F Constant;
constexpr bool VARIES = true;
#else
typedef real Constant;
constexpr bool VARIES = false;
#endif

// The memory of a simulator's `Parameters`: arrays that follow each other. Python reads their names
// and lengths from the same lines (../native.py).
template <class T>
struct Varied {
  At<T> next;
  FN At<T> varied(int n) {
    const At<T> first = next;
    next = next + n;
    return first;
  }
};

template <class Model, class Parameters>
struct Varying : Pack {
  const Model& m;
#ifdef PARAMETERS
  const Parameters own{{next()}, m};
  const int numbers = (int)(own.next - next());
  const At<F> given = take(numbers);
  const At<F> adjoints = take(numbers);

  FN void receive(const real* from) {
    gather(from, numbers, given);
    EACH(j, numbers) adjoints[j] = F(0);
  }
  // Add to the adjoint of a parameter.
  FN void credit(At<const F> x, F g) { ADD(adjoints[x - given], g); }
  FN void report(real* to) { scatter(adjoints, numbers, to); }
#else
  const Model& own = m;
  FN void credit(const real*, F) {}
#endif

  FN Varying(const Call& call, const Model& model, int substeps, int width)
      : Pack(call, substeps, width), m(model) {}
};
