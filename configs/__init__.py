"""The configurations that ship with the program: stages, rigs, image sets. Data only."""
