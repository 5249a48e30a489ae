"""Who knows Gymnasium: an environment, a recorder around it, an agent in it, and a training on what was recorded.

python examples/gymnasium_user.py OUTPUT
"""

import sys

import gymnasium as gym

import oreo_agents

output = sys.argv[1]
env = gym.make("OREO-ALFWorld", split="generated", max_episode_steps=8)
env = oreo_agents.RecordTrajectories(env, f"{output}/episodes")
agent = oreo_agents.OreoAgent.from_pretrained("small", select="sample")
for seed in range(4):
    observation, info = env.reset(seed=seed)
    agent.reset()
    done = False
    while not done:
        observation, reward, terminated, truncated, info = env.step(agent.act(observation, info).action)
        done = terminated or truncated
env.close()
agent.save_pretrained(f"{output}/start")
oreo_agents.train(f"{output}/episodes", f"{output}/start", f"{output}/agent", "sft", max_steps=2)
