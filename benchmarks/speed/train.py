"""Training speed and peak memory: OreoTrainer against a plain implementation of the paper in the authors' manner.

    OMP_NUM_THREADS=1 python benchmarks/speed/train.py [--hidden 128] [--layers 4] [--output FILE]

The plain side pads on the left, runs the policy twice (without gradient for the critic's target, with gradient for
its own loss), and takes log-softmaxes of ``[batch, time, vocabulary]`` for policy and reference (Eqs. 8 and 9,
full-vocabulary KL, critic step before policy step). Model, episodes, precision and machine are the same; each side
runs in a process of its own, one after the other, and reports its last update's losses, which must agree.

Times are CPU times, which a busy machine inflates less than wall time. Peak memory is the process's largest resident
set, Python and torch included. Tokens are real ones, not padding.
"""

import argparse
import json
import math
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from oreo_envs.files import write_json
from torch.nn.functional import pad
from transformers import Qwen3Config, Qwen3ForCausalLM

from oreo_agents.language.encoded import EncodedEpisode
from oreo_agents.models.agent_folder import load_tokenizer
from oreo_agents.models.critic import Critic
from oreo_agents.models.start import with_lora
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.trainer import OreoTrainer

SIDES = ("plain", "separate", "shared", "lora")
TARGETS = {"separate": (2.5, 0.4), "shared": (4.0, 0.4)}
"""Of the critic's kinds that train every weight, as the plain side does; adapters (lora) are measured beside them."""
VOCABULARY = 49_152
OPENING, OBSERVATION, ACTION = 80, 21, 7
"""Tokens of ALFWorld's opening, of an answer, and of a command: a quarter of the tokens are actions."""
MOST_STEPS = 30
LORA_RANK = 8
START = Path(__file__).parents[2] / "oreo_agents" / "assets" / "start"
"""Has the tokenizer that the trainer wants; the episodes are tokens already."""
LOSSES = ("value_loss", "policy_loss", "kl")
BETA, ALPHA, RATE = 0.03, 0.01, 1e-3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hidden", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--layers", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--episodes", type=int, default=16, help="in all; default: %(default)s")
    parser.add_argument("--batch", type=int, default=8, help="episodes an update; default: %(default)s")
    parser.add_argument(
        "--rows", type=int, default=2, help="the plain side's micro-batch; default: %(default)s"
    )
    parser.add_argument("--side", choices=SIDES, help="run one side and print its figures")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parents[1] / "results" / "train_speed.json"
    )
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args)))
        return
    results = {"torch": torch.__version__, "machine": platform.machine(), "threads": torch.get_num_threads()}
    results |= {name: getattr(args, name) for name in ("hidden", "layers", "episodes", "batch", "rows")}
    results["vocabulary"] = VOCABULARY
    results["sides"] = sides = {side: in_own_process(side) for side in SIDES}
    for side in SIDES[1:]:
        sides[side]["times_faster"] = sides[side]["tokens_per_s"] / sides["plain"]["tokens_per_s"]
        sides[side]["memory_share"] = sides[side]["peak_mb"] / sides["plain"]["peak_mb"]
    print(json.dumps(results, indent=1))
    write_json(args.output, results)
    sys.exit(int(not holds(sides)))


def holds(sides):
    """Whether the losses agree and the targets are met."""
    agree = all(
        math.isclose(sides["separate"]["losses"][name], sides["plain"]["losses"][name], rel_tol=0.01)
        for name in LOSSES
    )
    return agree and all(
        sides[side]["times_faster"] >= faster and sides[side]["memory_share"] <= share
        for side, (faster, share) in TARGETS.items()
    )


def in_own_process(side):
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])


def measure(args):
    """Train one pass over the episodes with one side."""
    data, policy = episodes(args.episodes), model(args)
    start = time.process_time()
    losses = plain(args, policy, data) if args.side == "plain" else ours(args, policy, data)
    seconds = time.process_time() - start
    return {
        "tokens": sum(map(len, data)),
        "cpu_seconds": seconds,
        "tokens_per_s": sum(map(len, data)) / seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "losses": losses,
    }


def episodes(count):
    """Episodes with ALFWorld's lengths (median 12 steps, log-normal, the long ones lost) and random tokens."""
    rng = random.Random(0)
    return [episode(rng, min(MOST_STEPS, max(3, round(rng.lognormvariate(2.5, 0.8))))) for _ in range(count)]


def episode(rng, steps):
    ids, actions, ends = [], [], []
    for i in range(steps):
        seen = OBSERVATION if i else OPENING
        ids += [rng.randrange(VOCABULARY) for _ in range(seen + ACTION)]
        actions += [False] * seen + [True] * ACTION
        ends += [False] * (seen + ACTION - 1) + [True]
    won = steps < 15
    return EncodedEpisode(ids, actions, actions, ends, [float(won)] * len(ids), won)


def model(args):
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=args.hidden,
        intermediate_size=args.hidden * 3,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden // 64,
        num_key_value_heads=1,
        head_dim=64,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config)


# --- the plain side -----------------------------------------------------------------------------------------


def plain(args, policy, data):
    """Eqs. 8 and 9 as the paper states them, batch by batch."""
    reference, critic = Qwen3ForCausalLM(policy.config), Critic.from_policy(policy)
    reference.load_state_dict(policy.state_dict())
    optimizers = [
        torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0, fused=True)
        for net in (critic, policy)
    ]
    logged = []
    for start in range(0, len(data), args.batch):
        batch = data[start : start + args.batch]
        for i in range(0, len(batch), args.rows):
            rows = batch[i : i + args.rows]
            share = len(rows) / len(batch)
            logged.append([share * x for x in plain_micro_batch(policy, reference, critic, rows, share)])
        for net, optimizer in zip((critic, policy), optimizers, strict=True):
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    last = logged[-math.ceil(args.batch / args.rows) :]
    return dict(zip(LOSSES, map(sum, zip(*last, strict=True)), strict=True))


def plain_micro_batch(policy, reference, critic, rows, share):
    width, device = max(map(len, rows)), next(policy.parameters()).device

    def left(name, fill):
        return torch.tensor(
            [[*[fill] * (width - len(row)), *getattr(row, name)] for row in rows], device=device
        )

    ids, actions, ends, returns = (
        left("input_ids", 0),
        left("action_mask", False),
        left("end_mask", False),
        left("returns", 0.0),
    )
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
    states = ends | pad(actions[:, 1:], (0, 1))

    def all_log_probs(net):
        return net(**inputs, use_cache=False).logits.float().log_softmax(-1)

    def chosen(log_probs):
        taken = log_probs[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
        return pad(taken, (1, 0)) * actions

    def mean(x, where):
        return ((x * where).sum(1) / where.sum(1)).mean()

    with torch.no_grad():
        logp = chosen(all_log_probs(policy))
        ref_log_probs = all_log_probs(reference)
        ref_logp = chosen(ref_log_probs)
    rho = logp - ref_logp
    after = rho.flip(1).cumsum(1).flip(1) - rho
    values = critic.read(critic.backbone(**inputs, use_cache=False).last_hidden_state)
    value_loss = mean((values - returns + BETA * after) ** 2, states)
    (value_loss * share).backward()
    log_probs = all_log_probs(policy)
    own = chosen(log_probs) - ref_logp
    delta = values.detach()[:, :-1] - returns[:, :-1] + BETA * (own[:, 1:] + after[:, 1:])
    policy_loss = mean(delta**2, actions[:, 1:])
    per_token = torch.nn.functional.kl_div(ref_log_probs, log_probs, log_target=True, reduction="none").sum(
        -1
    )
    kl = mean(pad(per_token[:, :-1], (1, 0)), actions)
    ((policy_loss + ALPHA * kl) * share).backward()
    return value_loss.item(), policy_loss.item(), kl.item()


# --- this project's side --------------------------------------------------------------------------------------


class InOrder(OreoTrainer):
    """Takes the episodes in their order, as the plain side does."""

    def _get_train_sampler(self, train_dataset=None):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def ours(args, policy, data):
    with tempfile.TemporaryDirectory() as folder:
        config = OreoConfig(
            output_dir=folder,
            critic=args.side,
            layout="packed",
            per_device_train_batch_size=args.batch,
            micro_batch_tokens=1024,
            head_chunk=128,
            beta=BETA,
            alpha=ALPHA,
            learning_rate=RATE,
            warmup_steps=0,
            use_cpu=True,
            disable_tqdm=True,
            logging_steps=1,
        )
        policy = with_lora(policy, LORA_RANK) if args.side == "lora" else policy
        trainer = InOrder(policy, config, data, processing_class=load_tokenizer(START))
        trainer.remove_callback(
            next(c for c in trainer.callback_handler.callbacks if "Printer" in type(c).__name__)
        )
        trainer.train()
    return {name: trainer.state.log_history[-2][name] for name in LOSSES}


if __name__ == "__main__":
    main()
