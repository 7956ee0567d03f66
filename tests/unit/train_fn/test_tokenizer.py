import shutil

import pytest
from tokenizers import processors

from tests.full_disk import files_of_at_most
from tests.toys import tokenizer_like_llama
from train_fn.config import ModelConfig
from train_fn.errors import InputError
from train_fn.formats import conversation, examples
from train_fn.tokenizer import load_tokenizer, save_tokenizer, tokenise, tokenizer_key, train_tokenizer

TEXTS = [
    "hello there, how are you?",
    "You: hi\nBot: I am fine, thanks!",
    "Bot's Persona: calm\n<START>\n",
] * 20
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|endoftext|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TEXTS, 320, folder)
    return folder


@pytest.fixture
def tokenizer(folder):
    return load_tokenizer(str(folder))


@pytest.fixture
def with_bos(folder):
    tokenizer = load_tokenizer(str(folder))
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    bos = tokenizer.convert_tokens_to_ids("<s>")
    leading = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", bos)])
    tokenizer.backend_tokenizer.post_processor = leading
    assert tokenizer("a").input_ids[0] == bos
    return tokenizer


def replies(*rows, prompt_format="pygmalion"):
    return [e for row in rows for e in examples(conversation(row, "f:1", 0), prompt_format, 0)]


CHAT = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "I am fine"}]}


def pieces(tokenizer, row, prompt_format="pygmalion"):
    (one,) = tokenise(replies(row, prompt_format=prompt_format), tokenizer, prompt_format)
    return tokenizer.decode(one.ids[: one.prompt_length]), tokenizer.decode(one.ids[one.prompt_length :])


def test_without_bos_the_text_is_all_there_is_and_ends_once(tokenizer):
    assert pieces(tokenizer, CHAT) == ("<START>\nYou: hi\nBot:", " I am fine<|endoftext|>")


def test_bos_leads_once(with_bos):
    assert pieces(with_bos, CHAT) == ("<s><START>\nYou: hi\nBot:", " I am fine<|endoftext|>")
    written = {"prompt": "<s>You: hi\nBot:", "generation": " fine"}
    assert pieces(with_bos, written)[0] == "<s>You: hi\nBot:"


def test_eos_in_the_text_is_not_doubled(tokenizer):
    written = {"prompt": "You: hi\nBot:", "generation": " fine<|endoftext|>"}
    assert pieces(tokenizer, written)[1] == " fine<|endoftext|>"


@pytest.mark.parametrize("kind", ["tokenizer", "with_bos"])
def test_a_chat_template_is_rendered_by_the_tokenizer(kind, request):
    tokenizer = request.getfixturevalue(kind)
    tokenizer.chat_template = TEMPLATE
    prompt, answer = pieces(tokenizer, CHAT, "chat_template")
    assert prompt.endswith("<|user|>hi<|endoftext|>\n<|assistant|>")
    assert answer == "I am fine<|endoftext|>"


def test_a_template_that_writes_its_own_bos_has_it_once(with_bos):
    with_bos.chat_template = "{{ bos_token }}" + TEMPLATE
    prompt, _ = pieces(with_bos, CHAT, "chat_template")
    assert prompt.count("<s>") == 1


def test_a_strict_template_takes_every_window(tokenizer):
    strict = "{% if messages[0].role != 'user' %}{{ raise_exception('roles must alternate') }}{% endif %}"
    tokenizer.chat_template = strict + TEMPLATE
    turns = [{"role": r, "content": "hi"} for r in ["user", "assistant"] * 3]
    for window in range(6):
        some = list(examples(conversation({"messages": turns}, "f:1", 0), "chat_template", window))
        assert len(tokenise(some, tokenizer, "chat_template")) == 3


def test_a_missing_template_is_an_input_error(tokenizer):
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="chat_template"):
        pieces(tokenizer, CHAT, "chat_template")


def test_a_trained_tokenizer_gives_every_text_back(tokenizer):
    for text in ("naïve “quotes” 😂", " leading and trailing ", "tab\tnew\nline"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.eos_token == tokenizer.bos_token == "<|endoftext|>"
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert len(tokenizer) <= 320


def test_the_key_follows_the_files(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert tokenizer_key(str(copy)) == tokenizer_key(str(folder))
    tokenizer = load_tokenizer(str(folder))
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path / "with_template")
    assert tokenizer_key(str(tmp_path / "with_template")) != tokenizer_key(str(folder))


@pytest.mark.parametrize("path", ["no/such/folder", "./nothing", "nothing"])
def test_an_unreadable_tokenizer_is_named_in_one_line(path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"model\.path") as caught:
        load_tokenizer(path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_tokenizer_is_an_input_error(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neox"}')
    with pytest.raises(InputError, match="tokenizer"):
        load_tokenizer(str(tmp_path))


@pytest.fixture(params=["prepend", "always", "first", "never"])
def like_llama(request):
    return tokenizer_like_llama(request.param)


SAID = ["Hello", "Hi", "how are you?", "Hi\nHello"]
CHATS = [
    {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]}
    for asked in SAID
    for told in SAID
]
RENDERED = [{"prompt": "You: Hi\nBot:", "generation": "Hi"}, {"prompt": "", "generation": "Hi"}]


@pytest.mark.parametrize("prompt_format", ["plain", "pygmalion"])
def test_prompt_and_reply_are_the_tokens_of_the_whole_text(like_llama, prompt_format):
    some = replies(*CHATS, *RENDERED, prompt_format=prompt_format)
    for example, found in zip(some, tokenise(some, like_llama, prompt_format), strict=True):
        assert found.ids[:-1] == like_llama(example.prompt + example.reply).input_ids
        assert found.ids[: found.prompt_length] == like_llama(example.prompt).input_ids


@pytest.mark.parametrize("template", ["<|user|>{}<|bot|>", "<s>[INST] {} [/INST]", "<s>[INST] {} [/INST]\n"])
def test_behind_a_template_too(like_llama, template):
    asked, answer = template.split("{}")
    like_llama.chat_template = (
        f"{{% for m in messages %}}{{% if m.role == 'user' %}}{{{{ {asked!r} + m.content + {answer!r} }}}}"
        "{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
    )
    some = replies(*CHATS, prompt_format="chat_template")
    for row, found in zip(CHATS, tokenise(some, like_llama, "chat_template"), strict=True):
        whole = template.format(row["messages"][0]["content"]) + row["messages"][1]["content"] + "</s>"
        assert found.ids == like_llama(whole, add_special_tokens=False).input_ids


def test_a_reply_that_merges_with_what_stands_before_it_keeps_its_text(like_llama):
    like_llama.add_tokens(["\n\n"])
    example = replies({"prompt": "You: Hi\nBot:", "generation": "\nHi"})
    (found,) = tokenise(example, like_llama, "plain")
    assert like_llama.decode(found.ids[found.prompt_length :]).strip() == "Hi</s>"


def test_a_full_disk_is_one_line(tmp_path):
    with files_of_at_most(1_000), pytest.raises(InputError, match="the tokenizer cannot be written below"):
        save_tokenizer(ModelConfig(), tmp_path)
