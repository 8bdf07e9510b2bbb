"""The peer of tiny_shakespeare.py: the language model that one would write in plain PyTorch, at the same sizes.

Two residual torch.nn.LSTM layers of 256 units under RMSNorm, 16 lanes, windows of 64, the state carried; AdamW at 3e-3,
cosine over the time given. First 90% of the text trains, the last 10% validates, read in 20 lanes with carried state.
    python benchmarks/peers/char_lstm.py --text input.txt --seconds 180 --seed 0
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

H, LAYERS, LANES, WINDOW, RATE = 256, 2, 16, 64, 3e-3
States = list[tuple[Tensor, Tensor]] | None


class CharacterModel(nn.Module):
    """Embedding, residual LSTM layers under RMSNorm, output layer."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, H)
        lstms = [nn.LSTM(H, H) for _ in range(LAYERS)]
        self.lstms = nn.ModuleList(lstms)
        self.norms = nn.ModuleList(nn.RMSNorm(H) for _ in range(LAYERS + 1))
        self.output = nn.Linear(H, vocabulary)
        nn.init.normal_(self.embedding.weight, std=0.5)
        for lstm in lstms:
            bias = lstm.get_parameter("bias_ih_l0")
            nn.init.orthogonal_(lstm.get_parameter("weight_hh_l0"))
            nn.init.zeros_(lstm.get_parameter("bias_hh_l0"))
            nn.init.zeros_(bias)
            nn.init.ones_(bias.data[H : 2 * H])

    def forward(self, ids: Tensor, states: States) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Map ids (T, B) to logits (T, B, V)."""
        x, after = self.embedding(ids), []
        for i, lstm in enumerate(self.lstms):
            y, state = lstm(self.norms[i](x), states[i] if states else None)
            x = x + y
            after.append((state[0].detach(), state[1].detach()))
        return self.output(self.norms[-1](x)), after


def lanes_of(ids: Tensor, lanes: int) -> Tensor:
    """Cut ids into lanes: (n, lanes)."""
    n = len(ids) // lanes
    return ids[: n * lanes].view(lanes, n).t().contiguous()


def train(model: CharacterModel, ids: Tensor, seconds: float) -> int:
    """Train for the time given; returns the tokens read."""
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.01},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99), fused=True)
    stream, place, step = lanes_of(ids, LANES), 0, 0
    states: States = None
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < seconds:
        cosine = max(0.02, 0.5 * (1 + math.cos(math.pi * elapsed / seconds)))
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 50) * cosine
        if place + WINDOW + 1 > len(stream):
            place, states = int(torch.randint(0, WINDOW, (1,))), None
        window = stream[place : place + WINDOW + 1]
        logits, states = model(window[:-1], states)
        loss = F.cross_entropy(logits.flatten(0, 1), window[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        place, step = place + WINDOW, step + 1
    return step * WINDOW * LANES


@torch.no_grad()
def validate(model: CharacterModel, ids: Tensor, lanes: int = 20) -> float:
    """Return nats a character, the state carried through each of the lanes."""
    inputs, targets = lanes_of(ids[:-1], lanes), lanes_of(ids[1:], lanes)
    states: States = None
    nats = 0.0
    for i in range(0, len(inputs), 256):
        logits, states = model(inputs[i : i + 256], states)
        nats += F.cross_entropy(logits.flatten(0, 1), targets[i : i + 256].flatten(), reduction="sum").item()
    return nats / inputs.numel()


def main() -> None:
    """Train, validate, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    text = arguments.text.read_text(encoding="utf-8")
    index = {character: i for i, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([index[character] for character in text])
    cut = int(0.9 * len(ids))
    model = CharacterModel(len(index))
    tokens = train(model, ids[:cut], arguments.seconds)
    print(json.dumps({"tokens": tokens, "validation_nats": validate(model, ids[cut:])}))


if __name__ == "__main__":
    main()
