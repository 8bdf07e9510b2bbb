"""``tidegate merge``: a model with its adapters' changes taken into its weights, as a model folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tidegate.config import check_paths
from tidegate.errors import TidegateError
from tidegate.folder.adapter import merged, read_adapter
from tidegate.folder.card import Card, write_card
from tidegate.folder.chat_file import first_chat, write_chat
from tidegate.folder.model_folder import ModelFolder, write_config, write_weights
from tidegate.folder.tensors import check_tensors
from tidegate.text.messages import show


@dataclass(frozen=True)
class MergeSettings:
    """What is merged, and where it goes."""

    model: str
    """The model's folder, or the name of a base model."""
    adapter: tuple[str, ...] = ()
    """The folder of an adapter to the model; may be given several times, they add up."""
    out: str | None = None
    """Folder for the merged model; it must be new, or empty."""

    def __post_init__(self) -> None:
        check_paths(self, "adapter", "out")
        if not self.adapter:
            raise TidegateError("No adapter is named: give one by --adapter; without it there is nothing to merge.")
        if self.out is None:
            raise TidegateError("No folder for the merged model is named: give one by --out.")


def merge(settings: MergeSettings) -> int:
    """Merge and write; returns the exit code."""
    folder, out = ModelFolder.read(settings.model), Path(settings.out or "")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TidegateError(f"--out {out} is there already, and not an empty folder: choose another name.")
    V, digest = folder.tokenizer.vocabulary_size, folder.metadata["weights_digest"]
    adapters = [read_adapter(path, folder.model, V, digest) for path in settings.adapter]
    tensors = merged(folder.tensors, adapters)
    check_tensors(tensors, folder.model, V, "The merged model")  # before anything is written
    places = [*map(Path, reversed(settings.adapter)), folder.path]
    chat = first_chat(places)
    template = None if chat is None else chat.template
    write_config(out, folder.model, folder.tokenizer, folder.documents, folder.unknown, template)
    write_weights(out, tensors, folder.tokenizer)
    if chat is not None:
        write_chat(out, chat)
    names = ", ".join(Path(path).resolve().name for path in settings.adapter)
    rows = [("model", f"{folder.path.resolve().name}, digest {digest}"), ("adapters merged into it", names)]
    parameters = sum(tensor.size for tensor in tensors.values())
    title = f"{folder.model.layers}×{folder.model.hidden_size} {folder.model.cell} language model"
    verb = "generate" if chat is None else "chat"
    write_card(out, Card(title, folder.model, parameters, rows, base=folder.path.resolve().name, verb=verb))
    show(f"Merged: {out}   {'Generate text' if chat is None else 'Chat'}:  tidegate {verb} {out}")
    return 0
