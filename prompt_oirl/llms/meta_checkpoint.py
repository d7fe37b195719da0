"""Meta's original LLaMA folder: params.json, consolidated.NN.pth, SentencePiece tokenizer.model.

The published command names such a folder. Its weights are the one kind of file that exists in no safe format,
so they are read with `weights_only=True`; shards are joined and renamed to the Hugging Face layout.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from prompt_oirl.io.files import InputError
from prompt_oirl.io.json_files import read_json
from prompt_oirl.llms.chat import META_TEMPLATE

DOWNLOAD = "pass the folder that Meta's download makes"
# Name in the Hugging Face layout, and how the tensor was cut over shards: 0 rows, 1 columns, None not at all.
_TENSORS: dict[str, tuple[str, int | None]] = {
    "tok_embeddings.weight": ("model.embed_tokens.weight", 1),
    "output.weight": ("lm_head.weight", 0),
    "norm.weight": ("model.norm.weight", None),
    "attention.wq.weight": ("self_attn.q_proj.weight", 0),
    "attention.wk.weight": ("self_attn.k_proj.weight", 0),
    "attention.wv.weight": ("self_attn.v_proj.weight", 0),
    "attention.wo.weight": ("self_attn.o_proj.weight", 1),
    "feed_forward.w1.weight": ("mlp.gate_proj.weight", 0),
    "feed_forward.w2.weight": ("mlp.down_proj.weight", 1),
    "feed_forward.w3.weight": ("mlp.up_proj.weight", 0),
    "attention_norm.weight": ("input_layernorm.weight", None),
    "ffn_norm.weight": ("post_attention_layernorm.weight", None),
}


def load_meta_checkpoint(folder: Path, tokenizer: Path | None, dtype: Any) -> tuple[Any, Any]:
    """Model, on the CPU, and tokenizer of a Meta folder.

    Parameters
    ----------
    folder : holds params.json and consolidated.*.pth
    tokenizer : SentencePiece file; None takes tokenizer.model inside the folder or beside it
    dtype : torch dtype that the weights are turned into

    Raises: InputError if a file is missing or cannot be read, or holds a tensor that LLaMA does not have.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    params = read_json(folder / "params.json", hint=DOWNLOAD)
    state = join_shards(folder)
    heads, dim = params["n_heads"], params["dim"]
    kv_heads = params.get("n_kv_heads") or heads
    weights = {
        _hugging_face_name(name): _rotate(name, value, heads, kv_heads) for name, value in state.items()
    }
    vocabulary = weights["model.embed_tokens.weight"].shape[0]
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=dim,
        intermediate_size=weights["model.layers.0.mlp.gate_proj.weight"].shape[0],
        num_hidden_layers=params["n_layers"],
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        rms_norm_eps=params["norm_eps"],
        rope_parameters={"rope_type": "default", "rope_theta": params.get("rope_theta", 10000.0)},
        max_position_embeddings=4096,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model = model.to_empty(device="cpu").to(dtype)
    model.load_state_dict({name: value.to(dtype) for name, value in weights.items()}, strict=True)
    # Buffers are not in the checkpoint: computed anew, since to_empty left them unset.
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model, load_sentencepiece(tokenizer or _find_tokenizer(folder))


def join_shards(folder: Path) -> dict[str, Any]:
    """All tensors of consolidated.*.pth, put together from their model-parallel parts."""
    import torch

    files = sorted(folder.glob("consolidated.*.pth"))
    if not files:
        raise InputError(f"{folder} holds params.json but no consolidated.*.pth; {DOWNLOAD}")
    try:
        shards = [torch.load(path, map_location="cpu", weights_only=True, mmap=True) for path in files]
    except Exception as error:  # torch raises many kinds for a broken file; none of them may run code
        raise InputError(
            f"{folder}: {type(error).__name__} while reading the weights; {DOWNLOAD} again"
        ) from error
    joined = {}
    for name in shards[0]:
        if name == "rope.freqs":
            continue
        kind = name.split(".", 2)[2] if name.startswith("layers.") else name
        if kind not in _TENSORS:
            raise InputError(
                f"{folder}: unknown tensor {name}, so this is not a LLaMA checkpoint; {DOWNLOAD}"
            )
        cut = _TENSORS[kind][1]
        parts = [shard[name] for shard in shards]
        joined[name] = parts[0] if cut is None or len(parts) == 1 else torch.cat(parts, dim=cut)
    return joined


def _hugging_face_name(name: str) -> str:
    if not name.startswith("layers."):
        return _TENSORS[name][0]
    _, layer, kind = name.split(".", 2)
    return f"model.layers.{layer}.{_TENSORS[kind][0]}"


def _rotate(name: str, weight: Any, heads: int, kv_heads: int) -> Any:
    """Meta turns neighbouring pairs of a head, Hugging Face its two halves: reorder the rows of wq and wk."""
    n = {"attention.wq.weight": heads, "attention.wk.weight": kv_heads}.get(name.split(".", 2)[-1])
    if n is None:
        return weight
    rows, columns = weight.shape
    return weight.view(n, rows // n // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def _find_tokenizer(folder: Path) -> Path:
    for path in (folder / "tokenizer.model", folder.parent / "tokenizer.model"):
        if path.is_file():
            return path
    raise InputError(f"no tokenizer.model in or beside {folder}: pass --tokenizer_path")


def load_sentencepiece(path: Path) -> Any:
    """A tokenizer from a SentencePiece file, tokenising LLaMA-2's chat format exactly as Meta's code does."""
    from transformers import LlamaTokenizer

    if not path.is_file():
        raise InputError(f"missing {path}: pass --tokenizer_path tokenizer.model from Meta's download")
    with tempfile.TemporaryDirectory() as folder:  # the library wants a folder and this file name
        (Path(folder) / "tokenizer.model").write_bytes(path.read_bytes())
        try:
            tokenizer = LlamaTokenizer.from_pretrained(folder, add_bos_token=True)
        except Exception as error:  # the parser's own exception types are not public
            raise InputError(
                f"{path} is not a SentencePiece model ({type(error).__name__}); {DOWNLOAD}"
            ) from error
    tokenizer.chat_template = META_TEMPLATE
    return tokenizer
