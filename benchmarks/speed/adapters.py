"""A language model trained with adapters on a CPU: seconds to the first step, and tokens a second beside plain PyTorch.

    python benchmarks/speed/adapters.py --model runs/smollm2 --episodes DIR [--output FILE]

``--model`` is such as ``make_assets/import_gguf.py`` writes (SmolLM2, 135M parameters), ``--episodes`` a recorded or
imported dataset. First a training on all of it begins, as ``train`` does it by default, and ends with its first step.
Then both sides imitate the same few episodes, step after step, with LoRA of the same rank, on all cores, each in a
process of its own, one after the other. The plain side is transformers and PEFT alone: padded on the right, attention
``sdpa``, bf16 autocast, the loss from all logits. Tokens are real ones, not padding; a side's speed is that of its
steps after the first. Their first losses must agree within what bf16 loses.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from oreo_envs.files import write_json

from oreo_agents.provenance import collect_provenance

SIDES = ("first", "plain", "ours")
RANK, RATE = 16, 1e-4
MOST_SECONDS = 30.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--episodes", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=8, help="episodes a step; default: %(default)s")
    parser.add_argument(
        "--rows", type=int, default=2, help="the plain side's micro-batch; default: %(default)s"
    )
    parser.add_argument("--steps", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--side", choices=SIDES, help="run one side and print its figures")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parents[1] / "results" / "adapters_speed.json"
    )
    args = parser.parse_args()
    if args.side:
        print(json.dumps(MEASURE[args.side](args)))
        return
    results = collect_provenance() | {"batch": args.batch, "rows": args.rows, "rank": RANK}
    results["sides"] = sides = {side: in_own_process(side) for side in SIDES}
    results["times_faster"] = sides["ours"]["tokens_per_s"] / sides["plain"]["tokens_per_s"]
    print(json.dumps(results, indent=1))
    write_json(args.output, results)
    agree = math.isclose(sides["ours"]["losses"][0], sides["plain"]["losses"][0], rel_tol=0.02)
    begun = sides["first"]["seconds"] <= MOST_SECONDS
    sys.exit(int(not (agree and begun and results["times_faster"] >= 1)))


def in_own_process(side):
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
    environment = os.environ | {"STARTED": str(time.time())}
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(ran.stdout.splitlines()[-1])


def plain(args):
    """transformers and PEFT alone."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.nn.functional import cross_entropy
    from torch.nn.utils.rnn import pad_sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from oreo_agents.dataset import load_trajectories
    from oreo_agents.language.chat import Chat

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    batch = [*Chat(tokenizer).encode_many([*load_trajectories(args.episodes)[: args.batch]])]
    model = AutoModelForCausalLM.from_pretrained(args.model, attn_implementation="sdpa")
    model = get_peft_model(model, LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE)
    losses, seconds, tokens = [], [], sum(map(len, batch))
    for _ in range(args.steps):
        start = time.perf_counter()
        said = sum(sum(one.imitate_mask) for one in batch)
        loss = 0.0
        for i in range(0, len(batch), args.rows):
            rows = batch[i : i + args.rows]
            ids, there, where = (
                pad_sequence([torch.tensor(x) for x in column], batch_first=True)
                for column in zip(
                    *((one.input_ids, [1] * len(one), one.imitate_mask) for one in rows), strict=True
                )
            )
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(input_ids=ids, attention_mask=there).logits
            nats = cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
            part = (nats * where[:, 1:].flatten()).sum() / said
            part.backward()
            loss += part.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
        seconds.append(time.perf_counter() - start)
    return {"tokens_per_s": tokens * (args.steps - 1) / sum(seconds[1:]), "losses": losses, "tokens": tokens}


def ours(args):
    """The same with ``train``."""
    from oreo_agents.dataset import load_trajectories

    data = load_trajectories(args.episodes)[: args.batch]
    trainer, begun, ended = train(args, data, num_train_epochs=args.steps)
    seconds = [end - begin for begin, end in zip(begun, ended, strict=True)]
    tokens = trainer.state.num_input_tokens_seen // args.steps
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return {"tokens_per_s": tokens * (args.steps - 1) / sum(seconds[1:]), "losses": losses, "tokens": tokens}


def first(args):
    """Seconds until the first step of a training on everything begins, and until it has ended, imports and all."""
    _, begun, ended = train(args, args.episodes, max_steps=1)
    started = float(os.environ["STARTED"])
    return {"begins_after_s": begun[0] - started, "seconds": ended[0] - started}


def train(args, data, **length):
    """The trainer, and when each step began and ended, in seconds since the epoch."""
    from transformers import TrainerCallback

    import oreo_agents

    begun, ended = [], []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            begun.append(time.time())

        def on_step_end(self, *_, **__):
            ended.append(time.time())

    options = {
        "per_device_train_batch_size": args.batch,
        "learning_rate": RATE,
        "warmup_steps": 0,
        "logging_steps": 1,
    }
    with tempfile.TemporaryDirectory() as folder:
        trainer = oreo_agents.train(
            *(data, args.model, Path(folder, "agent"), "sft"),
            lora=RANK,
            callbacks=[Clock()],
            **options,
            **length,
        )
    return trainer, begun, ended


MEASURE = {"first": first, "plain": plain, "ours": ours}

if __name__ == "__main__":
    main()
