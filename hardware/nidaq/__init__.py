"""A rig's card through the nidaqmx library."""
