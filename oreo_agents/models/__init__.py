"""Networks: decoder, critic and adapters; agents' folders and their cards. Knows nothing about training or search."""
