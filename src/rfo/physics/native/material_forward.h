write(Fe, fe_out.data);
write(tau, tau_out.data);
