"""How fast tasks simulate and train on this machine, beside a peer: `rfo bench speed`."""
