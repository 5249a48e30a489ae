"""An agent behind the OpenAI protocol: whoever sends a conversation gets the action that the agent would choose.

Nothing is kept between requests but what the engine has read: each carries its whole conversation, the environment's
texts as the user's messages and the actions as the assistant's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from oreo_agents.agents.agent import Decision
from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.errors import ConfigurationError, OreoError
from oreo_agents.language.reply import read_reply
from oreo_agents.trajectory import Action

MOST_BYTES = 8_000_000
"""Of a request; a conversation of four million characters."""
COMMANDS = "admissible_commands"
"""Field of a request, and of a message: what the environment lists there, where it does."""


class AgentServer:
    """Answers chat completions with an agent's choices, one request at a time.

    Args:
        agent: who chooses; its own selection and prompt count, whatever temperature a request names.
        name: what the model is called.

    Raises:
        ConfigurationError: the agent needs what no conversation can carry, such as a simulator.
    """

    def __init__(self, agent: OreoAgent, name: str) -> None:
        if agent.needs:
            raise ConfigurationError(
                f"{agent.selection.select} needs the simulator, which a server does not have: choose best_of_k"
            )
        self.agent, self.name = agent, name
        self._lock, self._begun = Lock(), int(time.time())

    def make_app(self) -> Starlette:
        """The application, for uvicorn or another ASGI server."""
        routes = [
            Route("/v1/models", self._list_models),
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    def decide(
        self, messages: Sequence[Mapping[str, Any]], commands: Sequence[str] | None = None, seed: int = 0
    ) -> Decision:
        """The agent's decision after a conversation.

        Args:
            messages: ``user`` and ``assistant`` in turns, a ``user`` first and last.
            commands: the admissible ones now, where the environment lists them.
            seed: of what is sampled.

        Raises:
            ConfigurationError: it is no such conversation.
        """
        turns = _read_messages(messages)
        turns[-1] = turns[-1][0], turns[-1][1] if commands is None else commands
        with self._lock:
            self.agent.reset(seed)
            for (observation, listed), (said, _) in zip(turns[0:-1:2], turns[1::2], strict=True):
                self.agent.follow([0], [observation], [_make_info(listed)], [self._hear(said, listed)])
            return self.agent.act(turns[-1][0], _make_info(turns[-1][1]))

    def _hear(self, said: str, commands: Sequence[str] | None) -> Action:
        """An earlier reply, as it was said."""
        chat = self.agent.chat
        action = read_reply(said, commands, chat.prompt.form).action
        whole = None if said == action else said
        return Action(action, token_ids=tuple(chat.heard_ids(said, commands)), said=whole)

    async def _list_models(self, request: Request) -> Response:
        one = {"id": self.name, "object": "model", "created": self._begun, "owned_by": "oreo_agents"}
        return JSONResponse({"object": "list", "data": [one]})

    async def _complete(self, request: Request) -> Response:
        try:
            body = await _read_body(request)
            seed = body.get("seed") or 0
            decision = await run_in_threadpool(self.decide, body.get("messages"), body.get(COMMANDS), seed)  # type: ignore[arg-type]
        except OreoError as error:
            return _refuse_request(str(error))
        if decision.end:
            kind = "server_error" if decision.failed else "context_length_exceeded"
            return _refuse_request(decision.end, 502 if decision.failed else 400, kind)
        answer = self._describe(decision)
        if body.get("stream"):
            return StreamingResponse(_stream(answer), media_type="text/event-stream")
        return JSONResponse(answer)

    def _describe(self, decision: Decision) -> dict[str, Any]:
        action = decision.action
        considered = [
            {"action": one.action, "logprob": one.logprob, "value": one.value} for one in decision.candidates
        ]
        message = {"role": "assistant", "content": str(action.said or action)}
        read, made = decision.prompt_tokens, decision.generated_tokens
        return {
            "id": f"chatcmpl-{time.time_ns():x}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.name,
            "choices": [
                {"index": 0, "message": message, "finish_reason": "length" if decision.action.cut else "stop"}
            ],
            "usage": {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made},
            "oreo": {"action": str(action), "value": action.value, "candidates": considered},
        }


async def _read_body(request: Request) -> dict[str, Any]:
    """What was asked for, within bounds.

    Raises:
        ConfigurationError: it is too large, no JSON, or asks for what is not done here.
    """
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > MOST_BYTES:
            raise ConfigurationError(f"the request has more than {MOST_BYTES:,} bytes: send less")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError("the request is no JSON: send a chat completion's") from error
    if not isinstance(body, dict):
        raise ConfigurationError("the request is no JSON object: send a chat completion's")
    if body.get("n") not in (None, 1):
        raise ConfigurationError(
            "n is 1 here: the candidates that the agent chose among are in oreo.candidates"
        )
    if not isinstance(body.get("seed"), int | None) or not 0 <= (body.get("seed") or 0) < 2**32:
        raise ConfigurationError(f"seed is {body['seed']!r}: give a whole number from 0")
    _require_commands(body)
    return body


def _make_info(commands: Sequence[str] | None) -> dict[str, Any]:
    return {} if commands is None else {COMMANDS: list(commands)}


def _read_messages(messages: Any) -> list[tuple[str, Sequence[str] | None]]:
    """The texts of a conversation, each with the admissible commands that it may name."""
    if not isinstance(messages, list) or not messages:
        raise ConfigurationError("messages is a list of what was read (user) and said (assistant): send one")
    turns = list[tuple[str, Sequence[str] | None]]()
    for i, message in enumerate(messages):
        told = message if isinstance(message, dict) else {}
        role, wanted = told.get("role"), ("user", "assistant")[i % 2]
        if role in ("system", "developer"):
            raise ConfigurationError("the agent carries its own prompt: leave system messages out")
        text = _join_parts(told.get("content"))
        if role != wanted or text is None:
            raise ConfigurationError(
                f"message {i} is not a text of the {wanted}: user and assistant take turns"
            )
        turns.append((text, _require_commands(told)))
    if len(turns) % 2 == 0:
        raise ConfigurationError("the last message is the assistant's: end with what the environment says")
    return turns


def _join_parts(content: Any) -> str | None:
    """A message's text, also where it comes in parts, as newer clients send it; None where it is none."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        return "".join(texts) if len(texts) == len(parts) else None
    return content if isinstance(content, str) else None


def _require_commands(told: Mapping[str, Any]) -> Sequence[str] | None:
    commands = told.get(COMMANDS)
    if commands is not None and not (
        isinstance(commands, list) and all(isinstance(one, str) for one in commands)
    ):
        raise ConfigurationError(f"{COMMANDS} is {commands!r}: give a list of texts")
    return commands


def _refuse_request(message: str, status: int = 400, kind: str = "invalid_request_error") -> Response:
    return JSONResponse({"error": {"message": message, "type": kind, "code": kind}}, status)


async def _stream(answer: Mapping[str, Any]) -> Any:
    """The whole answer as one piece: an action is chosen before it is said."""
    (choice,) = answer["choices"]
    shared = {"id": answer["id"], "object": "chat.completion.chunk", "created": answer["created"]}
    for delta, reason in ((choice["message"], None), ({}, choice["finish_reason"])):
        piece = {**shared, "model": answer["model"], "oreo": answer["oreo"]}
        piece["choices"] = [{"index": 0, "delta": delta, "finish_reason": reason}]
        yield f"data: {json.dumps(piece)}\n\n"
    yield "data: [DONE]\n\n"
