"""Trains two steps, pushing to the Hub that HF_ENDPOINT names, and loads the agent back; run by test_hub.py.

python push_and_pull.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from learning import EPISODES, random_decoder

from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.errors import CheckpointError
from oreo_agents.language.chat import Chat
from oreo_agents.language.learnt_tokenizer import learn_tokenizer
from oreo_agents.models.agent_folder import load_policy, save_agent
from oreo_agents.models.start import texts_of
from oreo_agents.training.train import train


def main(folder):
    tokenizer = learn_tokenizer(texts_of(EPISODES))
    save_agent(folder / "start", random_decoder("qwen3", len(tokenizer)), tokenizer)
    trainer = train(
        "oreo",
        EPISODES,
        folder / "start",
        folder / "trained",
        max_steps=2,
        save_strategy="steps",
        save_steps=1,
        bf16=False,
        use_cpu=True,
        push_to_hub=True,
        hub_model_id="someone/agent",
        hub_token="hf_not_a_secret",
    )
    agent = OreoAgent.from_pretrained("someone/agent", select="best_of_k", k=2)
    ids = torch.tensor([Chat(tokenizer).encode(EPISODES[0]).input_ids])
    torch.testing.assert_close(agent.policy(ids).logits, trainer.policy(ids).logits)
    torch.testing.assert_close(agent.critic(ids), trainer.critic(ids))
    try:
        load_policy("someone/nothing")
    except CheckpointError as error:
        print(json.dumps(str(error)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
