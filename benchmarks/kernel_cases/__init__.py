"""The cases of benchmarks/kernels.py, one section a module, and what they share."""
