"""A digital twin of the card: a device server in a process of its own that the real nidaqmx library talks to."""
