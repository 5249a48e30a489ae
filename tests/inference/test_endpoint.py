"""A policy behind a server: the same decisions as in this process from a real one, and what a broken one leads to."""

import contextlib
import json
import socket
import subprocess
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
from oreo_agents.inference.endpoint import Endpoint, Question, ServedReply
from oreo_agents.inference.filters import Filters
from oreo_agents.inference.server import Server
from oreo_agents.inference.tree import tree_of
from oreo_agents.language.prompt import Prompt
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
    return Endpoint(url, "m", **{"timeout": 1.0, "retries": 3, "backoff": 0.001, **options})


def complete(endpoint, n=1, **more):
    """The replies to one question; what there is instead is raised."""
    messages = [{"role": "user", "content": "x"}]
    asked = Question([5], lambda: "x", lambda: messages, 1, "<end>", 4, n, **more)
    (answer,) = endpoint.ask([asked])
    if isinstance(answer, Exception):
        raise answer
    return answer


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
    assert complete(endpoint(url)) == [ServedReply("look", True)]
    assert len(server.bodies) == 3


def test_trouble_that_stays_is_named_after_the_last_attempt(serve):
    server, url = serve(lambda body, attempt: (503, ""))
    with pytest.raises(EngineError, match=r"127.0.0.1.*no completion in 4 attempts.*status 503"):
        complete(endpoint(url))
    assert len(server.bodies) == 4
    with pytest.raises(EngineError, match=r"2 attempts.*ConnectError"):
        complete(endpoint("http://127.0.0.1:9/v1", retries=1))


def test_a_refusal_is_final(serve):
    server, url = serve(lambda body, attempt: (401, "who are you?"))
    with pytest.raises(EngineError, match=r"401.*who are you.*OPENAI_API_KEY"):
        complete(endpoint(url))
    assert len(server.bodies) == 1


def test_a_model_that_is_not_there_is_looked_for_in_chat_completions_too(serve):
    server, url = serve(lambda body, attempt: (404, json.dumps({"error": {"message": "no such model"}})))
    with pytest.raises(EngineError, match=r"404: 'no such model'; is the model's name right"):
        complete(endpoint(url))
    assert len(server.bodies) == 2 and "messages" in server.bodies[1]
    with pytest.raises(EngineError, match=r"most servers' URLs end in /v1"):
        complete(endpoint(url.removesuffix("/v1"), protocol="completions"))
    assert len(server.bodies) == 3


@pytest.fixture
def waits(monkeypatch):
    found = []

    async def pause(seconds):
        found.append(seconds)

    monkeypatch.setattr("oreo_agents.inference.endpoint._pause", pause)
    return found


def test_waits_double(serve, waits):
    _, url = serve(lambda body, attempt: (500, ""))
    with pytest.raises(EngineError):
        complete(endpoint(url, backoff=0.25))
    assert waits == [0.25, 0.5, 1.0]


def test_a_server_says_how_long_to_wait(serve, waits):
    said = iter(["7", "Thu, 01 Jan 1970 00:00:00 GMT", "soon", None])
    _, url = serve(
        lambda body, attempt: (429, "", ("Retry-After", wait)) if (wait := next(said)) else completion("look")
    )
    assert complete(endpoint(url, backoff=0.25, timeout=10.0)) == [ServedReply("look", True)]
    assert waits == [7.0, 0.5, 1.0]
    _, url = serve(lambda body, attempt: (429, "a day's work", ("Retry-After", "86400")))
    with pytest.raises(EngineError, match=r"left alone for 86400 s .*a day's work"):
        complete(endpoint(url))


def chat_completion(text, reason="stop", **more):
    message = {"role": "assistant", "content": text, **more}
    return 200, json.dumps({"choices": [{"message": message, "finish_reason": reason}]})


def test_a_server_with_chat_completions_alone_is_asked_for_them(serve, tokenizer):
    """It gets the conversation as messages, and what it says is kept as text."""
    server, url = serve(lambda body, _: chat_completion("look") if "messages" in body else (404, "no"))
    prompt = Prompt(system="Be brief.", instructions="Act.", history=1, examples=(("A door.", "open door"),))
    remote = endpoint(url)
    agent = OreoAgent(remote, tokenizer, max_new_tokens=8, prompt=prompt)
    for observation in STORY:
        decision = agent.act(observation)
        assert decision.action == "look" and decision.action.token_ids is None and not decision.failed
    assert server.bodies[-1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Act.\n\nA door."},
        {"role": "assistant", "content": "open door"},
        {"role": "user", "content": f"{STORY[0]}\n\n[...]\n\n{STORY[1]}"},
        {"role": "assistant", "content": "look"},
        {"role": "user", "content": STORY[2]},
    ]
    assert len(server.bodies) == 1 + len(STORY)  # the first was for completions
    assert "chat completions, as text alone" in remote.describe_use()


def test_thoughts_that_a_server_gives_apart_are_part_of_the_reply(serve):
    told = {"reasoning_content": "Where is it?"}
    _, url = serve(lambda body, _: chat_completion("look", **told))
    (reply,) = complete(endpoint(url, protocol="chat"))
    assert reply.text == "<think>\nWhere is it?\n</think>\n\nlook"
    _, url = serve(lambda body, _: chat_completion(None, "length", **told))
    (reply,) = complete(endpoint(url, protocol="chat"))
    assert reply == ServedReply("<think>\nWhere is it?\n</think>\n\n", False)


def test_what_a_server_does_not_know_is_left_out(serve):
    """Hosted ones refuse what is not in OpenAI's own list; some want another name for the limit."""

    def strict(body, _):
        if odd := body.keys() - {"model", "messages", "max_completion_tokens", "temperature", "seed"}:
            hint = "use max_completion_tokens instead" if "max_tokens" in odd else "unknown"
            return 400, json.dumps({"error": {"message": f"Unsupported {sorted(odd)}: {hint}"}})
        return chat_completion("look")

    server, url = serve(strict)
    remote = endpoint(url, protocol="chat")
    assert complete(remote, n=3, temperature=1.0, seed=4) == [ServedReply("look", True)] * 3
    asked = [body.get("seed") for body in server.bodies]
    before = len(asked)
    assert complete(remote) == [ServedReply("look", True)]
    assert len(server.bodies) == before + 1 and sorted(asked[-3:]) == [4, 5, 6]


def refuse(message):
    return 400, json.dumps({"error": {"message": message}})


def test_what_is_refused_by_name_goes_and_the_rest_stays(serve):
    """Also once requests have gone well; a ``top_k`` of 0 is first said as -1."""

    def script(body, _):
        if body["temperature"] and "top_k" in body:
            return refuse("Unrecognized request argument supplied: top_k")
        return refuse("`n` must be 1") if "n" in body else completion("look")

    server, url = serve(script)
    remote = endpoint(url)
    complete(remote)
    assert server.bodies[-1]["top_k"] == 0
    assert len(complete(remote, n=2, temperature=1.0, seed=1)) == 2
    assert [body.get("top_k") for body in server.bodies[1:]] == [0, -1, None, None, None]
    assert all("min_p" in body and "repeat_penalty" in body for body in server.bodies)
    assert "it refuses top_k" in remote.describe_use()


def test_a_filter_that_is_asked_for_is_never_left_out(serve):
    server, url = serve(
        lambda body, _: refuse("top_k is not supported") if "top_k" in body else completion("x")
    )
    with pytest.raises(EngineError, match="top_k is not supported"):
        complete(endpoint(url), temperature=1.0, filters=Filters(top_k=5))
    assert all(body["top_k"] == 5 for body in server.bodies)


def test_what_a_question_is_refused_for_does_not_change_how_others_are_asked(serve):
    """Nor does a request that is repeated in the refusal."""
    echo = lambda body: refuse(json.dumps({"loc": ["body", "seed"], "input": body}))  # noqa: E731
    server, url = serve(lambda body, _: echo(body) if body["seed"] == 7 else completion("look"))
    remote = endpoint(url)
    complete(remote, temperature=1.0, seed=1)
    with pytest.raises(EngineError, match=r"400: .*seed"):
        complete(remote, temperature=1.0, seed=7)
    complete(remote, temperature=1.0, seed=2)
    first, *_, last = server.bodies
    assert {**first, "seed": 2} == {**last, "return_token_ids": True}


def test_a_question_that_is_refused_after_another_has_settled_is_asked_as_that_was(serve):
    def script(body, _):
        if "min_p" in body:
            time.sleep(0.3 * (body["prompt"] == "slow"))
            return refuse("bad request")
        return completion("look")

    _, url = serve(script)
    asked = [Question([5], lambda text=text: text, list, 1, "<end>", 4) for text in ("fast", "slow")]
    assert endpoint(url).ask(asked) == [[ServedReply("look", True)]] * 2


def test_where_a_server_does_not_count_it_is_said(serve):
    _, url = serve(lambda body, _: completion("look"))
    remote = endpoint(url)
    complete(remote)
    assert str(remote.use) == "1 requests, 1 tokens read and at most 4 written"


def test_a_refused_option_that_is_needed_is_named(serve):
    _, url = serve(lambda body, _: (400, json.dumps({"error": {"message": "unsupported parameter: seed"}})))
    with pytest.raises(EngineError, match="400: 'unsupported parameter: seed'"):
        complete(endpoint(url), temperature=1.0, seed=3)


@pytest.mark.parametrize(
    "told",
    [
        "This model's maximum context length is 400 tokens. However, you requested 408 tokens",
        "The input (500 tokens) is longer than the model's context length (400 tokens).",
        "the request exceeds the available context size. try increasing the context size or enable context shift",
        "Requested tokens (612) exceed context window of 512",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "'max_tokens' is too large: 32. This model's maximum context length is 400 tokens",
    ],
)
def test_a_full_context_is_the_policys_loss(serve, tokenizer, told):
    """As in this process: the episode is over, counted, and not won."""
    full = 400, json.dumps({"error": {"message": told}})
    _, url = serve(lambda body, _: full if body["prompt"].count("<act>") > 2 else completion("dance"))
    agent = OreoAgent(endpoint(url), tokenizer, max_new_tokens=8)
    result, episodes = evaluate(lambda: limited_room(5), agent, [0, 1], "remote")
    assert (result.n, result.successes, dict(result.errors)) == (2, 0, {})
    assert [len(one) for one in episodes] == [2, 2] and sum(result.ended_early.values()) == 2


def test_other_refusals_are_no_full_context(serve):
    told = "max_tokens is too large: 5000. This model supports at most 4096 completion tokens"
    _, url = serve(lambda body, _: (400, json.dumps({"error": {"message": told}})))
    with pytest.raises(EngineError, match="5000"):
        complete(endpoint(url))


def test_a_ceiling_on_tokens_is_never_gone_beyond(serve):
    """What the server counts is what counts; a request that could go beyond is not made."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    answer = 200, json.dumps({"choices": [{"text": "look"}], "usage": usage})
    server, url = serve(lambda body, _: answer)
    remote = endpoint(url, max_tokens=20)
    for _ in range(3):
        complete(remote)
    with pytest.raises(EngineError, match=r"21 tokens, and 5 more would be above the ceiling of 20"):
        complete(remote)
    assert len(server.bodies) == 3 and str(remote.use) == "3 requests, 15 tokens read and 6 written"


@pytest.mark.parametrize(
    ("url", "ceiling"), [("https://api.host.com/v1", 10_000_000), ("http://node7:8000/v1", None)]
)
def test_hosted_servers_have_a_ceiling(url, ceiling):
    assert Endpoint.from_server(Server(url, "m")).max_tokens == ceiling
    assert Endpoint.from_server(Server(url, "m", max_tokens=7)).max_tokens == 7


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
        "look " * 10_000,  # of which the first 800 are read
        "\x00\x1b[31mgo to desk 1\x07\u202e",
        "<b>desk 1</b> [red]go to</act> <act> <end>",
        "\ud800 lone surrogate \U0001f600",
    ],
    ids=["empty", "blank", "prose", "10,000 words", "control", "markup", "surrogate"],
)
def test_whatever_the_model_says_is_an_invalid_action(serve, tokenizer, answer):
    _, url = serve(lambda body, _: completion(answer))
    agent = OreoAgent(endpoint(url, timeout=10), tokenizer, max_new_tokens=800)
    agent.max_length = 1_000_000
    result, episodes = evaluate(lambda: limited_room(1), agent, [0], "remote")
    assert result.invalid_action_rate == 1.0 and result.mean_steps == 1
    assert all("\n" not in turn.action for episode in episodes for turn in episode.turns)
    written = result.to_json()
    assert json.loads(json.dumps(written)) == written


def test_candidates_of_a_server_are_judged_by_a_local_critic(serve, tokenizer):
    """One greedy request, one for the k - 1 samples; the values are those of unbatched passes."""
    actions = ["go to desk 1", "look", "go to desk 2"]

    def answer(body, _):
        texts = actions[:1] if body["temperature"] == 0 else [actions[1 + i % 2] for i in range(body["n"])]
        return 200, json.dumps({"choices": [{"text": text, "finish_reason": "stop"} for text in texts]})

    server, url = serve(answer)
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
        told += agent.chat.action_ids(decision.action)
    assert len(server.bodies) == 2 * 3 and sum(body["temperature"] == 0 for body in server.bodies) == 3
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


def test_trees_of_given_candidates_share_their_beginnings():
    tree, nodes, counts = tree_of([[[5, 6, 7], [5, 6, 8], [5]], [[9], [9, 9]]], torch.device("cpu"))
    for row, candidates in enumerate([[[5, 6, 7], [5, 6, 8], [5]], [[9], [9, 9], [9]]]):
        for lane, ids in enumerate(candidates):
            assert tree.ids[row, nodes[row, : counts[row, lane], lane]].tolist() == ids
    assert (tree.ids >= 0).sum(1).tolist() == [4, 2]


@pytest.fixture(scope="module")
def real_server(tmp_path_factory, forks):
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
    with (folder / "said").open("w") as said:
        words = ["-c", main, "serve", folder / "policy", *options]
        process = forks.start(words, stdout=subprocess.DEVNULL, stderr=said)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if process.poll() is not None:
                pytest.fail((folder / "said").read_text()[-2000:])
            try:
                if httpx.get(f"{url}/health", timeout=1).status_code < 500:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        yield folder, f"{url}/v1"
    finally:
        process.kill()


def test_a_real_server_decides_as_this_process_does(real_server):
    folder, url = real_server
    here = OreoAgent.from_pretrained(folder, device="cpu", max_new_tokens=8)
    there = OreoAgent.from_endpoint(Endpoint(url, str(folder / "policy")), folder, max_new_tokens=8)
    for story in (STORY, [OPENING, "You arrive at drawer 1. The drawer 1 is closed.", "Nothing happens."]):
        here.reset()
        there.reset()
        for observation in story:
            mine, other = here.act(observation).action, there.act(observation).action
            assert str(other) == str(mine) and other.token_ids is None and other.logprobs is None
