#pragma once
// Forward kinematics: the pose of each link's frame in the world, its position and quaternion
// (w, x, y, z).

#include "articulated.h"

struct Step : Articulated {
  At<F> poses = take(7 * m.links);
  using Articulated::Articulated;

  FN void run(const real* q_in, real* poses_out) {
    gather(q_in, m.nq, q);
    for (int i = 0; i < m.links; ++i) {
      place(i);
      const V3 at = origin[i] + pos[i];
      poses[7 * i] = at.x;
      poses[7 * i + 1] = at.y;
      poses[7 * i + 2] = at.z;
      put_quat(poses + 7 * i + 3, rot[i]);
    }
    scatter(poses, 7 * m.links, poses_out);
  }
};
