"""A trained model on disk: `weights.safetensors` and `model.json`, nothing that can run code.

The weights hold the normaliser too. The JSON holds the shape (with the noise schedule), what the training was told,
and the SHA-256 of the weights.
"""

import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

from difffinance.data.store import Lake, atomic_folder, finite, sha256_of, write_json
from difffinance.diffusion.model import MarketDiffusionModel
from difffinance.errors import CheckpointError, InputError

FORMAT = 1
_WEIGHTS, _CARD = "weights.safetensors", "model.json"
_AGAIN = "Remove the folder and train again: difffinance train, or the backtest that trained it."


def save_model(model: MarketDiffusionModel, folder: Path, *, provenance: dict[str, Any] | None = None) -> Path:
    """Write a checkpoint folder; whoever reads meanwhile sees the old one or the new one."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_folder(Path(folder)) as temporary:
        save_file(tensors, temporary / _WEIGHTS)
        (temporary / _WEIGHTS).chmod(0o644)
        card = {
            "format": FORMAT,
            "shape": model.shape,
            "sha256": sha256_of(temporary / _WEIGHTS),
            "provenance": finite(provenance or {}),
        }
        write_json(temporary / _CARD, card)
    return Path(folder)


def load_model(name_or_path: str | os.PathLike[str] = "latest", *, lake: Lake | None = None) -> MarketDiffusionModel:
    """Return a trained model: a checkpoint of the lake by name, a folder by path, or `sample`, which is shipped.

    Raises `CheckpointError` when it is not there, damaged, of another format, or of another shape than it says.
    """
    folder = find_checkpoint(name_or_path, lake=lake)
    card = read_card(folder)
    weights = folder / _WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"checkpoint {folder} has no {_WEIGHTS}. {_AGAIN}")
    if sha256_of(weights) != card.get("sha256"):
        raise CheckpointError(f"checkpoint {folder} is damaged: {_WEIGHTS} is not what {_CARD} says. {_AGAIN}")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model = MarketDiffusionModel(**card["shape"])
        model.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError, TypeError, KeyError, InputError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"checkpoint {folder} does not fit the model it describes: {reason}. {_AGAIN}") from None
    model.provenance = dict(card.get("provenance") or {})
    return model.eval()


def find_checkpoint(name_or_path: str | os.PathLike[str], *, lake: Lake | None = None) -> Path:
    """Return the folder of a checkpoint; raise `CheckpointError` with what there is."""
    if str(name_or_path) == "sample":
        return Path(str(resources.files("difffinance"))) / "data" / "sample" / "diffusion_agent"
    given, home = Path(name_or_path), (lake or Lake()).folder("checkpoints")
    for folder in (given, home / given):
        if (folder / _CARD).is_file():
            return folder
    known = sorted(p.parent.name for p in home.glob(f"*/{_CARD}")) if home.is_dir() else []
    raise CheckpointError(
        f"checkpoint '{name_or_path}' is not there. In the lake {home.parent}: {', '.join(known) or 'none'}; "
        "'sample' is shipped. Train one: difffinance train."
    )


def read_card(folder: Path) -> dict[str, Any]:
    """Return the JSON of a checkpoint; raise `CheckpointError` when it cannot be read."""
    try:
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {folder} is damaged: {_CARD} cannot be read ({error}). {_AGAIN}") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT or not isinstance(card.get("shape"), dict):
        raise CheckpointError(f"checkpoint {folder}: {_CARD} is not of format {FORMAT}. {_AGAIN}")
    return card
