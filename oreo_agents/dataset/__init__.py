"""Recorded episodes on disk: write, read, select, import, export, verify."""

from oreo_agents.dataset.reader import TrajectoryDataset as TrajectoryDataset
from oreo_agents.dataset.reader import concatenate_datasets as concatenate_datasets
from oreo_agents.dataset.reader import load_trajectories as load_trajectories
from oreo_agents.dataset.reader import merge_datasets as merge_datasets
from oreo_agents.dataset.writer import TrajectoryWriter as TrajectoryWriter
