"""Convert the COMET critic into a folder that the comet task reads: config, tokenizer, model.safetensors,
head.safetensors.

    python scripts/convert_critic.py --weights critic.weights.h5    # Keras, encoder and head in one file
    python scripts/convert_critic.py --encoder saved_models/comet_critic_keras_to_pytorch \\
        --weights saved_models/comet_critic_keras_to_pytorch/custom_roberta_classification_head.pt
    python scripts/convert_critic.py --weights head.bin --encoder FOLDER_OR_HUB_ID --output data/comet_critic

The critic (symbolic knowledge distillation) is roberta-large-mnli's encoder, trained on, with a head of two
layers on the pooler: 1024 -> 512, GELU, -> 1, sigmoid. It was published as a TensorFlow SavedModel folder,
which only TensorFlow reads; in an environment that has it:

    python -c "from tensorflow import keras; keras.models.load_model('FOLDER').save_weights('c.weights.h5')"

Keras files need h5py (pip install -e ".[train]"). `.bin` and `.pt` files are read as tensors only, never
unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.alol.rewards import critic_weights
from prompt_oirl.io.files import REPO_ROOT
from prompt_oirl.io.manifest import run_step


@dataclass
class Args:
    """Where the weights are and where they go."""

    weights: Path
    """Keras file (.h5, .keras), or the head alone (.bin, .pt, .safetensors)."""
    encoder: str = "roberta-large-mnli"
    """Folder or hub id of config and tokenizer, and of the encoder's weights if --weights holds the head
    alone."""
    output: Path = REPO_ROOT / "data" / "comet_critic"
    """Folder to write."""


def main(args: Args) -> None:
    """Read, check and write."""
    head, encoder = critic_weights.read(args.weights)
    critic_weights.write(args.output, args.encoder, head, encoder)
    print(
        f"critic in {args.output}; comet finds it there, or pass --reward_models p_valid_model={args.output}"
    )


if __name__ == "__main__":
    run_step(main, Args)
