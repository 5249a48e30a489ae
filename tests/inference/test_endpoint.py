"""A policy behind a server: the same decisions as in this process from a real one, and what a broken one leads to."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import torch
from gymnasium.wrappers import TimeLimit
from learning import OPENING, ToyRoom, random_decoder

from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.errors import CheckpointError, ConfigurationError, EngineError
from oreo_agents.evaluation.evaluate import evaluate
from oreo_agents.experiments.suite import STARTING_CHECKPOINT
from oreo_agents.inference.endpoint import Endpoint
from oreo_agents.inference.tree import tree_of
from oreo_agents.models.agent_folder import load_policy, save_agent
from oreo_agents.models.critic import Critic

STORY = [
    "You see a desk 1, and a drawer 1. Your task is to: put a mug in desk.",
    "Nothing happens.",
    "You arrive at desk 1. On the desk 1, you see a mug 1.",
]


class Broken(BaseHTTPRequestHandler):
    """Answers what ``script(body, attempt)`` says: (status, text, *headers), or seconds to keep the client waiting."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        with server.lock:
            server.bodies.append(json.loads(body))
            attempt = sum(seen == server.bodies[-1] for seen in server.bodies)
        answer = server.script(json.loads(body), attempt)
        if isinstance(answer, float):
            time.sleep(answer)
            answer = (200, "")
        self.send_response(answer[0])
        for header in answer[2:]:
            self.send_header(*header)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # the client has stopped waiting
            self.wfile.write(answer[1].encode())

    def log_message(self, *args):
        """Quietly."""


@pytest.fixture
def serve():
    servers = []

    def serve(script):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
        server.script, server.bodies, server.lock = script, [], threading.Lock()
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server, f"http://127.0.0.1:{server.server_port}/v1"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def completion(text, reason="stop"):
    return 200, json.dumps({"choices": [{"text": text, "finish_reason": reason}]})


def endpoint(url, **options):
    return Endpoint(url, "m", **{"timeout": 0.5, "retries": 3, "backoff": 0.001, **options})


@pytest.mark.parametrize(
    "trouble",
    [
        (500, "oops"),
        (429, "slow down"),
        (200, "<html>"),
        (200, "{}"),
        (200, '{"choices": []}'),
        (200, '{"choices": [{"text": null}]}'),
        (200, "no gzip", ("Content-Encoding", "gzip")),
        1.5,
    ],
    ids=["500", "429", "html", "no choices", "none", "null", "undecodable", "timeout"],
)
def test_trouble_that_passes_is_retried(serve, trouble):
    server, url = serve(lambda body, attempt: trouble if attempt < 3 else completion("look"))
    assert endpoint(url).complete("x", max_tokens=4) == ("look", True)
    assert len(server.bodies) == 3


def test_trouble_that_stays_is_named_after_the_last_attempt(serve):
    server, url = serve(lambda body, attempt: (503, ""))
    with pytest.raises(EngineError, match=r"127.0.0.1.*no completion in 4 attempts.*status 503"):
        endpoint(url).complete("x")
    assert len(server.bodies) == 4
    with pytest.raises(EngineError, match=r"2 attempts.*ConnectError"):
        endpoint("http://127.0.0.1:9/v1", retries=1).complete("x")


def test_a_refusal_is_final(serve):
    server, url = serve(lambda body, attempt: (404, "no such model"))
    with pytest.raises(EngineError, match=r"404.*no such model"):
        endpoint(url).complete("x")
    assert len(server.bodies) == 1


def test_waits_double(serve, monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    _, url = serve(lambda body, attempt: (500, ""))
    with pytest.raises(EngineError):
        endpoint(url, backoff=0.25).complete("x")
    assert waits == [0.25, 0.5, 1.0]


def test_a_broken_server_makes_error_episodes_and_no_failures(serve, tokenizer):
    """Room 1, the one with a drawer, cannot be played; the policy is judged on the others alone."""

    class WithDrawer(ToyRoom):
        def reset(self, **options):
            observation, info = super().reset(**options)
            return ("You see a drawer 1." if self.game == 1 else observation), info

    _, url = serve(lambda body, _: (500, "") if "drawer" in body["prompt"] else completion("go to desk 1"))
    agent = OreoAgent(endpoint(url), tokenizer, max_new_tokens=8)
    result, episodes = evaluate(
        lambda: TimeLimit(WithDrawer(), 3), agent, [0, 1, 2], "remote", slots=2, partly=True
    )
    assert (result.n, result.won) == (2, (True, False))
    assert list(result.errors) == ["room-1"] and "500" in result.errors["room-1"]
    assert [len(episode) for episode in episodes] == [1, 0, 3]


def limited_room(steps=3):
    return TimeLimit(ToyRoom(), steps)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n\t ",
        "I would first look for the mug, because it is probably on the desk. Then I will take it.",
        "look " * 10_000,
        "\x00\x1b[31mgo to desk 1\x07\u202e",
        "<b>desk 1</b> [red]go to</act> <act> <end>",
        "\ud800 lone surrogate \U0001f600",
    ],
    ids=["empty", "blank", "prose", "10,000 words", "control", "markup", "surrogate"],
)
def test_whatever_the_model_says_is_an_invalid_action(serve, tokenizer, answer):
    _, url = serve(lambda body, _: completion(answer))
    agent = OreoAgent(endpoint(url, timeout=10), tokenizer, max_new_tokens=20_000)
    agent.max_length = 1_000_000
    result, episodes = evaluate(lambda: limited_room(1), agent, [0], "remote")
    assert result.invalid_action_rate == 1.0 and result.mean_steps == 1
    assert all("\n" not in turn.action for episode in episodes for turn in episode.turns)
    written = result.to_json()
    assert json.loads(json.dumps(written)) == written


def test_candidates_of_a_server_are_judged_by_a_local_critic(serve, tokenizer):
    """One greedy request and k - 1 with seeds; the values are those of unbatched passes."""
    actions = ["go to desk 1", "look", "go to desk 2"]
    server, url = serve(
        lambda body, _: completion(actions[0 if body["temperature"] == 0 else body["seed"] % 2 + 1])
    )
    critic = Critic.from_policy(random_decoder("qwen3", len(tokenizer), seed=4))
    torch.nn.init.normal_(critic.value_head.weight, generator=torch.Generator().manual_seed(0))
    agent = OreoAgent(endpoint(url), tokenizer, critic, "best_of_k", k=4, max_new_tokens=8)
    agent.reset(seed=3)
    told = []
    for observation in STORY:
        decision = agent.act(observation)
        told += agent.chat.reply(observation) if told else agent.chat.opening(observation)
        for candidate in decision.candidates:
            with torch.no_grad():
                values = critic(torch.tensor([told + agent.chat.action_ids(candidate.action)]))
            assert candidate.value == pytest.approx(values[0, -1].item(), abs=1e-4)
            assert candidate.logprob is None
        assert decision.action.value == max(candidate.value for candidate in decision.candidates)
        told += decision.action.token_ids
    assert len(server.bodies) == 4 * 3 and sum(body["temperature"] == 0 for body in server.bodies) == 3
    with pytest.raises(ConfigurationError, match="not here to be saved"):
        agent.save_pretrained("nowhere")


def test_the_shipped_agent_can_be_named():
    agent = OreoAgent.from_endpoint(endpoint("http://127.0.0.1:9/v1"), "small")
    assert agent.name == "small" and agent.chat.action_ids("look")


def test_a_critic_on_the_policys_trunk_does_not_stand_in_the_way_of_acting(tmp_path, tokenizer):
    policy = random_decoder("qwen3", len(tokenizer))
    save_agent(tmp_path / "agent", policy, tokenizer, Critic.shared(policy))
    agent = OreoAgent.from_endpoint(endpoint("http://127.0.0.1:9/v1"), tmp_path / "agent")
    assert agent.critic is None
    with pytest.raises(CheckpointError, match="reads the policy's trunk"):
        OreoAgent.from_endpoint(endpoint("http://127.0.0.1:9/v1"), tmp_path / "agent", select="best_of_k")


def test_token_ids_are_sent_where_the_server_takes_them(serve, tokenizer):
    server, url = serve(lambda body, _: completion("look"))
    agent = OreoAgent(endpoint(url, prompts="ids"), tokenizer, max_new_tokens=8)
    agent.act(OPENING)
    agent.act("Nothing happens.")
    expected = [*agent.chat.opening(OPENING), *agent.chat.action_ids("look")]
    assert server.bodies[1]["prompt"] == expected + agent.chat.reply("Nothing happens.")


def test_trees_of_given_candidates_share_their_beginnings():
    tree, nodes, counts = tree_of([[[5, 6, 7], [5, 6, 8], [5]], [[9], [9, 9]]], torch.device("cpu"))
    for row, candidates in enumerate([[[5, 6, 7], [5, 6, 8], [5]], [[9], [9, 9], [9]]]):
        for lane, ids in enumerate(candidates):
            assert tree.ids[row, nodes[row, : counts[row, lane], lane]].tolist() == ids
    assert (tree.ids >= 0).sum(1).tolist() == [4, 2]


@pytest.fixture(scope="module")
def real_server(tmp_path_factory):
    """``transformers serve`` with the shipped starting checkpoint."""
    for package in ("fastapi", "uvicorn", "openai", "pydantic"):
        pytest.importorskip(package)
    if not STARTING_CHECKPOINT.is_dir():
        pytest.skip("the starting checkpoint is not shipped")
    folder = tmp_path_factory.mktemp("served")
    policy, tokenizer = load_policy(STARTING_CHECKPOINT)
    save_agent(folder, policy.float(), tokenizer)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    main = "from transformers.cli.transformers import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", main, "serve", str(folder / "policy"), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if process.poll() is not None:
                pytest.fail(process.stderr.read().decode()[-2000:])
            try:
                if httpx.get(f"{url}/health", timeout=1).status_code < 500:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        yield folder, f"{url}/v1"
    finally:
        process.terminate()
        process.wait()


def test_a_real_server_decides_as_this_process_does(real_server):
    folder, url = real_server
    here = OreoAgent.from_pretrained(folder, device="cpu", max_new_tokens=8)
    there = OreoAgent.from_endpoint(Endpoint(url, str(folder / "policy")), folder, max_new_tokens=8)
    for story in (STORY, [OPENING, "You arrive at drawer 1. The drawer 1 is closed.", "Nothing happens."]):
        here.reset()
        there.reset()
        for observation in story:
            mine, other = here.act(observation).action, there.act(observation).action
            assert (str(other), other.token_ids) == (str(mine), mine.token_ids)
            assert other.logprobs is None
