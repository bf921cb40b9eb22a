"""Other people's readers on our files, each in an environment of its own: ``make peers-test``."""
