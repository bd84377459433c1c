// A pack: the W environments that advance together, their scratch and their tape. Follows team.h
// and the generated `Model`, of which it reads `scratch` (numbers), `substeps` and `width` (numbers
// on the tape per substep).

const int lanes = envs - pack * W < W ? envs - pack * W : W;
const bool full = lanes == W;

// Scratch of this pack, aligned for vector loads.
F* cursor = (F*)(((unsigned long long)scratch.data + 63) & ~63ull) + (long long)pack * m.scratch;
auto take = [&](int numbers) {
  F* p = cursor;
  cursor += numbers;
  return p;
};

// Environment-major arrays (envs, width) to lanes and back; idle lanes repeat the first
// environment.
auto gather = [&](const real* from, int width, F* to) {
  EACH(j, width)
    for (int l = 0; l < W; ++l)
      LANE(to[j], l) = from[(long long)(pack * W + (l < lanes ? l : 0)) * width + j];
};
auto scatter = [&](const F* from, int width, real* to) {
  EACH(j, width)
    for (int l = 0; l < lanes; ++l) to[(long long)(pack * W + l) * width + j] = LANE(from[j], l);
};

// The tape: for each pack (lanes innermost), for each substep, `width` numbers.
real* const tape_start = tape.data + (long long)pack * W * m.substeps * m.width;
auto tape_entry = [&](int k, int j) { return tape_start + (long long)(k * m.width + j) * lanes; };
auto save = [&](int k, int j, const F* from, int n) {
  EACH(i, n) {
    real* to = tape_entry(k, j + i);
    if (full)
      *(Packed*)to = from[i];
    else
      for (int l = 0; l < lanes; ++l) to[l] = LANE(from[i], l);
  }
};
auto restore = [&](int k, int j, F* to, int n) {
  EACH(i, n) {
    const real* from = tape_entry(k, j + i);
    if (full)
      to[i] = *(const Packed*)from;
    else
      for (int l = 0; l < W; ++l) LANE(to[i], l) = from[l < lanes ? l : 0];
  }
};
