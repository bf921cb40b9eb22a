"""A simulated microscope as a process of its own: real sockets, a clock of its own, faults on request."""
