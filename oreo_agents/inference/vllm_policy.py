"""A policy in vLLM, in this process, as an engine: its ids are kept here, and each decision asks about all of them.

vLLM keeps what it has read of an episode (prefix caching), and says how likely tokens were before temperature and
filters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.filters import Filters
from oreo_agents.inference.generation import SlotTexts, list_proposals
from oreo_agents.inference.proposals import Proposals
from oreo_agents.inference.sampling import ALL, draws_from_other
from oreo_agents.models.decoder import readable_length, text_config
from oreo_agents.models.model_files import without_bars
from oreo_agents.models.trust import is_trusted


class VllmModel:
    """A policy whose weights vLLM has, too.

    Args:
        weights: the policy, without adapters; vLLM reads a copy from disk, and this one may stay on the CPU.
        dtype: in which vLLM computes, by name.
        options: of ``vllm.LLM``, such as ``tensor_parallel_size``.

    Raises:
        ConfigurationError: vLLM is not installed, or does not run this model.
    """

    def __init__(self, weights: PreTrainedModel, dtype: str, options: Mapping[str, Any]) -> None:
        try:
            from vllm import LLM
        except ImportError as error:
            raise ConfigurationError(
                "engine='vllm' needs vLLM, which is not here: pip install vllm"
            ) from error
        self.weights = weights
        with TemporaryDirectory(prefix="oreo-vllm-") as folder:
            with without_bars():
                weights.save_pretrained(folder)
            own: dict[str, Any] = {
                "skip_tokenizer_init": True,
                "generation_config": "vllm",
                "logprobs_mode": "raw_logprobs",
                "trust_remote_code": is_trusted(),
            }
            if readable := readable_length(text_config(weights)):
                own |= {"max_model_len": readable}  # for more, vLLM takes LongRoPE's long factors throughout
            try:
                self.llm = LLM(folder, dtype=dtype, **{**own, **options})
            except Exception as error:  # whatever vLLM may raise of an architecture, a card or an option
                raise ConfigurationError(f"vLLM does not run this model: {error}") from error

    @property
    def max_length(self) -> int:
        """Tokens that it reads and writes in all."""
        return int(self.llm.llm_engine.model_config.max_model_len)


class VllmPolicy(SlotTexts):
    """Candidates from vLLM; an :class:`~oreo_agents.inference.Engine`.

    Args:
        model: the policy.
        slots: episodes at once.
        end_id: the end-of-turn token.
        max_new_tokens: an action is cut after this many tokens.
        device: of the critic that judges the candidates.
    """

    def __init__(
        self, model: VllmModel, slots: int, end_id: int, max_new_tokens: int, device: torch.device
    ) -> None:
        super().__init__(slots)
        self.model, self.end_id, self.max_new_tokens, self.device = model, end_id, max_new_tokens, device

    def propose(
        self,
        slots: Sequence[int],
        prompts: Sequence[Sequence[int]],
        uniforms: Tensor,
        temperature: float,
        filters: Filters = ALL,
    ) -> Proposals:
        """K candidates for each slot; the first random number of each is its seed, NaN means the likeliest.

        Equal seeds are one candidate. Log-probabilities are those at temperature 1, without filters; those of another
        distribution that was drawn from are not known.
        """
        from vllm import SamplingParams, TokensPrompt

        self.extend(slots, prompts)
        seeds = [
            [None if x != x else int(x * 2**31) for x in row] for row in uniforms[:, 0].double().tolist()
        ]
        asked = list(dict.fromkeys((row, seed) for row, lanes in enumerate(seeds) for seed in lanes))
        ending = {"stop_token_ids": [self.end_id], "ignore_eos": True, "max_tokens": self.max_new_tokens}
        drawing = {
            "temperature": temperature,
            "top_p": filters.top_p,
            "top_k": filters.top_k,
            "min_p": filters.min_p,
        }
        outputs = self.model.llm.generate(
            [TokensPrompt(prompt_token_ids=list(self._episodes[slots[row]])) for row, _ in asked],
            [
                SamplingParams(
                    **({"temperature": 0.0} if seed is None else {**drawing, "seed": seed}),
                    **ending,
                    logprobs=0,
                    detokenize=False,
                )
                for _, seed in asked
            ],
            use_tqdm=False,
        )
        known = {place: _read_output(output) for place, output in zip(asked, outputs, strict=True)}
        listed = [[known[row, seed] for seed in lanes] for row, lanes in enumerate(seeds)]
        found = list_proposals(listed, self.device)
        if draws_from_other(uniforms, temperature, filters):
            return replace(found, drawn=torch.full_like(found.logprobs, torch.nan))
        return found


def _read_output(output: Any) -> tuple[list[int], list[float]]:
    """Ids, the end of the turn included, and the log-probability of each."""
    (completion,) = output.outputs
    ids = list(completion.token_ids)
    steps = zip(ids, completion.logprobs, strict=True)
    return ids, [float(step[token].logprob) for token, step in steps]
