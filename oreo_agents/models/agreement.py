"""One small batch by a model's own forward pass, and by a pass of ours: whether they agree.

Architectures differ in more ways than any list of names holds (logits scaled after the head, attention in windows,
layers that see what follows). So each model is asked before it is trained or played. Knows no pass but the model's own:
those to be compared are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from oreo_agents.errors import ConfigurationError
from oreo_agents.models.decoder import text_config
from oreo_agents.models.generation import generate_tokens

Rows = Sequence[Sequence[int]]
Pass = Callable[[Rows], Sequence[Tensor]]
"""From token ids to the log-probabilities of a row's last tokens, given all before each."""

LENGTHS = (11, 17, 14)
"""Tokens of the rows: of three lengths, so that padding counts."""
EXACT = 1e-3
"""How far log-probabilities (nats) of a float32 model may be apart. Rounding makes 2e-5 in 30 layers, and more where
activations are large; a pass that is wrong is off by far more than this."""
ROUNDED = 0.15
"""How far those of a model in 16 bits may be apart on average."""


class Probe:
    """A few rows of tokens, and what the model itself makes of them, row by row and without a cache.

    Args:
        policy: causal LM.

    Raises:
        ConfigurationError: it cannot read token ids alone, is no causal language model, or gives no numbers.
    """

    def __init__(self, policy: PreTrainedModel) -> None:
        self.policy, self.name = policy, type(policy).__name__
        self.rows = draw_rows(policy)
        try:
            with _evaluate(policy):
                logits = [self._logits(row) for row in self.rows]
                ahead = max(
                    float((self._logits(row[:-3])[-1] - whole[-4]).abs().max())
                    for row, whole in zip(self.rows, logits, strict=True)
                )
        except ConfigurationError:
            raise
        except Exception as error:  # whatever an architecture may raise
            raise ConfigurationError(
                f"{self.name} does not read token ids alone ({_first_line(error)})"
            ) from error
        if not all(bool(row.isfinite().all()) for row in logits):
            raise ConfigurationError(
                f"{self.name} predicts what is no number (nan or inf): its weights are damaged; save it again, or "
                "train from an earlier checkpoint"
            )
        scale = max(float(row.abs().max()) for row in logits)
        if ahead > (EXACT if self._precise else ROUNDED) * max(1.0, scale):
            raise ConfigurationError(
                f"{self.name} is no causal language model as it is configured: what it predicts depends on what follows"
            )
        self.logprobs = [pick_logprobs(out[:-1], row[1:]) for out, row in zip(logits, self.rows, strict=True)]

    @property
    def _precise(self) -> bool:
        return next(self.policy.parameters()).dtype in (torch.float32, torch.float64)

    def _logits(self, row: Sequence[int]) -> Tensor:
        """``[T, V]``."""
        out = self.policy(input_ids=torch.tensor([row], device=self.policy.device))
        logits = getattr(out, "logits", None)
        if logits is None or logits.shape[:2] != (1, len(row)):
            raise ConfigurationError(
                f"{self.name} gives no logits for every token: it is no causal language model"
            )
        return logits[0].float()

    def difference(self, compared: Pass) -> float:
        """How far another pass is from the model's own (nats); for 16 bits the mean, else the largest."""
        with _evaluate(self.policy):
            apart = [
                (other.float().cpu() - own[-len(other) :].cpu()).abs()
                for other, own in zip(compared(self.rows), self.logprobs, strict=True)
            ]
        return float(torch.cat(apart).max() if self._precise else torch.cat(apart).mean())

    def agrees(self, compared: Pass) -> bool:
        """Whether another pass gives the model's own log-probabilities."""
        return self.difference(compared) <= (EXACT if self._precise else ROUNDED)

    def require(self, compared: Pass, purpose: str) -> None:
        """Refuse a model that another pass does not do justice to.

        Raises:
            ConfigurationError: the pass fails, or gives other log-probabilities.
        """
        try:
            agree, why = self.agrees(compared), "the log-probabilities are not those of its own forward pass"
        except Exception as error:  # whatever an architecture may raise
            agree, why = False, _first_line(error)
        if not agree:
            raise ConfigurationError(
                f"{self.name} cannot be {purpose} here ({why}): choose another architecture, such as Llama or Qwen3"
            )

    def generate(self, rows: Rows) -> list[Tensor]:
        """The pass of transformers' generation: what is generated is what stands in the rows."""
        return [self._follow(row, 4) for row in rows]

    def _follow(self, row: Sequence[int], n: int) -> Tensor:
        """Log-probabilities of the last ``n`` tokens of a row, as generation has them beside another continuation."""
        given = torch.tensor([row, [*row[:-n], *row[: -n - 1 : -1]]], device=self.policy.device)
        _, logprobs = generate_tokens(
            self.policy, given[:, :-n], lambda step, logits: given[:, len(row) - n + step], None, n
        )
        return logprobs[0]


@contextmanager
def _evaluate(policy: PreTrainedModel) -> Iterator[None]:
    """Without dropout and gradients; afterwards as it was."""
    training = policy.training
    policy.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        policy.train(training)


def draw_rows(model: PreTrainedModel) -> list[list[int]]:
    """Ordinary tokens, always the same; none that the configuration gives a meaning to."""
    config = text_config(model)
    named = {**model.config.to_dict(), **config.to_dict()}
    special = {x for name, x in named.items() if "token_i" in name and isinstance(x, int)}
    ordinary = [token for token in range(min(config.vocab_size, 30_000)) if token not in special]
    generator = torch.Generator().manual_seed(0)
    return [
        [ordinary[int(i)] for i in torch.randint(len(ordinary), (n,), generator=generator)] for n in LENGTHS
    ]


def pick_logprobs(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """Log-probabilities of ``tokens``, ``[T]``, from logits ``[T, V]``."""
    chosen = torch.tensor(tokens, device=logits.device)[:, None]
    return logits.float().log_softmax(-1).gather(1, chosen)[:, 0]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
