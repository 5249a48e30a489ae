"""A stand-in for the package ``vllm``, with its names and signatures (its source of early 2026, about 0.16).

``LLM`` loads the folder with transformers and reads every prompt as a whole; an option or parameter that vLLM does not
have is a TypeError, as there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar, NotRequired, TypedDict

import torch
from transformers import AutoModelForCausalLM

from oreo_agents.inference.filters import Filters
from oreo_agents.inference.sampling import pick_tokens

ENGINE_ARGS = {"enable_prefix_caching", "generation_config", "logprobs_mode", "max_logprobs", "max_model_len"}
"""Of vllm.EngineArgs, what ``LLM`` passes on by name."""


class TokensPrompt(TypedDict):
    prompt_token_ids: list[int]
    prompt: NotRequired[str]
    multi_modal_data: NotRequired[Any]
    cache_salt: NotRequired[str]


@dataclass(kw_only=True)
class SamplingParams:
    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    flat_logprobs: bool = False
    detokenize: bool = True
    skip_special_tokens: bool = True


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt: str | None
    prompt_token_ids: list[int] | None
    prompt_logprobs: None
    outputs: list[CompletionOutput]
    finished: bool


class LLM:
    made: ClassVar[list] = []
    """All that were made, the newest last."""

    def __init__(
        self,
        model: str,
        *,
        tokenizer: str | None = None,
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        seed: int = 0,
        gpu_memory_utilization: float = 0.9,
        enforce_eager: bool = False,
        **kwargs: Any,
    ) -> None:
        if odd := kwargs.keys() - ENGINE_ARGS:
            raise TypeError(f"EngineArgs.__init__() got an unexpected keyword argument {min(odd)!r}")
        self.options = {"dtype": dtype, "tensor_parallel_size": tensor_parallel_size, **kwargs}
        self.skip_tokenizer_init = skip_tokenizer_init
        self.policy = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
        length = kwargs.get("max_model_len") or self.policy.config.max_position_embeddings
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=length))
        self.calls: list[list[SamplingParams]] = []
        LLM.made.append(self)

    def generate(
        self,
        prompts: Sequence[TokensPrompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: bool = True,
        lora_request: Any = None,
        priority: list[int] | None = None,
    ) -> list[RequestOutput]:
        several = isinstance(sampling_params, Sequence)
        each = list(sampling_params) if several else [sampling_params or SamplingParams()] * len(prompts)
        if len(each) != len(prompts):
            raise ValueError("The lengths of prompts and params must be the same.")
        self.calls.append(each)
        return [
            self._answer(str(i), prompt["prompt_token_ids"], params)
            for i, (prompt, params) in enumerate(zip(prompts, each, strict=True))
        ]

    def _answer(self, request_id: str, ids: list[int], params: SamplingParams) -> RequestOutput:
        if self.skip_tokenizer_init and params.detokenize:
            raise ValueError("detokenize=True needs a tokenizer")
        completions = [self._complete(i, ids, params) for i in range(params.n)]
        return RequestOutput(request_id, None, ids, None, completions, True)

    @torch.inference_mode()
    def _complete(self, index: int, ids: list[int], params: SamplingParams) -> CompletionOutput:
        generator = torch.Generator().manual_seed((params.seed or 0) + index)
        filters = Filters(params.top_p, params.top_k, params.min_p)
        own = set() if params.ignore_eos else {self.policy.config.eos_token_id}
        ends, said, logprobs = own | set(params.stop_token_ids or ()), [], []
        while len(said) < params.max_tokens and not ends & set(said[-1:]):
            logits = self.policy(torch.tensor([[*ids, *said]])).logits[:, -1].float()
            draw = (
                torch.rand(1, 1, generator=generator) if params.temperature else torch.full((1, 1), torch.nan)
            )
            token = int(pick_tokens(logits, draw, params.temperature or 1.0, filters))
            raw = self.options.get("logprobs_mode", "raw_logprobs") == "raw_logprobs"
            table = (logits if raw else logits / params.temperature).log_softmax(-1)[0]
            said.append(token)
            logprobs.append({token: Logprob(float(table[token]))})
        ended = said[-1] in ends
        total = sum(step[token].logprob for step, token in zip(logprobs, said, strict=True))
        how = ("stop", said[-1]) if ended else ("length", None)
        return CompletionOutput(index, "", said, total, None if params.logprobs is None else logprobs, *how)


def make_module() -> ModuleType:
    """What ``import vllm`` finds."""
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams, module.TokensPrompt = LLM, SamplingParams, TokensPrompt
    return module
