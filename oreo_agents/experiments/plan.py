"""A suite as stages. Plays and trains nothing; each stage says what it needs, the rest follows.

All offline methods start from one policy of SFT a seed and learn from one set of its rollouts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from typing import Any, cast

from oreo_envs.foreign import name_seed

from oreo_agents.agents.load import choose_reply_length
from oreo_agents.agents.selection import Select, Selection
from oreo_agents.dataset import load_trajectories
from oreo_agents.environments import is_same_id, join_words
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.experiments import steps
from oreo_agents.experiments.arenas import Arena, Arenas, limit_games, list_names
from oreo_agents.experiments.stages import Stage
from oreo_agents.experiments.steps import SILENT, Fit, Plays, Trial, Views
from oreo_agents.experiments.suite import MODELS, SCRIPTED, Method, Suite, has_critic
from oreo_agents.experiments.verdicts import Verdict
from oreo_agents.inference.server import Server
from oreo_agents.language.prompt import as_prompt
from oreo_agents.models.agent_card import choose_prompt
from oreo_agents.models.model_files import identify_model
from oreo_agents.models.start import FROM_SCRATCH
from oreo_agents.training.methods import METHODS
from oreo_agents.training.options import known_as


class Plan:
    """The stages of a suite.

    Args:
        suite: what to do.
        arenas: its games.
        methods: only these rows of the table; none: all.
        views: let stages show how far they are; for one at a time.
        server: has the suite's model, and plays wherever that is played as it is; policies that are trained play here.

    Raises:
        ConfigurationError: there is a server, and no policy of the suite is its model; or the episodes to imitate are
            of another environment, or of games to judge on.
        DatasetError: there are no episodes to imitate.
    """

    def __init__(
        self,
        suite: Suite,
        arenas: Arenas,
        methods: Sequence[str] = (),
        views: Views = SILENT,
        server: Server | None = None,
    ) -> None:
        if server and suite.demonstrations.episodes != 0:
            raise ConfigurationError(
                f"suite {suite.name} imitates first, so that no policy of it is the model that the server has: leave "
                "--endpoint out, or say episodes = 0 under [demonstrations]"
            )
        self.arenas, self.server = arenas, server
        self.methods, self.views = methods or tuple(suite.methods), views
        self.model = MODELS.get(suite.model, suite.model)
        told = choose_prompt(self.model, suite.prompt or None)
        self.reply_tokens = suite.max_new_tokens or choose_reply_length(told, suite.environment)
        self.suite = replace(suite, max_new_tokens=self.reply_tokens)
        self.identity = self.model if self.model in FROM_SCRATCH else identify_model(self.model)
        self._made: dict[str, Stage] = {}
        self._given = self._adopt_episodes(suite.demonstrations.data) if suite.demonstrations.data else None

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """All that is to be judged."""
        return [
            verdict
            for seed in self.suite.seeds
            for name in self.methods
            for verdict in self._verdicts_of(self.suite.methods[name], seed)
        ]

    # ------------------------------------------------------------------------------------------- training

    def demonstrations(self, seed: int) -> tuple[Stage, ...]:
        """Whoever demonstrates, on training games and on generated ones; or the episodes that are given."""
        if self._given:
            return (self._given,)
        amount = self.suite.demonstrations
        sets = [("demonstrations", self.arenas.train, amount.episodes)]
        if self.arenas.generated:
            sets.append(("demonstrations-generated", self.arenas.generated, amount.generated))
        return tuple(
            self._demonstration_stage(f"seed-{seed}/{name}", arena, n, seed) for name, arena, n in sets
        )

    def _adopt_episodes(self, data: str) -> Stage:
        found = load_trajectories(data)
        where, env_id = f"[demonstrations] data: {data}", self.suite.environment
        if not len(found):
            raise DatasetError(f"{where} has no episodes")
        if others := sorted({one for one in found.env_ids if one and not is_same_id(one, env_id)}):
            raise ConfigurationError(
                f"{where} was played in {join_words(others)}, and the suite is of {env_id}"
            )
        seeds = map(name_seed, found.column("seed"))
        played = {game or seed for game, seed in zip(found.games, seeds, strict=True)}
        judged = [(f"[test.{name}]", arena) for name, arena in self.arenas.tests.items()]
        for place, arena in [*judged, *([("[dev]", self.arenas.dev)] if self.arenas.dev else [])]:
            if seen := played & list_names(arena):
                raise ConfigurationError(
                    f"{where} has episodes of games of {place} ({len(seen)}, such as {min(seen)}), and what is judged "
                    "on must not be imitated: record other games"
                )
        return Stage("demonstrations", [found.identify()], partial(steps.adopt_episodes, data))

    def _demonstration_stage(self, name: str, arena: Arena, episodes: int | None, seed: int) -> Stage:
        amount = self.suite.demonstrations
        plays = self._plays(episodes, amount.per_game, seed)
        done = partial(steps.record_demonstrations, arena, plays, amount, views=self.views)
        made_from = [arena.made_from, asdict(plays), amount.agent, amount.epsilon]
        return Stage(name, [*made_from, "thoughts"] if amount.thoughts else made_from, done)

    def sft(self, seed: int) -> Stage:
        """The policy that every method starts from, with the prompt that all keep; without demonstrations the model."""
        name = f"seed-{seed}/sft"
        prompt = self.suite.prompt or None
        told = [as_prompt(prompt).digest] if prompt else []
        if self.suite.demonstrations.episodes == 0:
            made_from = [self.identity, *told] if told else self.identity
            return Stage(name, made_from, partial(steps.adopt_model, self.model, prompt))
        fit = Fit("sft", known_as(self.suite.sft), seed)
        done = partial(steps.imitate_expert, self.model, prompt, fit, views=self.views)
        return Stage(name, [self.identity, asdict(fit), *told], done, self.demonstrations(seed))

    def rollouts(self, seed: int) -> Stage:
        """What every offline method learns from."""
        return self._rollouts(f"seed-{seed}/rollouts", seed, 1, self.sft(seed))

    def choice(self, name: str) -> Stage | None:
        """The options that a sweep finds for a method, if it has one."""
        options = self.suite.sweep.trials.get(name, ())
        if not options:
            return None
        assert self.arenas.dev is not None
        seed, verdicts = self.suite.sweep.seed, []
        for i, agent in enumerate(self._trials(name)):
            trial = self.trial(f"{name} {i}", self.selection("greedy"), seed)
            verdicts.append(self.judgement(f"{agent.name}-dev", self.arenas.dev, trial, agent))
        done = partial(steps.choose_options, options)
        return Stage(f"sweep/{name}.json", list(map(dict, options)), done, tuple(verdicts))

    def _trials(self, name: str) -> tuple[Stage, ...]:
        """A method trained with each of the options that its sweep tries."""
        method, sweep = self.suite.methods[name], self.suite.sweep
        tried = [
            replace(method, options={**method.options, **options}) for options in sweep.trials.get(name, ())
        ]
        return tuple(
            self._train_stage(f"sweep/{name}-{i}", one, sweep.seed, None, sweep.rollouts)
            for i, one in enumerate(tried)
        )

    def agent(self, name: str, seed: int) -> Stage:
        """A trained method; one that a sweep has trained on everything with this seed already is not trained again."""
        method, sweep = self.suite.methods[name], self.suite.sweep
        if method.method == "sft":
            return self.sft(seed)
        if method.method == "iterate":
            return self.policy(name, seed, method.rounds)
        choice = self.choice(name)
        if choice and seed == sweep.seed and sweep.rollouts is None:
            return Stage(f"seed-{seed}/{name}", "best", steps.adopt_trial, (choice, *self._trials(name)))
        return self._train_stage(f"seed-{seed}/{name}", method, seed, choice, None)

    def policy(self, name: str, seed: int, i: int) -> Stage:
        """An iterated method after its i-th round; the first is the method that it repeats."""
        method = self.suite.methods[name]
        of = self.suite.methods[method.of]
        if i == 1:
            return self.agent(of.name, seed)
        place = f"seed-{seed}/{name}/policy-{i}"
        if place not in self._made:
            rounds = range(1 if method.keep_data else i, i + 1)
            data = [self._round(name, seed, earlier) for earlier in rounds]
            before = self.policy(name, seed, i - 1)
            self._made[place] = self._fit_stage(place, of, seed, before, data, self.choice(of.name), None)
        return self._made[place]

    def _round(self, name: str, seed: int, i: int) -> Stage:
        """What the policy of the round before has played for an iterated method's i-th."""
        if i == 1:
            return self.rollouts(seed)
        before, temperature = self.policy(name, seed, i - 1), self.suite.methods[name].temperature
        return self._rollouts(f"seed-{seed}/{name}/rollouts-{i}", seed, i, before, temperature)

    def _rollouts(
        self, name: str, seed: int, i: int, policy: Stage, temperature: float | None = None
    ) -> Stage:
        if name in self._made:
            return self._made[name]
        amount, train = self.suite.rollouts, self.arenas.train
        temperature = amount.temperature if temperature is None else temperature
        plays = self._plays(amount.episodes, amount.per_game, seed + 1000 * i)
        if amount.games:
            train = limit_games(train, amount.games, plays.seed)
        done = partial(steps.roll_out_policy, train, plays, amount.patience, temperature, views=self.views)
        inputs: list[Any] = [train.made_from, asdict(plays), amount.patience, temperature, amount.games]
        server = self.server if policy.name == self.sft(seed).name else None
        done, inputs = self._choose_player(done, inputs, server)
        self._made[name] = Stage(name, inputs, done, (policy,))
        return self._made[name]

    def _train_stage(
        self, name: str, method: Method, seed: int, choice: Stage | None, episodes: int | None
    ) -> Stage:
        return self._fit_stage(name, method, seed, self.sft(seed), [self.rollouts(seed)], choice, episodes)

    def _fit_stage(
        self,
        name: str,
        method: Method,
        seed: int,
        start: Stage,
        data: Sequence[Stage],
        choice: Stage | None,
        episodes: int | None,
    ) -> Stage:
        options = known_as(self.suite.options_of(method))
        chosen = () if choice is None else (choice,)
        if method.method == "sft-continued":
            fit = Fit("sft", {**self._imitation_options(), **options}, seed, episodes)
            demonstrations = self.demonstrations(seed)
            done = partial(steps.continue_imitation, fit, len(demonstrations), views=self.views)
            return Stage(name, asdict(fit), done, (start, *data, *demonstrations, *chosen))
        fit = Fit(method.method, options, seed, episodes)
        done = partial(steps.train_method, fit, len(data), views=self.views)
        inputs = [asdict(fit), "as many updates"] if METHODS[fit.method].selects else asdict(fit)
        return Stage(name, inputs, done, (start, *data, *chosen))

    def _imitation_options(self) -> dict[str, Any]:
        """What counts as imitation for the control, too; its rates are the other methods'."""
        return {key: value for key, value in self.suite.sft.items() if key == "observation_weight"}

    def _plays(self, episodes: int | None, per_game: int, seed: int) -> Plays:
        suite = self.suite
        return Plays(episodes, per_game, suite.max_steps, seed, suite.slots, self.reply_tokens)

    # -------------------------------------------------------------------------------------------- judging

    def _verdicts_of(self, method: Method, seed: int) -> Iterator[Verdict]:
        for test in self.arenas.tests:
            if method.method == "iterate":
                for i in range(1, method.rounds):
                    yield self._verdict(method, seed, test, self.selection("greedy"), i)
            for selection in self._selections(method):
                yield self._verdict(method, seed, test, selection)

    def _verdict(
        self, method: Method, seed: int, test: str, selection: Selection, i: int | None = None
    ) -> Verdict:
        """Of an iterated method's i-th round, if it is not the last: then of the method."""
        how = "-".join(
            [selection.select]
            + ([str(selection.k)] if selection.candidates > 1 else [])
            + (["no-repeat"] if selection.no_repeat else [])
        )
        if method.method == "iterate":  # by the round in any case, so that a further one leaves it as it is
            how = f"round-{i or method.rounds}-{how}"
        name = f"seed-{seed}/judged/{test}/{method.name}-{how}"
        arena, trial = self.arenas.tests[test], self.trial(method.name, selection, seed)
        lender = self._critic_lender(method) if selection.needs_critic else None
        if method.method in SCRIPTED:
            done = partial(steps.judge_scripted, arena, trial, method.method, views=self.views)
            stage = Stage(name, [arena.made_from, trial.to_dict(), method.method], done)
        else:
            agent = self.policy(method.name, seed, i) if i else self.agent(method.name, seed)
            critic = self.agent(lender, seed) if lender else None
            stage = self.judgement(name, arena, trial, agent, critic)
        return Verdict(method.name, seed, test, selection, stage, i, lender)

    def _selections(self, method: Method) -> Iterator[Selection]:
        """Greedy, the controls, and every way and width of search that a method can have."""
        search = self.suite.search
        yield self.selection("greedy")
        if method.method in SCRIPTED:
            return
        if search.constrained or "constrained_best_of_k" in search.selects:
            yield self.selection("constrained")
        if search.sample:
            yield self.selection("sample")
        widths = [k for k in search.ks if k > 1]
        for name in ("greedy", "sample"):
            if name in search.no_repeat:
                yield from (self.selection(name, k, no_repeat=True) for k in widths)
        if search.methods is not None and method.name not in search.methods:
            return
        if self._critic(method) or search.critic_from:
            for name in search.selects:
                yield from (self.selection(name, k) for k in widths)
                if name in search.no_repeat:
                    yield from (self.selection(name, k, no_repeat=True) for k in widths)

    def _critic(self, method: Method) -> bool:
        """Whether it has a critic of its own."""
        return has_critic(self.suite.methods[method.of] if method.method == "iterate" else method)

    def _critic_lender(self, method: Method) -> str | None:
        """The method whose critic judges a policy that has none."""
        return None if self._critic(method) else self.suite.search.critic_from

    def judgement(
        self, name: str, arena: Arena, trial: Trial, agent: Stage, critic: Stage | None = None
    ) -> Stage:
        """An agent on a set of games, with another agent's critic where one is lent."""
        needs = (agent,) if critic is None else (agent, critic)
        how = trial.selection
        start = agent.name == self.sft(trial.seed).name
        server = self.server if start and not (how.needs_critic or how.needs_weights) else None
        done = partial(steps.judge_agent, arena, trial, views=self.views)
        done, inputs = self._choose_player(done, [arena.made_from, trial.to_dict()], server)
        return Stage(name, inputs, done, needs)

    def _choose_player(
        self, done: partial[None], inputs: list[Any], server: Server | None
    ) -> tuple[partial[None], list[Any]]:
        """Work that plays, and what it is known by: on the server that has the policy, or here in the suite's dtype."""
        if server:
            return partial(done, server=server), [*inputs, server.model]
        if self.suite.dtype:
            return partial(done, dtype=self.suite.dtype), [*inputs, self.suite.dtype]
        return done, inputs

    def selection(self, select: str, k: int = 1, *, no_repeat: bool = False) -> Selection:
        """A way to choose among k candidates, drawn and judged as the suite says; ``sample`` is always at 1."""
        search = self.suite.search
        selection = Selection(cast(Select, select), k, self.reply_tokens, no_repeat=no_repeat)
        if select == "sample" or k == 1:
            return selection
        return replace(selection, temperature=search.temperature, logprob_weight=search.logprob_weight)

    def trial(self, label: str, selection: Selection, seed: int) -> Trial:
        """How an agent is judged that chooses in such a way."""
        return Trial(label, selection, self.suite.step_limits, seed, self.suite.slots)
