"""Every causal language model of transformers in a tiny configuration: is it trained and played with its own numbers?

    python benchmarks/correctness/architectures.py                 # all; results/architectures.json
    python benchmarks/correctness/architectures.py llama mistral   # some, printed alone

For each, log-probabilities of the same tokens are compared with those of ``model(...).logits``, row by row and
without a cache: those of the pass that training takes (rows of three lengths, padded), of the engine that plays (two
turns, sampled) and of transformers' ``generate``. An architecture agrees where all are within 1e-4, or it is
refused, in one sentence, before any work. Where no tiny configuration can be built, or transformers does not run it on
token ids alone, the reason stands there. Windows of attention are set to 8 tokens, so that they count.
"""

import argparse
import inspect
import json
import multiprocessing
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results" / "architectures.json"
TOLERANCE = 1e-4
LARGEST = 30_000_000
"""Parameters; what is larger as configured is not tiny."""

# By name, wherever an option of that name has a default of the same kind.
SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "dim_model", "emb_dim"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "decoder_layers", "num_layers"), 4),
    "encoder_layers": 4,  # what the decoder's cache is made for
    **dict.fromkeys(("num_decoder_layers", "num_encoder_layers"), 1),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "num_key_value_heads", "num_decoder_attention_heads"), 2),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "dim_ff"), 48),
    **dict.fromkeys(("shared_intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size"), 24),
    **dict.fromkeys(("expert_ffn_hidden_size", "ffn_hidden_size", "expert_intermediate_size"), 24),
    **dict.fromkeys(("head_dim", "attention_head_dim", "v_head_dim", "kv_channels", "head_size", "dim_head"), 8),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "global_head_dim", "swa_head_dim", "swa_v_head_dim"), 8),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "time_step_rank", "mamba_dt_rank", "index_head_dim"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "max_sequence_length"), 512),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "experts_per_token"), 2),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "num_shared_experts", "first_k_dense_replace"), 1),
    **dict.fromkeys(("sliding_window", "attention_window_size", "window_size", "local_attention"), 8),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "linear_num_key_heads", "linear_num_value_heads"), 4),
    **dict.fromkeys(("mamba_d_state", "ssm_state_size", "state_size", "mamba_d_head", "mamba_head_dim"), 8),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "gdn_head_dim"), 8),
    **dict.fromkeys(("mamba_n_groups", "n_groups", "mamba_ngroups", "conv_kernel"), 1),
    **dict.fromkeys(("dropout", "attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0),
    "conv_kernel": 4, "mamba_d_ssm": 32, "index_topk": 4, "attention_chunk_size": 8,
    "index_n_heads": 16,  # with few, scores often are all zero, and which of equal ones count depends on the length
    "vocab_size": 128, "vocab_size_per_layer_input": 128, "hidden_size_per_layer_input": 8, "lru_width": 32,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "is_decoder": True, "image_size": 28, "patch_size": 14,
    "num_kv_heads": 2, "n_inner": 48, "rotary_dim": 4, "num_nextn_predict_layers": 0, "mtp_num_layers": 0,
    "num_kv_shared_layers": 0, "altup_num_inputs": 2, "laurel_rank": 4, "max_window_layers": 2,
    "chunk_size": 8, "mamba_chunk_size": 8, "qk_head_dim": 16, "num_memory_blocks": 1, "mamba_headdim": 16,
    "use_mambapy": False, "use_cache": True, "scale_attn_weights": True,
}  # fmt: skip
# What several architectures need.
LATENT = {"num_key_value_heads": 4}  # keys and values come of one latent state, for all heads
INDEXED = {
    "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 8,
    "indexer_compress_ratio": 4,
}  # fmt: skip
NOTE = {
    **LATENT, "head_dim": 16, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "swa_q_lora_rank": 8,
    "swa_kv_lora_rank": 8, "swa_head_dim": 16, "swa_qk_nope_head_dim": 8, "swa_v_head_dim": 8,
}  # fmt: skip
MIXED = ["linear_attention", "full_attention"] * 2
# What an architecture needs beside or instead of the sizes.
SPECIAL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("axk1", "axk2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa"), LATENT),
    **dict.fromkeys(("longcat_flash", "minicpm3", "youtu"), LATENT),
    "deepseek_v2": {**LATENT, "num_experts_per_tok": 2},
    "dots3_note_text": NOTE,
    "dots3_note": {
        "text_config": NOTE,
        "vision_config": {"num_hidden_layers": 42, "adapter_in_dim": 32, "adapter_out_dim": 32},
        "audio_config": {"adapter_input_size": 32, "adapter_out_dim": 32},
    },
    "xlstm": {"hidden_size": 128, "chunk_size": 64},
    "bailing_hybrid": {
        **LATENT,
        "layer_group_size": 2,
        "n_group": 1,
        "topk_group": 1,
        "num_local_experts": 4,
    },
    "kimi_linear": {**LATENT, "layer_types": MIXED},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "nemotron": {"num_key_value_heads": 2},
    "zamba": {"layers_block_type": ["mamba", "hybrid"] * 2},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"] * 2, "num_key_value_heads": 4, "mamba_headdim": 8},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10_000.0, "clip_qkv": 8},
        "ffn_config": {"hidden_size": 32, "moe_top_k": 2},
    },
    "cohere_compass_text": {
        "layer_types": ["full_attention", "sliding_attention"] * 2,
        "rope_parameters": {
            kind: {"rope_theta": 10_000.0} for kind in ("full_attention", "sliding_attention")
        },
    },
    "qwen4_exp_text": INDEXED,
    "qwen4_exp": {"text_config": INDEXED},
    "blt": {"vocab_size": 260, "encoder_hash_byte_group_vocab": 64},
    "zaya": {"num_experts_per_tok": 1},
    "xmod": {"default_language": "en_XX"},
    "xlm": {"causal": True},
    "reformer": {"axial_pos_embds_dim": (16, 16), "axial_pos_shape": (16, 32), "attention_head_size": 8},
    "bamba": {"attn_layer_indices": [1], "mamba_d_head": 16, "mamba_expand": 2},
    "falcon_h1": {"mamba_d_head": 8, "lm_head_multiplier": 0.04},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 8},
    "granite": {"logits_scaling": 8.0},
    "granitemoe": {"logits_scaling": 8.0},
    "granitemoehybrid": {"mamba_d_head": 16, "layer_types": ["mamba", "attention", "mamba", "attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "modernbert-decoder": {"global_attn_every_n_layers": 2},
    "gemma2": {"final_logit_softcapping": 0.1},
    "cohere": {"logit_scale": 0.0625},
}


def shrink(config_class: type, special: dict[str, Any]) -> Any:
    """A tiny configuration: sizes by the names of the options, inside nested ones, too."""
    defaults = config_class()
    given = override(defaults, special)
    return config_class(**given)


def override(config: Any, special: dict[str, Any]) -> dict[str, Any]:
    given, special = dict[str, Any](), dict(special)
    known = set(config.to_dict()) | set(inspect.signature(type(config).__init__).parameters)
    known |= set(getattr(config, "attribute_map", {}) or {})
    mapped = set((getattr(config, "attribute_map", {}) or {}).keys())
    for name in known - mapped:
        try:
            default = getattr(config, name, None)
        except RuntimeError:  # differs from layer to layer
            default = 0
        if name in SIZES and not isinstance(default, (list, dict)):
            if default is None and name not in ("head_dim", "pad_token_id", "bos_token_id", "eos_token_id"):
                continue
            given[name] = SIZES[name]
        elif name.endswith("_config") and hasattr(default, "to_dict"):
            given[name] = override(default, special.pop(name, {}))
            given[name].pop("model_type", None)
    return {**given, **special}


def examine(kind: str) -> dict[str, Any]:
    """One architecture."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from oreo_agents.errors import OreoError
    from oreo_agents.inference.engines import fits_slots, make_policy_engine, require_playable
    from oreo_agents.models.agreement import Probe, pick_logprobs
    from oreo_agents.models.critic import Critic
    from oreo_agents.training.forward import PolicyAndCritic

    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        config = shrink(CONFIG_MAPPING[kind], SPECIAL.get(kind, {}))
        config._attn_implementation = "eager"
        with torch.device("meta"):
            size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
        if size > LARGEST:
            return {"kind": kind, "verdict": "not built", "why": f"{size:,} parameters as configured"}
        model = AutoModelForCausalLM.from_config(config).float().eval()
        with torch.no_grad():  # sizes as after training, so that caps and scales are seen
            for name, parameter in model.named_parameters():
                if parameter.dim() >= 2 and "conv" not in name:
                    parameter.normal_(0, 0.2 if parameter.shape[0] == 128 else parameter.shape[-1] ** -0.5)
            model(input_ids=torch.arange(5, 16)[None])  # what transformers cannot run is nothing to refuse
    except Exception as error:
        return {"kind": kind, "verdict": "not built", "why": f"{type(error).__name__}: {str(error)[:160]}"}
    row = {"kind": kind, "class": type(model).__name__}
    try:
        probe = Probe(model)
        trained = PolicyAndCritic(model, None, 64)
        probe.require(trained.read_rows, "trained")
        require_playable(model)
        Critic.from_policy(model)
    except OreoError as refusal:
        return {**row, "verdict": "refused", "why": str(refusal)}
    model.eval()
    slots = range(len(probe.rows))
    engine = make_policy_engine(model, len(probe.rows), 64, 2, 4)
    engine.extend(slots, [one[:3] for one in probe.rows])
    uniforms = torch.rand(len(probe.rows), 4, 2, generator=torch.Generator().manual_seed(1))
    played = 0.0
    held = [list(one[:3]) for one in probe.rows]
    for turn in (slice(3, 6), slice(6, 9)):
        proposals = engine.propose(slots, [one[turn] for one in probe.rows], uniforms, 1.0)
        for slot, lanes in enumerate(proposals.listed()):
            held[slot] += probe.rows[slot][turn]
            for ids, logprobs in lanes:
                with torch.no_grad():
                    logits = model(input_ids=torch.tensor([[*held[slot], *ids]])).logits[0]
                own = pick_logprobs(logits[len(held[slot]) - 1 : -1], ids)
                played = max(played, float((own - torch.tensor(logprobs)).abs().max()))
            held[slot] += lanes[0][0]
        engine.keep(slots, proposals, torch.zeros(len(probe.rows), dtype=torch.long))
    generated = probe.difference(probe.generate)
    row |= {"engine": "slots" if fits_slots(model) else "generation"}
    figures = {"training": probe.difference(trained.read_rows), "play": played, "generate": generated}
    agrees = max(figures.values()) <= TOLERANCE
    return {
        **row,
        "verdict": "agrees" if agrees else "DIFFERS",
        **{k: round(x, 8) for k, x in figures.items()},
    }


def start() -> Any:
    return multiprocessing.get_context("spawn").Pool(1)


def main() -> None:
    """Examine what is asked for and write or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "kinds", nargs="*", help="model types; default: all of transformers' causal language models"
    )
    parser.add_argument("--seconds", type=float, default=120, help="for one of them")
    args = parser.parse_args()
    from importlib.metadata import version

    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    rows, pool = [], start()
    for kind in args.kinds or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        try:
            rows.append(pool.apply_async(examine, [kind]).get(args.seconds))
        except multiprocessing.TimeoutError:
            pool.terminate()
            pool = start()
            rows.append({"kind": kind, "verdict": "not built", "why": f"more than {args.seconds:g} seconds"})
        except Exception as error:
            rows.append(
                {"kind": kind, "verdict": "DIFFERS", "why": f"{type(error).__name__}: {str(error)[:200]}"}
            )
        print(json.dumps(rows[-1]), flush=True)
    pool.terminate()
    counts = Counter(row["verdict"] for row in rows)
    print(dict(counts))
    if not args.kinds:
        made = {"transformers": version("transformers"), "torch": version("torch")}
        RESULTS.write_text(
            json.dumps({**made, "counts": dict(sorted(counts.items())), "rows": rows}, indent=1) + "\n"
        )
    sys.exit(1 if counts["DIFFERS"] else 0)


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main()
