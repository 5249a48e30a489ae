"""Our environments in verifiers, played by its own chat program against a server that says the expert's commands."""

import asyncio
import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from won_game import GAME, OPTIONS, play_expert

vf = pytest.importorskip("verifiers.v1", reason="verifiers is not installed: pip install 'verifiers>=0.4'")
uv = pytest.importorskip("uv", reason="verifiers starts its players with uv: pip install uv")

MODULE = """
from oreo_agents.doors.verifiers import VerifiersEnv, VerifiersTaskset

__all__ = ["VerifiersEnv", "VerifiersTaskset"]
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """An environment as verifiers loads it, from a user's module."""
    from verifiers.v1.utils.loaders import load_environment, resolve_env_config

    (tmp_path / "household.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", str(Path(uv.find_uv_bin()).parent), prepend=os.pathsep)

    def load(**options):
        taskset = {"id": "household", "options": OPTIONS | options}
        return load_environment(resolve_env_config({"taskset": taskset}))

    return load


@contextmanager
def speaking(commands):
    """A server of the chat protocol that says these, one after another."""
    read = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            read.append(body["messages"])
            head = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "expert"}
            said = {"role": "assistant", "content": commands[len(read) - 1]}
            chunks = [{"delta": said, "finish_reason": None}, {"delta": {}, "finish_reason": "stop"}]
            lines = [json.dumps({**head, "choices": [{"index": 0, **chunk}]}) for chunk in chunks]
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write("".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", read
    finally:
        server.shutdown()
        server.server_close()


def play_task(env, task, commands):
    """The one trace of an episode, and what the model was asked in each turn."""
    from verifiers.v1.clients import ModelContext

    async def run(url):
        async with env.serving():
            client = vf.EvalClientConfig(base_url=url, api_key_var="NO_KEY")
            return await env.run_episode(task, ModelContext(model="expert", client=client))

    with speaking(commands) as (url, read):
        episode = asyncio.run(run(url))
    assert episode.ok, episode.errors or [trace.errors for trace in episode.traces]
    (trace,) = episode.traces
    return trace, read


def test_the_experts_episode_has_reward_one(load):
    env = load()
    task = next(iter(env.taskset.skip(25)))
    assert task.data.game == task.data.name == GAME
    (observation, _), steps = play_expert()
    trace, read = play_task(env, task, [command for command, _ in steps])
    assert trace.reward == 1 and trace.metrics == {"won": 1, "truncated": 0}
    said = [(message["role"], message["content"]) for message in read[-1]]
    dialogue = [("user", observation)]
    for command, (observation, *_) in steps[:-1]:
        dialogue += [("assistant", command), ("user", observation)]
    assert said[0][0] == "system" and said[1:] == dialogue


def test_a_step_limit_truncates(load):
    env = load(max_steps=2)
    trace, read = play_task(env, next(iter(env.taskset)), ["look", "", "inventory"])
    assert len(read) == 2 and trace.reward == 0 and trace.metrics == {"won": 0, "truncated": 1}
