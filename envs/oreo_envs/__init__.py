"""Text environments for language agents: ALFWorld on a native engine.

Importing this package registers the Gymnasium ids and loads neither torch nor textworld.
"""
