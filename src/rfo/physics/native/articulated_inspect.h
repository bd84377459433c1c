// Mass matrix (with armature, sparse rows) and tau - bias without controls, of a state.

F* u = take(m.nu);
for (int c = 0; c < m.nu; ++c) u[c] = F(0);
gather(q_in.data, m.nq, q);
gather(qd_in.data, m.nv, qd);
equations(u);
scatter(H, m.nm, mass_matrix.data);
scatter(qdd, m.nv, right.data);
