"""Layers: the recurrent cells as PyTorch modules, their regularizers and the loss."""
