"""The tests: they mirror the packages, with contracts, properties and whole sessions beside them."""
