"""What `torch.jit.script` compiles of `tidegate.nn`'s layers: PyTorch's operators, by the same checks as `torch.nn`.

TorchScript cannot compile the call of the native core, and it knows the overloads of `torch.nn`'s own forward for
those classes alone. So each form of input has a method of one signature here, which is never called from Python.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def refuse(fresh: Tensor | None, lengths: Tensor | None) -> None:
    """Raise a ValueError where either is given."""
    if fresh is not None or lengths is not None:
        raise ValueError("fresh and lengths have no form in TorchScript: pack the input, and run each document alone.")


def _padded(self: Any, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run an RNN or a GRU over a padded tensor."""
    batched, lane = input.dim() == 3, 0 if self.batch_first else 1
    x = input if batched else input.unsqueeze(lane)
    if hx is None:
        h = torch.zeros(self.get_expected_hidden_size(x, None), dtype=x.dtype, device=x.device)
    else:
        h = hx if batched else hx.unsqueeze(1)
    self.check_forward_args(x, h, None)
    weights, bias, layers, dropout = self._flat_weights, self.bias, self.num_layers, self.dropout
    if self.mode == "GRU":
        y, last = torch.gru(x, h, weights, bias, layers, dropout, self.training, self.bidirectional, self.batch_first)
    elif self.mode == "RNN_RELU":
        y, last = torch.rnn_relu(
            x, h, weights, bias, layers, dropout, self.training, self.bidirectional, self.batch_first
        )
    else:
        y, last = torch.rnn_tanh(
            x, h, weights, bias, layers, dropout, self.training, self.bidirectional, self.batch_first
        )
    return y if batched else y.squeeze(lane), last if batched else last.squeeze(1)


def _packed(self: Any, input: PackedSequence, hx: Tensor | None) -> tuple[PackedSequence, Tensor]:
    """Run an RNN or a GRU over a packed sequence."""
    x, sizes, order, back = input
    if hx is None:
        h = torch.zeros(self.get_expected_hidden_size(x, sizes), dtype=x.dtype, device=x.device)
    else:
        h = self.permute_hidden(hx, order)
    self.check_forward_args(x, h, sizes)
    weights, bias, layers, dropout = self._flat_weights, self.bias, self.num_layers, self.dropout
    if self.mode == "GRU":
        y, last = torch.gru(x, sizes, h, weights, bias, layers, dropout, self.training, self.bidirectional)
    elif self.mode == "RNN_RELU":
        y, last = torch.rnn_relu(x, sizes, h, weights, bias, layers, dropout, self.training, self.bidirectional)
    else:
        y, last = torch.rnn_tanh(x, sizes, h, weights, bias, layers, dropout, self.training, self.bidirectional)
    return PackedSequence(y, sizes, order, back), self.permute_hidden(last, back)


def _lstm_padded(self: Any, input: Tensor, hx: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Run an LSTM over a padded tensor."""
    batched, lane = input.dim() == 3, 0 if self.batch_first else 1
    x = input if batched else input.unsqueeze(lane)
    if hx is None:
        h = torch.zeros(self.get_expected_hidden_size(x, None), dtype=x.dtype, device=x.device)
        c = torch.zeros(self.get_expected_cell_size(x, None), dtype=x.dtype, device=x.device)
    else:
        h, c = (hx[0], hx[1]) if batched else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))
    self.check_forward_args(x, (h, c), None)
    y, h, c = torch.lstm(
        x, [h, c], self._flat_weights, self.bias, self.num_layers, self.dropout, self.training, self.bidirectional,
        self.batch_first,
    )  # fmt: skip
    return (y, (h, c)) if batched else (y.squeeze(lane), (h.squeeze(1), c.squeeze(1)))


def _lstm_packed(
    self: Any, input: PackedSequence, hx: tuple[Tensor, Tensor] | None
) -> tuple[PackedSequence, tuple[Tensor, Tensor]]:
    """Run an LSTM over a packed sequence."""
    x, sizes, order, back = input
    if hx is None:
        h = torch.zeros(self.get_expected_hidden_size(x, sizes), dtype=x.dtype, device=x.device)
        c = torch.zeros(self.get_expected_cell_size(x, sizes), dtype=x.dtype, device=x.device)
    else:
        h, c = self.permute_hidden(hx, order)
    self.check_forward_args(x, (h, c), sizes)
    y, h, c = torch.lstm(
        x, sizes, [h, c], self._flat_weights, self.bias, self.num_layers, self.dropout, self.training,
        self.bidirectional,
    )  # fmt: skip
    return PackedSequence(y, sizes, order, back), self.permute_hidden((h, c), back)
