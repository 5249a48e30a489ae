"""SentencePiece's tokenizers put a space before every text: parts must get the tokens that the whole text has."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from oreo_agents.language.chat import Chat
from oreo_agents.language.spelling import Speller

ARROWS = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
TURNS = [
    ("You see a shelf 3.", "go to shelf 3"),
    ("On it is a cup.", "take cup 1 from shelf 3"),
    ("You have it.", ""),
]


def sentencepiece(template, legacy):
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if legacy:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    replace = decoders.Replace("\u2581", " ")
    tokenizer.decoder = decoders.Sequence(
        [replace, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *[f"<0x{i:02X}>" for i in range(256)]]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    texts = [text for turn in TURNS for text in turn] + ["<|user|>\n<|assistant|>\n", "[INST] [/INST]"]
    tokenizer.train_from_iterator(texts * 3, trainer)
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **named)


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "first"])
@pytest.mark.parametrize("template", [ARROWS, BRACKETS], ids=["arrows", "brackets"])
def test_a_conversation_has_the_tokens_of_its_whole_text(template, legacy):
    tokenizer = sentencepiece(template, legacy)
    chat, ids, messages = Chat(tokenizer), [], []
    assert Speller(tokenizer).adds_spaces
    for seen, said in TURNS:
        ids += chat.reply(seen) if ids else chat.opening(seen)
        messages.append({"role": "user", "content": seen})
        whole = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert ids == tokenizer(whole, add_special_tokens=False)["input_ids"]
        assert chat.action_text(chat.action_ids(said)) == said
        assert chat.text_ids(f" {said}") == chat.text_ids(said) == chat.action_ids(said)[:-1]
        ids += chat.action_ids(said)
        messages.append({"role": "assistant", "content": said})


def test_a_base_model_reads_lines_without_spaces_before_them():
    chat = Chat(sentencepiece(None, True))
    ids = chat.opening(TURNS[0][0]) + chat.action_ids(TURNS[0][1]) + chat.reply(TURNS[1][0])
    text = "\n>".join([TURNS[0][0], f"{TURNS[0][1]}\n{TURNS[1][0]}", ""])
    assert ids == chat.tokenizer(f"<s>{text}", add_special_tokens=False)["input_ids"]
