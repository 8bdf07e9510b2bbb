"""The operations that benchmarks/busy.py times, ours and torch's, each in a process of its own."""
