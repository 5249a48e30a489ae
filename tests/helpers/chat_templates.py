"""Chat templates as published models have them, and a small tokenizer to put them on."""

from learning import EPISODES
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_level(chat_template=None):
    """A small byte-level BPE tokenizer, as the pretrained models have, with merges that could cross pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [text for e in EPISODES for turn in e.turns for text in (turn.observation, turn.action)]
    tokenizer.train_from_iterator([*texts, "user\n assistant\n system\n You are helpful."] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=chat_template,
    )


QWEN3 = (
    "{%- for m in messages %}{%- if m.role == 'assistant' and '</think>' in m.content and loop.index0 < "
    "(messages | length) - 1 %}{% set said = m.content.split('</think>')[-1].lstrip('\\n') %}"
    "{%- else %}{% set said = m.content %}{%- endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + said + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}"
    "{%- endif %}{%- endif %}"
)
"""As Qwen3's: thoughts of earlier turns are left out, and without thinking an empty thought opens the reply."""
