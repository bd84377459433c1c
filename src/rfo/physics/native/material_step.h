// Particles' response alone: lane by lane of a run of deformation gradients. Follows team.h and
// material.h.

const int count = numbers / 9, first_particle = tid * W;
const int here = count - first_particle < W ? count - first_particle : W;
auto read = [&](const real* from) {
  Mat A;
  for (int j = 0; j < 9; ++j)
    for (int l = 0; l < W; ++l) LANE(A.a[j], l) = from[(long long)(first_particle + (l < here ? l : 0)) * 9 + j];
  return A;
};
auto write = [&](const Mat& A, real* to) {
  for (int j = 0; j < 9; ++j)
    for (int l = 0; l < here; ++l) to[(long long)(first_particle + l) * 9 + j] = LANE(A.a[j], l);
};
Mat Fe, tau;
Principal axes;
const Mat deformation = read(f_in.data);
respond(deformation, Fe, tau, axes);
