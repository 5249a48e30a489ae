"""Episodes as token columns: the same as one by one, made once, and anew where what they are made from has changed."""

import dataclasses
import multiprocessing
import random
from collections import defaultdict
from statistics import mean, stdev

import pytest
import torch
from learning import EPISODES, LOSING, OPENING, WINNING, episode
from transformers import TrainerCallback

from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.dataset import TrajectoryWriter, load_trajectories
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.language.chat import Chat
from oreo_agents.language.encoded import EncodedEpisode, gather_episodes, join_columns
from oreo_agents.language.learnt_tokenizer import learn_tokenizer
from oreo_agents.language.prompt import Prompt
from oreo_agents.models.decoder import small_decoder
from oreo_agents.models.return_scale import ReturnScale, measure_range
from oreo_agents.models.start import texts_of
from oreo_agents.training import encoding
from oreo_agents.training.batches import GROUP, _after_prompt_of, as_episodes, cut_prompt, list_actions
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.encoding import encode_episodes
from oreo_agents.training.losses import soft_mean
from oreo_agents.training.methods import METHODS
from oreo_agents.training.objectives import ITEMS, mark_good
from oreo_agents.training.trainer import OreoTrainer

RECORDED = [*EPISODES, episode(WINNING), episode(LOSING, won=False), episode(WINNING[2:], opening=OPENING)]


def sampled(one):
    """The episode as who sampled its tokens had recorded it."""
    logp = [-0.1 * (1 + i % 7) * x for i, x in enumerate(one.action_mask)]
    return dataclasses.replace(one, recorded_logp=logp)


def write(path, episodes):
    with TrajectoryWriter(path) as writer:
        for one in episodes:
            writer.append(one)
    return path


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "episodes", RECORDED)


def test_episodes_of_each_environment_are_read_with_its_prompt(tmp_path, tokenizer, monkeypatch):
    of_rooms, of_sums = Prompt(instructions="a room"), Prompt(instructions="drawer 1 open", form="bare")
    prompt = dataclasses.replace(of_rooms, environments={"Sums-v0": of_sums})
    for env_id, chosen in (("Rooms-v0", RECORDED[:3]), ("Sums-v0", RECORDED[3:])):
        with TrajectoryWriter(tmp_path / env_id, env_spec={"id": env_id}) as writer:
            for one in chosen:
                writer.append(one)
    both = load_trajectories(tmp_path / "Rooms-v0").merge(load_trajectories(tmp_path / "Sums-v0")).shuffle(3)
    assert sorted(both.env_ids) == ["Rooms-v0"] * 3 + ["Sums-v0"] * (len(RECORDED) - 3)
    expected = [
        Chat(tokenizer, of_sums if env_id == "Sums-v0" else of_rooms).encode(one)
        for one, env_id in zip(both, both.env_ids, strict=True)
    ]
    seen = []
    config = OreoConfig(str(tmp_path / "run"), method="sft", use_cpu=True)
    follower = type("Follower", (TrainerCallback,), {"on_encode": lambda self, *told: seen.append(told)})()
    policy = small_decoder(tokenizer, 64)
    trainer = OreoTrainer(
        policy, config, both, processing_class=tokenizer, prompt=prompt, callbacks=[follower]
    )
    assert [one.input_ids for one in trainer.items.episodes] == [one.input_ids for one in expected]
    assert seen[-1] == (len(RECORDED), len(RECORDED)) and seen == sorted(seen)
    trainer.save_agent(tmp_path / "agent")
    playing = {
        env_id: OreoAgent.from_pretrained(tmp_path / "agent", env_id=env_id) for env_id in both.env_ids
    }
    assert playing["Sums-v0"].chat.prompt == of_sums and playing["Rooms-v0"].chat.prompt == of_rooms
    assert OreoAgent.from_pretrained(tmp_path / "agent").prompt == prompt
    assert OreoTrainer(tmp_path / "agent", config, both).prompt == prompt


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """What is encoded is kept, in this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(encoding, "WORTH_KEEPING", 0)
    monkeypatch.setattr(encoding, "PART", 2)
    monkeypatch.setattr(encoding, "count_cores", lambda: 1)
    return tmp_path / "cache" / "oreo-agents" / "encoded"


def encode(folder, chat, discount=1.0):
    """The columns, and how many episodes were encoded for them."""
    told = []
    found = encode_episodes(load_trajectories(folder), chat, lambda done, total: told.append(done), discount)
    return found, max(told, default=0)


def random_episode(rng, length):
    def mask():
        return [rng.random() < 0.5 for _ in range(length)]

    returns = [rng.choice([0.0, -0.0, 1.5]) for _ in range(length)]
    starts = sorted({0, *rng.sample(range(length), min(length, 2))}) if length else []
    thoughts = sorted(rng.sample(range(length), length // 3))
    ids = [rng.randrange(2**32) for _ in range(length)]
    acted, won = mask(), rng.choice([True, False, None])
    logp = rng.choice([None, [-rng.random() if x else 0.0 for x in acted]])
    ends = mask()
    facts = {"return_": rng.random(), "recorded_logp": logp, "text_only": rng.random() < 0.5}
    facts["states"] = rng.choice([None, [rng.randrange(2**64) for end in ends if end]])
    return EncodedEpisode(ids, acted, mask(), ends, returns, won, starts, thoughts, **facts)


def test_columns_give_back_what_they_were_given():
    rng = random.Random(0)
    episodes = [random_episode(rng, length) for length in (0, 1, 2, 7, 30) for _ in range(9)]
    columns = gather_episodes(episodes)
    assert repr(list(columns)) == repr(episodes)  # -0.0 is not 0.0
    assert columns.digests == [one.digest for one in episodes]
    assert list(columns[[3, 40, 3]]) == [episodes[3], episodes[40], episodes[3]]
    assert repr(list(join_columns([columns, columns]))) == repr(episodes * 2)
    shifted = columns[::-1].map_returns(lambda returns: 2 * returns - 1)
    assert [one.returns for one in shifted] == [[2 * x - 1 for x in one.returns] for one in episodes[::-1]]
    assert shifted.facts["highest"].tolist()[:-9] == [max(one.returns) for one in shifted if len(one)]
    assert shifted.digests == columns.digests[::-1]
    assert columns.facts["longest"].tolist() == [one.longest for one in episodes]


def test_a_token_of_no_vocabulary_is_refused(chat):
    one = chat.encode(EPISODES[0])
    one.input_ids[3] = 2**32
    with pytest.raises(DatasetError, match="4294967296"):
        gather_episodes([one])


def test_on_all_cores_they_are_the_same(folder, chat, kept, monkeypatch):
    monkeypatch.setattr(encoding, "count_cores", lambda: 2)
    expected = [chat.encode(one) for one in RECORDED]
    found, encoded = encode(folder, chat)
    assert list(found) == expected and encoded == len(RECORDED)
    again, encoded = encode(folder, Chat(chat.tokenizer))
    assert list(again) == expected and not encoded
    turned = load_trajectories(folder)[::-1]
    assert list(encode_episodes(turned, chat)) == expected[::-1]


def test_what_has_changed_is_encoded_anew(folder, chat, kept, tokenizer):
    assert encode(folder, chat)[1] == len(RECORDED) and not encode(folder, chat)[1]
    assert encode(folder, Chat(tokenizer, Prompt(instructions="Win.")))[1]
    other = learn_tokenizer([*texts_of(EPISODES), "another word"])
    assert encode(folder, Chat(other))[1] and not encode(folder, Chat(other))[1]
    write(folder, EPISODES[:1])
    found, encoded = encode(folder, chat)
    assert encoded == len(RECORDED) + 1 and list(found) == [
        chat.encode(one) for one in [*RECORDED, EPISODES[0]]
    ]


def test_a_discount_is_part_of_what_is_kept(folder, chat, kept):
    encode(folder, chat)
    found, encoded = encode(folder, chat, 0.5)
    assert encoded == len(RECORDED) and not encode(folder, chat, 0.5)[1] and not encode(folder, chat)[1]
    won = found[0]
    assert set(won.returns) == {0.5 ** (len(WINNING) - 1)}  # the reward of the last turn, from the first on
    assert won.return_ == 1 and [one.success for one in found] == [one.success for one in RECORDED]
    with pytest.raises(DatasetError, match="give trajectories"):
        encode_episodes([won], chat, discount=0.5)


def test_what_a_server_gave_as_text_is_counted(tmp_path, chat, kept):
    spelt = dataclasses.replace(EPISODES[0], metadata={"text_only": True})
    folder = write(tmp_path / "served", [EPISODES[0], spelt])
    for _ in range(2):  # also where it is kept
        with pytest.warns(UserWarning, match="1 of 2 episodes"):
            encode(folder, chat)


def test_what_is_damaged_is_encoded_anew(folder, chat, kept):
    expected = list(encode(folder, chat)[0])
    (ids,) = kept.glob("*/ids")
    ids.write_bytes(ids.read_bytes()[:-4])
    found, encoded = encode(folder, chat)
    assert list(found) == expected and encoded


def test_two_processes_encode_once(folder, chat, kept):
    fork = multiprocessing.get_context("fork")
    counts = fork.Queue()
    processes = [fork.Process(target=lambda: counts.put(encode(folder, chat)[1])) for _ in range(2)]
    for process in processes:
        process.start()
    assert sorted(counts.get(timeout=60) for _ in processes) == [0, len(RECORDED)]
    for process in processes:
        process.join()


def test_a_worker_says_why_not(folder, chat, monkeypatch):
    monkeypatch.setattr(encoding, "_chat", chat)
    answer = encoding.encode_part([dataclasses.replace(EPISODES[0], tokenizer="another")], 1.0)
    assert isinstance(answer, DatasetError) and "sampled with tokenizer" in str(answer)


def test_a_cache_that_cannot_be_written_is_named(folder, chat, kept):
    kept.parent.parent.mkdir()
    kept.parent.write_text("no folder")
    with pytest.raises(ConfigurationError, match="XDG_CACHE_HOME"):
        encode(folder, chat)


def list_items(kind, episodes, seed):
    """What was drawn before there were columns: lists of episodes, and of several."""
    if kind == "mismatches":
        return [
            (a, _after_prompt_of(a, b)) for a, b in zip(episodes, [*episodes[1:], episodes[0]], strict=True)
        ]
    if kind in ("episodes", "successes", "sampled"):
        return [one for one in episodes if kind != "successes" or one.success]
    by_prompt = defaultdict(list)
    for one in episodes:
        by_prompt[cut_prompt(one)].append(one)
    if kind in ("valued", "compared"):
        return [one for alike in by_prompt.values() for one in alike]
    rng, items = random.Random(seed), []
    for alike in by_prompt.values():
        if kind == "pairs":
            won, lost = ([one for one in alike if one.success is wanted] for wanted in (True, False))
            rng.shuffle(won)
            rng.shuffle(lost)
            items.extend(zip(won, lost, strict=False))
        else:
            rng.shuffle(alike)
            count = -(-len(alike) // GROUP)
            items.extend(tuple(alike[i::count]) for i in range(count) if len(alike) > 1)
    return items


def with_others(kind, one, episodes):
    """An episode with V of its prompt, or with GiGPO's advantages of its turns; only the last can have a reward."""
    alike = [other for other in episodes if cut_prompt(other) == cut_prompt(one)]
    if kind == "valued":
        returns = torch.tensor([other.returns[0] for other in alike])
        return dataclasses.replace(one, prompt_value=soft_mean(returns, 0.5).item())
    column = [0.0] * len(one)
    whole = standardise(one.returns[0], [other.returns[0] for other in alike])
    for turn, (begin, end) in enumerate(list_actions(one)):
        met = [other for other in alike if other.input_ids[:begin] == one.input_ids[:begin]]
        own, *others = (0.95 ** (len(list_actions(x)) - 1 - turn) * x.success for x in [one, *met])
        column[begin:end] = [whole + standardise(own, others)] * (end - begin)
    return dataclasses.replace(one, group_advantages=column)


def standardise(value, values):
    return (value - mean(values)) / stdev(values) if len({*values}) > 1 else 0.0


@pytest.mark.parametrize("kind", ITEMS)
def test_what_is_drawn_is_what_lists_gave(chat, kind):
    lists = [sampled(chat.encode(one)) for one in RECORDED * 3]
    config = OreoConfig(output_dir="unused", method="oapl", seed=3, use_cpu=True, value_beta=0.5)
    items = ITEMS[kind](gather_episodes(lists), config)
    expected = list_items(kind, lists, 3)
    if kind in ("valued", "compared"):
        expected = [with_others(kind, one, lists) for one in expected]
    if kind == "compared":
        for item, one in zip(items, expected, strict=True):
            assert item.group_advantages == pytest.approx(one.group_advantages)
        expected = [
            dataclasses.replace(one, group_advantages=item.group_advantages)
            for item, one in zip(items, expected, strict=True)
        ]
    assert list(items) == expected and len(items) == len(expected) and [*items[1:]] == expected[1:]
    drawn = [episode for item in expected for episode in as_episodes(item)]
    assert items.longest == max(one.longest for one in drawn)
    assert items.list_digests() == [one.digest for one in drawn]


@pytest.mark.parametrize("method", ["oreo", "dpo", "tba"])
def test_losses_and_weights_are_those_of_lists(folder, tokenizer, chat, kept, method, tmp_path):
    def train(data, items=None):
        torch.manual_seed(0)
        options = {"max_steps": 2, "per_device_train_batch_size": 2, "use_cpu": True, "disable_tqdm": True}
        config = OreoConfig(
            str(tmp_path / "run"), method=method, logging_steps=1, report_to="none", **options
        )
        policy = small_decoder(tokenizer, hidden_size=64, layers=1)
        trainer = OreoTrainer(policy, config, data, processing_class=tokenizer)
        if items is not None:
            assert list(trainer.items) == items
            trainer.train_dataset = items
        trainer.train()
        logged = [{k: v for k, v in line.items() if "loss" in k} for line in trainer.state.log_history]
        return logged, trainer.trained.state_dict()

    lists = [chat.encode(one) for one in RECORDED]
    before = train(lists, list_items(METHODS[method].items, lists, OreoConfig(output_dir="x").seed))
    now = train(folder)
    assert now[0] == before[0] and any("loss" in line for line in now[0])
    assert all(torch.equal(before[1][name], weights) for name, weights in now[1].items())


def test_who_is_good_where_nobody_says_what_winning_is(chat):
    """By the returns that the environment gave, whatever the unit of the values."""
    lists = [
        dataclasses.replace(one, success=None, returns=[x] * len(one), return_=x)
        for x in (-4.0, 2.0, 9.0, 2.0)
        for one in [chat.encode(EPISODES[1])]
    ]
    columns = gather_episodes([*lists, chat.encode(EPISODES[0])])
    assert measure_range(columns) == (-4.0, 9.0)
    scaled = ReturnScale(-4.0, 9.0).normalise(columns)
    assert [one.returns[0] for one in scaled] == [(x + 4) / 13 for x in (-4.0, 2.0, 9.0, 2.0, 1.0)]
    best = [False, False, True, False, False]
    for rule, good in (("2", [False, True, True, True, False]), ("40%", best), (None, best)):
        assert [one.success for one in mark_good(scaled, rule)] == good
    with pytest.raises(DatasetError, match="do not say whether they were won"):
        mark_good(columns, "success")
    assert [one.success for one in columns] == [None] * 4 + [True]
