"""Recorded episodes on disk: write, read, select, import, export, verify."""

from oreo_agents.dataset.store import TrajectoryWriter as TrajectoryWriter
from oreo_agents.dataset.view import TrajectoryDataset as TrajectoryDataset
from oreo_agents.dataset.view import concatenate as concatenate
from oreo_agents.dataset.view import load_trajectories as load_trajectories
