"""On one GPU: are the results right, and how near to the card's arithmetic are training, decoding and play?

    python benchmarks/speed/gpu.py --model DIR --games DIR_OR_ARCHIVE [--output FILE] [--parts NAME ...]

Needs the repository (PYTHONPATH=.:envs), torch, transformers, accelerate, peft, safetensors, pyarrow, rich, and as
wheels, where they are not installed: gymnasium, Farama-Notifications, prompt_toolkit, wcwidth, filelock, math-verify,
latex2sympy2_extended, antlr4-python3-runtime==4.13.2. The parts run one after the other, each in a process of its own
with its own time limit (eight minutes in all), so that one that hangs costs itself alone; what is found is written
after each, into one JSON file that a later call adds to: parts can also be run in several calls.

    checks      losses on the card and on the CPU, slots against whole passes, a training that is resumed; float32
    training    SFT, OREO (critic separate, shared, LoRA) beside the plain manner of train.py, bfloat16; 135M and 1.5B
    decoding    slots and trees, greedy and best of 8, beside ``generate``; the share of time in kernels
    rollouts    episodes a second on real games, with --model
    experiment  the suite alfworld-paper with --model, for the minutes that are left
    compiled    only when it is named, four minutes: OREO with a separate critic and decoding, as they are and compiled,
                steps of decoding as CUDA graphs

Model FLOP utilisation: oreo_agents.training.estimate.count_flops x tokens a second / the card's dense 16-bit peak; the
plain manner is charged the same operations. --tiny runs the same code on a CPU in seconds, as the tests do.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "envs"), str(Path(__file__).parent)]

import torch  # noqa: E402
import train as plain_manner  # noqa: E402
from oreo_envs.files import read_json, write_json  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from oreo_agents.models.agent_folder import load_tokenizer  # noqa: E402
from oreo_agents.models.critic import Critic  # noqa: E402
from oreo_agents.models.decoder import best_device, trunk_of  # noqa: E402
from oreo_agents.models.start import with_lora  # noqa: E402
from oreo_agents.training.config import OreoConfig  # noqa: E402
from oreo_agents.training.estimate import SHAPES, Shape, Workload, count_flops, find_peak  # noqa: E402

LIMITS = {"checks": 60, "training": 150, "decoding": 90, "rollouts": 50, "experiment": 130, "compiled": 240}
USUAL = ("checks", "training", "decoding", "rollouts", "experiment")
TINY = Shape(500, 64, 128, 2, 2, 1, 32)
SLOTS, NEW_TOKENS, PROMPT_TOKENS, TURNS = (64, 256, 1024), 24, 80, 4


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a causal LM's folder, for the parts that play")
    parser.add_argument("--games", type=Path, help="ALFWorld's games, for the parts that play")
    parser.add_argument("--parts", nargs="+", choices=LIMITS, default=USUAL, help="default: all but compiled")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "gpu.json")
    parser.add_argument("--tiny", action="store_true", help="the same code, small, on a CPU")
    parser.add_argument("--part", choices=LIMITS, help="run one here and print what it found")
    args = parser.parse_args()
    if args.part:
        print(json.dumps(PARTS[args.part](args)))
        return
    results = read_json(args.output) if args.output.exists() else {"parts": {}}
    results |= describe_machine(args)
    for part in args.parts:
        results["parts"][part] = run_part(part)
        write_json(args.output, results)
        print(json.dumps({part: results["parts"][part]}), flush=True)
    sys.exit(int(any("failed" in results["parts"][part] for part in args.parts)))


def run_part(part):
    """A part in a process of its own, which ends with its time."""
    command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
    clocks, started = read_clocks(), time.perf_counter()
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=LIMITS[part])
        found = (
            json.loads(ran.stdout.splitlines()[-1]) if ran.returncode == 0 else {"failed": ran.stderr[-1500:]}
        )
    except subprocess.TimeoutExpired:
        found = {"failed": f"over {LIMITS[part]} s"}
    return {**found, "wall_s": round(time.perf_counter() - started, 1), "clocks": [clocks, read_clocks()]}


def describe_machine(args):
    versions = {name: version(name) for name in ("torch", "transformers", "accelerate", "peft")}
    found = {"device": platform.processor() or platform.machine(), "cuda": torch.version.cuda, "driver": None}
    if device_of(args).type == "cuda":
        found |= {"device": torch.cuda.get_device_name(), "driver": ask_card("driver_version")}
    return {**found, "python": platform.python_version(), "versions": versions}


def read_clocks():
    return ask_card("clocks.sm,clocks.mem,power.draw")


def ask_card(what):
    try:
        command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip() or None
    except OSError:
        return None


def device_of(args):
    return torch.device("cpu") if args.tiny else best_device()


def wait_for(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def make_model(shape):
    """Random weights, the same every time."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        head_dim=shape.head_size,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=8192,
    )
    return LlamaForCausalLM(config)


# --- checks -----------------------------------------------------------------------------------------------------------


def check_results(args):
    """Largest differences; ``holds`` says whether they are rounding."""
    device = device_of(args)
    torch.backends.cuda.matmul.allow_tf32 = False
    found = {
        "loss_difference": compare_losses(device),
        "slots_difference": compare_slots(device),
        "resumed_difference": compare_resumed(device),
    }
    return {**found, "holds": all(value < 1e-3 for value in found.values())}


def train_tiny(device, folder, steps, resume=None, **options):
    config = OreoConfig(
        output_dir=folder,
        per_device_train_batch_size=4,
        max_steps=steps,
        learning_rate=1e-3,
        use_cpu=device.type == "cpu",
        disable_tqdm=True,
        logging_steps=1,
        report_to="none",
        **options,
    )
    trainer = quiet_trainer(make_model(TINY), config, draw_episodes(16))
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def draw_episodes(count):
    """Those of train.py, their tokens from the smallest vocabulary."""
    plain_manner.VOCABULARY = TINY.vocabulary
    return plain_manner.episodes(count)


def quiet_trainer(policy, config, data):
    tokenizer = load_tokenizer(plain_manner.START)
    trainer = plain_manner.InOrder(policy, config, data, processing_class=tokenizer)
    trainer.remove_callback(
        next(c for c in trainer.callback_handler.callbacks if "Printer" in type(c).__name__)
    )
    return trainer


def compare_losses(device):
    """Of one OREO step on the device and on the CPU, relative to the CPU's."""
    sides = []
    for place in (device, torch.device("cpu")):
        with tempfile.TemporaryDirectory() as folder:
            log = train_tiny(place, folder, 1).state.log_history[0]
            sides.append([log[name] for name in plain_manner.LOSSES])
    return max(abs(a - b) / max(abs(b), 1e-6) for a, b in zip(*sides, strict=True))


def compare_slots(device):
    """Log-probabilities of candidates from slots and from whole passes, at turns of several slots."""
    from oreo_agents.inference.policy import CachedPolicy

    policy = make_model(TINY).to(device).eval()
    engine, draw = CachedPolicy(policy, 3, 4096, 0, 5), torch.Generator().manual_seed(0)
    history, worst = [[], [], []], 0.0
    for _ in range(3):
        prompts = [torch.randint(1, TINY.vocabulary, (20 + i,), generator=draw).tolist() for i in range(3)]
        uniforms = torch.rand(3, 5, 4, generator=draw)
        proposals = engine.propose(range(3), prompts, uniforms, 1.0)
        lanes = torch.zeros(3, dtype=torch.long)
        candidates = proposals.listed()
        for slot in range(3):
            history[slot] += prompts[slot]
            ids, logprobs = candidates[slot][0]
            whole = torch.tensor([[*history[slot], *ids]], device=device)
            with torch.inference_mode():
                table = policy(whole).logits[0].float().log_softmax(-1)
            start = len(history[slot]) - 1
            for step, token in enumerate(ids):
                worst = max(worst, abs(float(table[start + step, token]) - logprobs[step]))
            history[slot] += ids
        engine.keep(range(3), proposals, lanes)
    return worst


def compare_resumed(device):
    """Weights of a training in one go and of one that went on from its middle."""
    with tempfile.TemporaryDirectory() as folder:
        saving = {"save_strategy": "steps", "save_steps": 1}
        whole = train_tiny(device, folder, 2, **saving).trained.state_dict()
        resumed = train_tiny(
            device, folder, 2, resume=f"{folder}/checkpoint-1", **saving
        ).trained.state_dict()
        return max(float((weights - resumed[name]).abs().max()) for name, weights in whole.items())


# --- training ---------------------------------------------------------------------------------------------------------


def measure_training(args):
    return measure_sides(args, ["plain", "sft", "separate", "shared", "lora"])


def measure_sides(args, sides):
    """Each side twice over its batches, the second time with the clock."""
    device = device_of(args)
    shapes = (
        {"tiny": (TINY, 2, 2)}
        if args.tiny
        else {"135M": (SHAPES["135M"], 64, 32), "1.5B": (SHAPES["1.5B"], 16, 8)}
    )
    found = {}
    for name, (shape, count, batch) in shapes.items():
        found[name] = {}
        for side in sides:
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            try:
                found[name][side] = train_side(args, shape, side, draw_episodes(count), batch)
            except torch.cuda.OutOfMemoryError as error:
                found[name][side] = {"failed": str(error).splitlines()[0]}
    return found


def train_side(args, shape, side, data, batch):
    device, tokens = device_of(args), sum(map(len, data))
    run = prepare_plain(device, shape, batch) if side == "plain" else prepare_ours(args, shape, side, batch)
    run(data[:batch])
    wait_for(device)
    started = time.perf_counter()
    run(data)
    wait_for(device)
    seconds = time.perf_counter() - started
    length = sum(len(one) ** 2 for one in data) / tokens
    share = sum(sum(one.action_mask) for one in data) / tokens
    critic = {"sft": "none", "plain": "separate", "compiled": "separate"}.get(side, side)
    flops = count_flops(shape, Workload(critic, side != "sft", length=length, action_share=share))
    peak = find_peak(torch.cuda.get_device_name()) if device.type == "cuda" else None
    found = {"tokens": tokens, "seconds": seconds, "tokens_per_s": tokens / seconds, "flops_per_token": flops}
    if device.type == "cuda":
        found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return {**found, "utilisation": peak and flops * tokens / seconds / peak}


def prepare_plain(device, shape, batch, rows=4):
    """The manner of train.py under bfloat16 autocast."""
    policy, reference = make_model(shape).to(device), make_model(shape).to(device).eval()
    critic = Critic.from_policy(policy).to(device)
    optimizers = [
        torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0, fused=True)
        for net in (critic, policy)
    ]

    def run(data):
        for start in range(0, len(data), batch):
            part = data[start : start + batch]
            for i in range(0, len(part), rows):
                own = part[i : i + rows]
                with torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"):
                    plain_manner.plain_micro_batch(policy, reference, critic, own, len(own) / len(part))
            for net, optimizer in zip((critic, policy), optimizers, strict=True):
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()

    return run


def prepare_ours(args, shape, side, batch):
    policy = make_model(shape)
    policy = with_lora(policy, plain_manner.LORA_RANK) if side == "lora" else policy

    def run(data):
        options = {"critic": side, "beta": 0.03, "alpha": 0.01}
        if side == "sft":
            options = {"method": "sft"}
        elif side == "compiled":
            options |= {"critic": "separate", "torch_compile_backend": find_compiler(args)}
        with tempfile.TemporaryDirectory() as folder:
            config = OreoConfig(
                output_dir=folder,
                layout="packed",
                per_device_train_batch_size=batch,
                micro_batch_tokens=1024 if args.tiny else 16_384,
                learning_rate=1e-4,
                warmup_steps=0,
                num_train_epochs=1,
                use_cpu=args.tiny,
                bf16=not args.tiny,
                disable_tqdm=True,
                report_to="none",
                **options,
            )
            trunk_of(policy).set_attn_implementation("sdpa")  # the run before left it packed
            quiet_trainer(policy, config, data).train()

    return run


# --- decoding ---------------------------------------------------------------------------------------------------------


def measure_decoding(args):
    """Turns of a fixed number of tokens after prompts that grow, as in play; ``generate`` reads them whole."""
    device = device_of(args)
    policy = make_model(TINY if args.tiny else SHAPES["135M"]).to(
        device, torch.float32 if args.tiny else torch.bfloat16
    )
    policy.eval()
    found = {}
    for slots in (2,) if args.tiny else SLOTS:
        rows = {name: decode_slots(policy, slots, k) for name, k in (("greedy", 1), ("best_of_8", 8))}
        if slots <= 256:
            rows["generate"] = decode_plain(policy, slots)
            rows["times_generate"] = rows["greedy"]["tokens_per_s"] / rows["generate"]["tokens_per_s"]
        rows["best_of_8_over_greedy"] = rows["best_of_8"]["turn_s"] / rows["greedy"]["turn_s"]
        found[slots] = rows
    return found


def measure_compiled(args):
    """Training and decoding as they are and compiled: the same tokens, and their seconds."""
    device, found = device_of(args), {"training": measure_sides(args, ["separate", "compiled"])}
    dtype = torch.float32 if args.tiny else torch.bfloat16
    policy = make_model(TINY if args.tiny else SHAPES["135M"]).to(device, dtype).eval()
    for slots in (2,) if args.tiny else SLOTS[:2]:
        found[slots] = {}
        for name, k in (("greedy", 1), ("best_of_8", 8)):
            plain, compiled = (
                decode_slots(policy, slots, k, backend) for backend in (None, find_compiler(args))
            )
            times = plain["turn_s"] / compiled["turn_s"]
            found[slots][name] = {"plain": plain, "compiled": compiled, "times_as_fast": times}
    return found


def find_compiler(args):
    """inductor, where there is a card."""
    return "aot_eager" if args.tiny else "inductor"


def draw_prompts(slots):
    return torch.randint(
        1, TINY.vocabulary, (TURNS, slots, PROMPT_TOKENS), generator=torch.Generator().manual_seed(0)
    ).tolist()


def decode_slots(policy, slots, k, compile_backend=None):
    from oreo_agents.inference.policy import CachedPolicy

    # nothing ends a reply
    engine = CachedPolicy(policy, slots, 8192, -1, NEW_TOKENS, compile_backend=compile_backend)
    uniforms = torch.rand(slots, NEW_TOKENS, k, generator=torch.Generator().manual_seed(0))
    uniforms = uniforms.fill_(math.nan) if k == 1 else uniforms
    lanes = torch.zeros(slots, dtype=torch.long)

    def turn(prompts):
        proposals = engine.propose(range(slots), prompts, uniforms, 1.0)
        engine.keep(range(slots), proposals, lanes)

    first, *others = draw_prompts(slots)
    started = time.perf_counter()
    turn(first)
    wait_for(policy.device)
    first_s = time.perf_counter() - started
    found = time_turns(policy.device, [lambda prompts=prompts: turn(prompts) for prompts in others], slots)
    return {"first_turn_s": first_s, **found}


def decode_plain(policy, slots):
    """Every turn reads its whole conversation again, as a loop around ``generate`` does."""
    history = torch.zeros(slots, 0, dtype=torch.long, device=policy.device)

    def turn(prompts):
        nonlocal history
        history = torch.cat([history, torch.tensor(prompts, device=policy.device)], 1)
        options = {
            "max_new_tokens": NEW_TOKENS,
            "min_new_tokens": NEW_TOKENS,
            "do_sample": False,
            "pad_token_id": 0,
        }
        history = policy.generate(history, attention_mask=torch.ones_like(history), **options)

    first, *others = draw_prompts(slots)
    turn(first)
    return time_turns(policy.device, [lambda prompts=prompts: turn(prompts) for prompts in others], slots)


def time_turns(device, turns, slots):
    """All turns but the last by the clock, the last by the profiler."""
    *timed, profiled = turns
    wait_for(device)
    started = time.perf_counter()
    for turn in timed:
        turn()
    wait_for(device)
    seconds = (time.perf_counter() - started) / len(timed)
    found = {"turn_s": seconds, "tokens_per_s": slots * NEW_TOKENS / seconds}
    if device.type == "cuda":
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            profiled()
            wait_for(device)
        kernels = [one for one in seen.events() if one.device_type == torch.autograd.DeviceType.CUDA]
        inside = sum(one.device_time_total for one in kernels) / 1e6
        found |= {"kernels": len(kernels), "kernel_share": inside / seconds}
    return found


# --- play -------------------------------------------------------------------------------------------------------------


def measure_rollouts(args):
    """Episodes of real games, sampled, with the given model: the shipped one and generated games with --tiny."""
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.environments import environments
    from oreo_agents.evaluation.evaluate import evaluate, pick_games

    agent = OreoAgent.from_pretrained(
        "small" if args.tiny else args.model, select="sample", max_new_tokens=24, device=device_of(args)
    )
    options = {"split": "generated"} if args.tiny else {"games": str(args.games)}
    make_env = environments("OREO-ALFWorld", 4 if args.tiny else 30, **options)
    count = 2 if args.tiny else 256
    started = time.perf_counter()
    _, episodes = evaluate(make_env, agent, pick_games(make_env, count, 0), "policy", 0, count)
    seconds = time.perf_counter() - started
    turns = sum(map(len, episodes))
    found = {"episodes": len(episodes), "turns": turns, "seconds": seconds, "dtype": str(agent.policy.dtype)}
    return {**found, "episodes_per_s": len(episodes) / seconds, "turns_per_s": turns / seconds}


def run_experiment(args):
    """The paper's suite in short; each stage's seconds are in its folder. With --tiny its plan is made, no more."""
    from oreo_agents.cli import main as oreo

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        suite = ROOT / "benchmarks" / "suites" / "alfworld-paper.toml"
        if args.tiny:
            from oreo_agents.experiments.suite_file import load_suite

            return {"methods": [*load_suite(str(suite)).methods]}
        os.environ["ALFWORLD_DATA"] = str(args.games)
        options = ["--methods", "sft", "rejection", "oreo", "--seeds", "0", "--model", str(args.model)]
        code = oreo(
            ["bench", "--suite", str(suite), *options, "-o", folder, "--results", f"{folder}/results.json"]
        )
        results = read_json(f"{folder}/results.json") if Path(folder, "results.json").exists() else None
        return {"code": code, "seconds": time.perf_counter() - started, "results": results}


PARTS = {
    "checks": check_results,
    "training": measure_training,
    "decoding": measure_decoding,
    "rollouts": measure_rollouts,
    "experiment": run_experiment,
    "compiled": measure_compiled,
}

if __name__ == "__main__":
    main()
