"""What a training takes: parameters, floating-point operations, memory, from the shape of a decoder. Without torch.

Counted are matrix products, the exact part; what the activations of a token take is a model of this trainer's passes
(float32 master weights, passes in bfloat16 on a card), which a test compares with what torch keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["none", "separate", "shared", "lora"]
"""Of the critic; ``lora``: adapters of the policy and of the critic over one frozen trunk."""

PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "4090": 165e12,
    "T4": 65e12,
}
"""Dense 16-bit floating-point operations a second of a card, by what its name contains (NVIDIA's data sheets)."""
UTILISATION = 0.35
"""Share of a card's peak that the estimate of time assumes."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder's sizes, in the words of its configuration."""

    vocabulary: int
    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    tied: bool = True
    """One matrix for embeddings and head."""

    @classmethod
    def of(cls, config: Any) -> Shape:
        """Of a configuration of transformers'."""
        heads = config.num_attention_heads
        return cls(
            config.vocab_size,
            config.hidden_size,
            config.intermediate_size,
            config.num_hidden_layers,
            heads,
            getattr(config, "num_key_value_heads", None) or heads,
            getattr(config, "head_dim", None) or config.hidden_size // heads,
            bool(config.tie_word_embeddings),
        )

    @property
    def layer(self) -> int:
        """Weights of a layer's matrices."""
        attention = self.hidden * self.head_size * 2 * (self.heads + self.key_heads)
        return attention + 3 * self.hidden * self.inner

    @property
    def head(self) -> int:
        """Weights of the head."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All of them; biases and norms, less than a thousandth, are left out."""
        return self.layers * self.layer + self.head * (1 if self.tied else 2)

    def count_adapters(self, rank: int) -> int:
        """Weights of LoRA adapters on every matrix of the layers."""
        queries, keys = self.heads * self.head_size, self.key_heads * self.head_size
        ends = 2 * (self.hidden + queries) + 2 * (self.hidden + keys) + 3 * (self.hidden + self.inner)
        return self.layers * rank * ends


SHAPES = {
    "135M": Shape(49_152, 576, 1536, 30, 9, 3, 64),
    "1.5B": Shape(151_936, 1536, 8960, 28, 12, 2, 128),
    "3B": Shape(151_936, 2048, 11_008, 36, 16, 2, 128),
    "7B": Shape(152_064, 3584, 18_944, 28, 28, 4, 128, tied=False),
}
"""SmolLM2-135M, and Qwen2.5 in three sizes."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is trained on, and how."""

    critic: Kind = "separate"
    reference: bool = True
    rank: int = 16
    """Of the adapters, with ``lora``."""
    micro_batch_tokens: int = 16_384
    length: float = 1000.0
    """Tokens of an episode, weighted by tokens."""
    action_share: float = 0.25
    """Of the tokens, those that go through the head."""
    head_chunk: int = 512
    """Action positions that become logits at once."""
    bf16: bool = True
    checkpointing: bool = False
    """Activations are computed a second time instead of kept."""


def count_flops(shape: Shape, work: Workload) -> float:
    """Floating-point operations of matrix products for one trained token: the model's, recomputation not counted.

    Two for each weight forward, four backward (two where the weight is frozen); attention over half of a sequence.
    The policy runs forward and backward, the reference forward, a separate critic like the policy, without a head.
    """
    attention = 2 * shape.layers * shape.heads * shape.head_size * work.length
    trunk = 2 * shape.layers * shape.layer + attention
    head = 2 * shape.head * work.action_share
    backward = 1 if work.critic == "lora" else 2
    policy = (1 + backward) * trunk + 3 * head
    reference = (trunk + head) * work.reference
    critic = (1 + backward) * trunk if work.critic in ("separate", "lora") else 0.0
    return policy + reference + critic


def count_memory(shape: Shape, work: Workload) -> dict[str, int]:
    """Bytes of a training on one card: ``weights``, ``gradients``, ``optimizer``, ``activations``, ``total``."""
    lora = work.critic == "lora"
    copies = 1 if lora else 1 + (work.critic == "separate")
    trained = 2 * shape.count_adapters(work.rank) if lora else copies * shape.parameters
    held = shape.parameters + trained if lora else trained + work.reference * shape.parameters
    cast = 2 * held if work.bf16 else 0  # a bfloat16 copy of the weights while a pass runs
    passes = 2 if work.critic in ("separate", "lora") else 1
    kept = count_activations(shape, work)
    logits = 6 * 4 * work.head_chunk * shape.vocabulary
    found = {
        "weights": 4 * held + cast,
        "gradients": 4 * trained,
        "optimizer": 8 * trained,
        "activations": passes * kept * work.micro_batch_tokens + logits,
    }
    return {**found, "total": sum(found.values())}


def count_activations(shape: Shape, work: Workload) -> int:
    """Bytes that one token's pass over the trunk keeps for the way back.

    A layer keeps the residual stream before both norms and divided by them, what the norms give, queries, keys and
    values before and after their rotation, what attention gives, and four vectors of the inner size; in float32 all of
    them, else the stream.
    """
    size = 2 if work.bf16 else 4
    if work.checkpointing:
        return 4 * shape.layers * shape.hidden
    stream = 2 * shape.hidden
    mixed = shape.head_size * (2 * (shape.heads + shape.key_heads) + 2 * shape.heads)
    return shape.layers * (4 * stream * 2 + size * (2 * shape.hidden + mixed + 4 * shape.inner))


def estimate_seconds(shape: Shape, work: Workload, tokens: int, peak: float) -> float:
    """Of training on so many tokens, on a card of so many operations a second, at :data:`UTILISATION`."""
    return tokens * count_flops(shape, work) / (UTILISATION * peak)


def find_peak(device: str) -> float | None:
    """16-bit operations a second of a card by its name, where it is known."""
    return next((peak for name, peak in PEAKS.items() if name in device), None)


def draw_table() -> str:
    """Markdown: gigabytes and minutes for the sizes of :data:`SHAPES`, as docs/which-card.md has it."""
    lines = [
        "| policy | critic | weights, gradients, optimizer | activations | with checkpointing | total | least | H100 |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, shape in SHAPES.items():
        kinds: tuple[Kind, ...] = ("separate", "shared", "lora")
        for critic in kinds:
            kept, short = (Workload(critic, checkpointing=again) for again in (False, True))
            memory, least = count_memory(shape, kept), count_memory(shape, short)
            state = memory["weights"] + memory["gradients"] + memory["optimizer"]
            sizes = state, memory["activations"], least["activations"], memory["total"], least["total"]
            minutes = estimate_seconds(shape, kept, 10_000_000, PEAKS["H100"]) / 60
            cells = [name, critic, *(f"{size / 1e9:.1f}" for size in sizes), f"{minutes:.1f} min"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
