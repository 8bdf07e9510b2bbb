"""The running half: a model folder stepped, sampled and streamed in NumPy, without PyTorch."""
