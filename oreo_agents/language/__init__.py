"""Text and tokens: prompts, chat templates, masks, learnt tokenizers. Knows nothing about networks."""
