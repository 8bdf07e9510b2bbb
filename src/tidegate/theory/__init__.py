"""The theory: every equation of the spec in plain NumPy, forward and backward through time; the oracle of all tests."""
