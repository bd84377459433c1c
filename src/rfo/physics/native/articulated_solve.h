// x <- H^-1 x, where H = L^T D L along the tree: rows of L (unit diagonal), 1 / D on the diagonal.

auto solve = [&](F* x) {
  for (int i = m.nv - 1; i >= 0; --i) {
    const F xi = x[i];
    const F* row = H + m.row[i] + 1;
    for (int j = m.dof_parent[i]; j >= 0; j = m.dof_parent[j]) x[j] -= *row++ * xi;
  }
  for (int i = 0; i < m.nv; ++i) {
    F xi = x[i] * H[m.row[i]];
    const F* row = H + m.row[i] + 1;
    for (int j = m.dof_parent[i]; j >= 0; j = m.dof_parent[j]) xi -= *row++ * x[j];
    x[i] = xi;
  }
};
