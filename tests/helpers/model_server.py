"""A small server with a model in it that speaks vLLM's protocol or SGLang's: completions, chat, token ids."""

import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from oreo_agents.inference.filters import Filters
from oreo_agents.inference.sampling import pick_tokens
from oreo_agents.models.generation import generate_tokens


class ModelServer(ThreadingHTTPServer):
    """Answers with what a policy says.

    Args:
        policy: causal LM.
        tokenizer: its tokenizer.
        gives_ids: it knows ``return_token_ids`` and what comes with it, as vLLM does; else it ignores all that.
        sglang: what SGLang does otherwise: a ``top_k`` of 0 is refused but where it is greedy, ``stop_token_ids`` are
            skipped with ``ignore_eos``, log-probabilities are those after the temperature.
        refuses: words that no request may have, each named by the refusal.
        max_model_len: prompt and reply may have so many tokens.
        own_settings: how it samples where a request does not say so; ``repeat_penalty`` (of the last 64 tokens, greedy
            or not), ``top_k``.
    """

    def __init__(
        self,
        policy,
        tokenizer,
        gives_ids=True,
        max_model_len=10_000,
        sglang=False,
        refuses=(),
        **own_settings,
    ):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.policy, self.tokenizer, self.gives_ids = policy, tokenizer, gives_ids
        self.sglang, self.refuses, self.written = sglang, refuses, []
        self.own_settings = own_settings
        self.max_model_len, self.bodies, self.lock = max_model_len, [], threading.Lock()
        self.delay = 0.0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def read_prompt(self, body):
        if "messages" in body:
            return self.tokenizer.apply_chat_template(
                body["messages"],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=False,
                **body.get("chat_template_kwargs", {}),
            )
        prompt = body["prompt"]
        return prompt if isinstance(prompt, list) else self.tokenizer(prompt)["input_ids"]

    def reply(self, body, chat):
        ids, exact = self.read_prompt(body), self.gives_ids and body.get("return_token_ids", False)
        if len(ids) + body["max_tokens"] > self.max_model_len:
            message = f"This model's maximum context length is {self.max_model_len} tokens."
            return 400, {"error": {"message": message, "type": "BadRequestError", "code": 400}}
        n, temperature = body.get("n", 1), body["temperature"]
        if refusal := self._refuse(body):
            return 400, {"error": {"message": refusal, "type": "BadRequestError", "code": 400}}
        own = [] if body.get("ignore_eos") else [self.policy.config.eos_token_id]
        ends = {*own, *body.get("stop_token_ids", ())} if own or not self.sglang else set()
        generator = torch.Generator().manual_seed(body.get("seed", 0))
        shape = (body["max_tokens"], n, 1)
        uniforms = torch.rand(shape, generator=generator) if temperature else torch.full(shape, torch.nan)
        settings = {**self.own_settings, **body}
        filters, seen = Filters(top_k=max(settings.get("top_k", 0), 0)), [torch.tensor([ids] * n)]
        tempered = []

        def choose(step, logits):
            logits = penalize(
                logits.float(), torch.cat(seen, 1)[:, -64:], settings.get("repeat_penalty", 1.0)
            )
            seen.append(pick_tokens(logits, uniforms[step], temperature or 1.0, filters))
            tempered.append((logits / (temperature or 1.0)).log_softmax(-1).gather(1, seen[-1]))
            return seen[-1][:, 0]

        with self.lock:
            tokens, logprobs = generate_tokens(
                self.policy,
                torch.tensor([ids] * n),
                choose,
                None,
                body["max_tokens"],
            )
        if self.sglang:
            logprobs = torch.cat(tempered, 1)
        choices = [
            self._choose(row, scores, ends, ids if exact else None, chat, body)
            for row, scores in zip(tokens.tolist(), logprobs.tolist(), strict=True)
        ]
        written = sum(len(choice.pop("sampled")) for choice in choices)
        self.written.append(written)
        return 200, {"choices": choices, "usage": {"prompt_tokens": len(ids), "completion_tokens": written}}

    def _refuse(self, body):
        if named := [word for word in self.refuses if word in body]:
            return f"Unrecognized request argument supplied: {named[0]}"
        if self.sglang and body["temperature"] and not (body.get("top_k", -1) == -1 or body["top_k"] >= 1):
            return f"top_k must be -1 (disable) or at least 1, got {body['top_k']}."
        return None

    def _choose(self, row, scores, ends, read, chat, body):
        end = next((i for i, token in enumerate(row) if token in ends), None)
        row = row if end is None else row[: end + 1]
        text = self.tokenizer.decode(row if end is None else row[:-1], skip_special_tokens=True)
        for stop in body.get("stop", ()):
            text = text.partition(stop)[0]
        choice = {"finish_reason": "length" if end is None else "stop", "sampled": row}
        choice["matched_stop" if self.sglang else "stop_reason"] = None if end is None else row[-1]
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        if read is not None:
            choice |= {"token_ids": row, "prompt_token_ids": read}
            if body.get("logprobs") is not None and not chat:
                choice["logprobs"] = {"token_logprobs": scores[: len(row)]}
            elif body.get("logprobs"):
                choice["logprobs"] = {"content": [{"logprob": x} for x in scores[: len(row)]]}
        return choice


def penalize(logits, seen, penalty):
    """Make what stands among the last tokens less likely (arXiv 1909.05858)."""
    own = logits.gather(1, seen)
    return logits.scatter(1, seen, torch.where(own > 0, own / penalty, own * penalty))


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        time.sleep(self.server.delay)
        status, told = self.server.reply(body, self.path.endswith("/chat/completions"))
        told = json.dumps(told).encode()
        with suppress(ConnectionError):  # nobody may wait any longer
            self.send_response(status)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

    def log_message(self, *args):
        """Quietly."""


@contextmanager
def serving(policy, tokenizer, **options):
    """Such a server while the block lasts."""
    server = ModelServer(policy, tokenizer, **options)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
