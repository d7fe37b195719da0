"""Where a prompt stands in a conversation, and how a conversation is written for a model."""

from __future__ import annotations

import os
import sys
from typing import Any, Literal

from prompt_oirl.data.prompts import Prompt
from prompt_oirl.io.files import InputError
from prompt_oirl.llms import Conversation

ChatFormat = Literal["auto", "llama2", "none"]

# Meta's published format for LLaMA-2-chat, one user turn (with the system text inside it) per [INST] block.
LLAMA2_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{% set system = '<<SYS>>\\n' + messages[0]['content'] + "
    "'\\n<</SYS>>\\n\\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ (bos_token or '') + '[INST] ' + (system if loop.first else '') + "
    "message['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' ' + (eos_token or '') }}{% endif %}"
    "{% endfor %}"
)
# For Meta's own tokenizer file: SentencePiece puts a space before the first word; behind a special token the
# library does not.
META_TEMPLATE = LLAMA2_TEMPLATE.replace("'[INST] '", "' [INST] '")
PLAIN_TEMPLATE = "{{ messages | map(attribute='content') | join('\n') }}"


def conversation(question: str, prompt: Prompt, separator: str = "\n") -> Conversation:
    """One user turn with the prompt at its position; `answer_start` opens the assistant's turn instead.

    An empty prompt leaves the question alone.

    Parameters
    ----------
    question : its text
    prompt : the instruction and its position
    separator : stands between the question and a prompt that follows it; the published SVAMP and MAWPS logs
        have none

    Raises: InputError if the position is not one of `POSITIONS`.
    """
    if not prompt.text:
        return [{"role": "user", "content": question}]
    if prompt.position == "after":
        return [{"role": "user", "content": question + separator + prompt.text}]
    if prompt.position == "before":
        return [{"role": "user", "content": f"{prompt.text}\n{question}"}]
    if prompt.position == "system":
        return [{"role": "system", "content": prompt.text}, {"role": "user", "content": question}]
    if prompt.position == "answer_start":
        return [{"role": "user", "content": question}, {"role": "assistant", "content": prompt.text}]
    raise InputError(f"prompt {prompt.id}: unknown position {prompt.position!r}")


def set_chat_format(tokenizer: Any, chat_format: ChatFormat) -> None:
    """Choose how conversations are written for the model; that it brings no template is told on stderr.

    Parameters
    ----------
    tokenizer : of the model; its template is replaced unless `chat_format` is auto
    chat_format : auto is the tokenizer's template, or LLaMA-2's; none is the turns' texts, one a line
    """
    if chat_format == "none":
        tokenizer.chat_template = PLAIN_TEMPLATE
    elif chat_format == "llama2" and tokenizer.chat_template != META_TEMPLATE:
        tokenizer.chat_template = LLAMA2_TEMPLATE
    elif not tokenizer.chat_template and os.environ.get("RANK", "0") == "0":
        said = "LLaMA-2's format is used; --chat_format none sends plain text"
        print(f"the model brings no chat template: {said}", file=sys.stderr)


def encode(tokenizer: Any, conversation: Conversation) -> list[int]:
    """Token ids of the rendered conversation; plain text begins as the tokenizer begins any text."""
    plain = tokenizer.chat_template == PLAIN_TEMPLATE
    return tokenizer(render(tokenizer, conversation), add_special_tokens=plain)["input_ids"]


def render(tokenizer: Any, conversation: Conversation) -> str:
    """What the model reads, by its chat template or LLaMA-2's; an assistant's last turn is left open."""
    from jinja2 import TemplateError

    continued = conversation[-1]["role"] == "assistant"
    try:
        return tokenizer.apply_chat_template(
            conversation,
            chat_template=None if tokenizer.chat_template else LLAMA2_TEMPLATE,
            tokenize=False,
            add_generation_prompt=not continued,
            continue_final_message=continued,
        )
    except TemplateError as error:  # some models know no system message, say
        roles = ", ".join(turn["role"] for turn in conversation)
        raise InputError(
            f"the model's chat template takes no conversation of {roles} ({str(error).splitlines()[0]}): "
            "put the prompt at another position, or correct chat_template in the tokenizer's folder"
        ) from error
