"""The chat formats that are known by name, as data.

Each format says what stands before and after a message of each role, what opens the answer, and
the few ways in which formats differ from that pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rustllm.chat.messages import Message

Wrap = tuple[str, str]


@dataclass(frozen=True)
class Format:
    """How a chat is written out."""

    system: Wrap | None
    user: Wrap
    assistant: Wrap
    #: What opens the answer.
    generate: str = ""
    #: Roles whose content is stripped.
    strip: str = ""
    #: Written once, before everything.
    start: str = ""
    #: Written instead of a system message where there is none.
    no_system: str = ""
    #: Written before every message but the first.
    between: str = ""
    #: Opens a turn of system and user together; an assistant message closes it.
    turn: str | None = None
    #: The system message is put before the next user message, with this after it.
    merge_system: str | None = None


def _each(pattern: str, end: str, generate: str, **options: str) -> Format:
    """A format that names the role in a common pattern."""
    wraps = {role: (pattern.replace("ROLE", role), end) for role in ("system", "user", "assistant")}
    return Format(**wraps, generate=generate, **options)  # type: ignore[arg-type]


_ALL = "system user assistant"
_EOS = "<｜end▁of▁sentence｜>"
_LLAMA2_SYS: Wrap = ("<<SYS>>\n", "\n<</SYS>>\n\n")
_GRANITE = _each(
    "<|start_of_role|>ROLE<|end_of_role|>", "<|end_of_text|>\n", "<|start_of_role|>assistant<|end_of_role|>"
)
_EXAONE = Format(
    ("[|system|]", "[|endofturn|]\n"),
    ("[|user|]", "\n"),
    ("[|assistant|]", "[|endofturn|]\n"),
    "[|assistant|]",
    _ALL,
)
_BAILING = Format(("<role>SYSTEM</role>", ""), ("<role>HUMAN</role>", ""), ("<role>ASSISTANT</role>", ""))

BUILTIN: dict[str, Format] = {
    "bailing": Format(_BAILING.system, _BAILING.user, _BAILING.assistant, "<role>ASSISTANT</role>"),
    "bailing-think": Format(_BAILING.system, _BAILING.user, _BAILING.assistant, "<role>ASSISTANT</role><think>"),
    "bailing2": Format(
        ("<role>SYSTEM</role>", "<|role_end|>"),
        ("<role>HUMAN</role>", "<|role_end|>"),
        ("<role>ASSISTANT</role>", "<|role_end|>"),
        "<role>ASSISTANT</role>",
        no_system="<role>SYSTEM</role>detailed thinking off<|role_end|>",
    ),
    "chatglm3": _each("<|ROLE|>\n ", "", "<|assistant|>", start="[gMASK]sop"),
    "chatglm4": _each("<|ROLE|>\n", "", "<|assistant|>\n", start="[gMASK]<sop>"),
    "chatml": _each("<|im_start|>ROLE\n", "<|im_end|>\n", "<|im_start|>assistant\n"),
    "command-r": Format(
        ("<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        ("<|START_OF_TURN_TOKEN|><|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        ("<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        _ALL,
    ),
    "deepseek": Format(("", ""), ("### Instruction:\n", "\n"), ("### Response:\n", "\n<|EOT|>\n"), "### Response:\n"),
    "deepseek-ocr": Format(("", ""), ("", ""), ("", "")),
    "deepseek2": Format(("", "\n\n"), ("User: ", "\n\n"), ("Assistant: ", _EOS), "Assistant:"),
    "deepseek3": Format(("", "\n\n"), ("<｜User｜>", ""), ("<｜Assistant｜>", _EOS), "<｜Assistant｜>"),
    "exaone-moe": _each("<|ROLE|>\n", "<|endofturn|>\n", "<|assistant|>\n", strip=_ALL),
    "exaone3": _EXAONE,
    "exaone4": _EXAONE,
    "falcon3": _each("<|ROLE|>\n", "\n", "<|assistant|>\n"),
    "gemma": Format(
        None,
        ("<start_of_turn>user\n", "<end_of_turn>\n"),
        ("<start_of_turn>model\n", "<end_of_turn>\n"),
        "<start_of_turn>model\n",
        _ALL,
        merge_system="\n\n",
    ),
    "gigachat": Format(
        ("", "<|message_sep|>"),
        ("user<|role_sep|>", "<|message_sep|>available functions<|role_sep|>[]<|message_sep|>"),
        ("assistant<|role_sep|>", "<|message_sep|>"),
        "assistant<|role_sep|>",
        start="<s>",
    ),
    "glmedge": _each("<|ROLE|>\n", "", "<|assistant|>"),
    "gpt-oss": Format(
        ("<|start|>system<|message|>", "<|end|>"),
        ("<|start|>user<|message|>", "<|end|>"),
        ("<|start|>assistant<|message|>", "<|return|>"),
        "<|start|>assistant",
    ),
    "granite": _GRANITE,
    "granite-4.0": _GRANITE,
    "granite-4.1": _GRANITE,
    "grok-2": Format(
        ("System: ", "<|separator|>\n\n"),
        ("Human: ", "<|separator|>\n\n"),
        ("Assistant: ", "<|separator|>\n\n"),
        "Assistant:",
        "system user",
    ),
    "hunyuan-dense": Format(
        ("", "<｜hy_place▁holder▁no▁3｜>"),
        ("<｜hy_User｜>", "<｜hy_Assistant｜>"),
        ("<｜hy_Assistant｜>", "<｜hy_place▁holder▁no▁2｜>"),
    ),
    "hunyuan-moe": Format(("<|startoftext|>", "<|extra_4|>"), ("<|startoftext|>", "<|extra_0|>"), ("", "<|eos|>")),
    "hunyuan-vl": Format(
        ("", "<｜hy_place▁holder▁no▁3｜>"),
        ("", "<｜hy_User｜>"),
        ("", "<｜hy_Assistant｜>"),
        start="<｜hy_begin▁of▁sentence｜>",
    ),
    "kimi-k2": Format(
        ("<|im_system|>system<|im_middle|>", "<|im_end|>"),
        ("<|im_user|>user<|im_middle|>", "<|im_end|>"),
        ("<|im_assistant|>assistant<|im_middle|>", "<|im_end|>"),
        "<|im_assistant|>assistant<|im_middle|>",
    ),
    "llama2": Format(("", "\n"), ("", " [/INST]"), ("", "</s>"), turn="[INST] "),
    "llama2-sys": Format(_LLAMA2_SYS, ("", " [/INST]"), ("", "</s>"), turn="[INST] "),
    "llama2-sys-bos": Format(_LLAMA2_SYS, ("", " [/INST]"), ("", "</s>"), turn="<s>[INST] ", start="[INST] "),
    "llama2-sys-strip": Format(_LLAMA2_SYS, ("", " [/INST]"), ("", "</s>"), strip=_ALL, turn="[INST] "),
    "llama3": _each(
        "<|start_header_id|>ROLE<|end_header_id|>\n\n",
        "<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        strip=_ALL,
    ),
    "llama4": _each(
        "<|header_start|>ROLE<|header_end|>\n\n",
        "<|eot|>",
        "<|header_start|>assistant<|header_end|>\n\n",
        strip=_ALL,
    ),
    "megrez": _each("<|role_start|>ROLE<|role_end|>", "<|turn_end|>", "<|role_start|>assistant<|role_end|>"),
    "minicpm": Format(("", ""), ("<用户>", "<AI>"), ("", ""), strip=_ALL),
    "mistral-v1": Format(("", "\n\n"), ("", " [/INST]"), (" ", "</s>"), turn=" [INST] "),
    "mistral-v3": Format(("", "\n\n"), ("", "[/INST]"), (" ", "</s>"), strip="assistant", turn="[INST] "),
    "mistral-v3-tekken": Format(("", "\n\n"), ("", "[/INST]"), ("", "</s>"), turn="[INST]"),
    "mistral-v7": Format(("[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"), ("[INST] ", "[/INST]"), (" ", "</s>")),
    "mistral-v7-tekken": Format(("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"), ("[INST]", "[/INST]"), ("", "</s>")),
    "monarch": _each("ROLE\n", "</s>\n", "<s>assistant\n", between="<s>"),
    "openchat": Format(
        ("", "<|end_of_turn|>"),
        ("GPT4 Correct User: ", "<|end_of_turn|>"),
        ("GPT4 Correct Assistant: ", "<|end_of_turn|>"),
        "GPT4 Correct Assistant:",
    ),
    "orion": Format(None, ("Human: ", "\n\nAssistant: </s>"), ("", "</s>"), merge_system="\n\n"),
    "pangu-embedded": Format(
        ("[unused9]系统：", "[unused10]"),
        ("[unused9]用户：", "[unused10]"),
        ("[unused9]助手：", "[unused10]"),
        "[unused9]助手：",
        no_system="[unused9]系统：[unused10]",
    ),
    "phi3": _each("<|ROLE|>\n", "<|end|>\n", "<|assistant|>\n"),
    "phi4": _each("<|im_start|>ROLE<|im_sep|>", "<|im_end|>", "<|im_start|>assistant<|im_sep|>"),
    "rwkv-world": Format(("System: ", "\n\n"), ("User: ", "\n\n"), ("Assistant: ", "\n\n"), "Assistant:", _ALL),
    "seed_oss": _each("<seed:bos>ROLE\n", "<seed:eos>", "<seed:bos>assistant\n", strip="assistant"),
    "smolvlm": Format(
        ("", "\n\n"),
        ("User: ", "<end_of_utterance>\n"),
        ("Assistant: ", "<end_of_utterance>\n"),
        "Assistant:",
        start="<|im_start|>",
    ),
    "solar-open": _each("<|begin|>ROLE<|content|>", "<|end|>", "<|begin|>assistant"),
    "vicuna": Format(("", "\n\n"), ("USER: ", "\n"), ("ASSISTANT: ", "</s>\n"), "ASSISTANT:"),
    "vicuna-orca": Format(("SYSTEM: ", "\n"), ("USER: ", "\n"), ("ASSISTANT: ", "</s>\n"), "ASSISTANT:"),
    "yandex": Format(None, (" Пользователь: ", "\n\n"), (" Ассистент: ", "\n\n"), " Ассистент:[SEP]"),
    "zephyr": _each("<|ROLE|>\n", "<|endoftext|>\n", "<|assistant|>\n"),
}

#: The template of models that have none.
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

#: What in a template's text tells its format: all of the first must be there. The first row wins.
_SIGNS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("<|im_start|>", "<|im_sep|>"), "phi4"),
    (("<|im_start|>", "<end_of_utterance>"), "smolvlm"),
    (("<|im_start|>",), "chatml"),
    (("[SYSTEM_PROMPT]",), "mistral-v7"),
    (("[INST]", "<<SYS>>"), "llama2-sys"),
    (("[INST]", " [INST]"), "mistral-v1"),
    (("[INST]", '"[INST]"'), "mistral-v3-tekken"),
    (("[INST]",), "mistral-v3"),
    (("<|assistant|>", "<|end|>"), "phi3"),
    (("[gMASK]<sop>",), "chatglm4"),
    (("[gMASK]sop",), "chatglm3"),
    (("<|user|>", "<|endoftext|>"), "zephyr"),
    (("bos_token + message['role']",), "monarch"),
    (("<start_of_turn>",), "gemma"),
    (("'\\n\\nAssistant: ' + eos_token",), "orion"),
    (("GPT4 Correct ",), "openchat"),
    (("USER: ", "ASSISTANT: ", "SYSTEM: "), "vicuna-orca"),
    (("USER: ", "ASSISTANT: "), "vicuna"),
    (("### Instruction:", "<|EOT|>"), "deepseek"),
    (("<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>"), "command-r"),
    (("<|start_header_id|>", "<|end_header_id|>"), "llama3"),
    (("<|header_start|>", "<|header_end|>"), "llama4"),
    (("<用户>",), "minicpm"),
    (("<｜Assistant｜>", "<｜User｜>", _EOS), "deepseek3"),
    (("'Assistant: ' + message['content'] + eos_token",), "deepseek2"),
    (("[|system|]", "[|assistant|]", "[|endofturn|]"), "exaone3"),
    (("<|start_of_role|>",), "granite"),
    (("message['role'] + additional_special_tokens[0]",), "gigachat"),
    (("<|role_start|>",), "megrez"),
    (("<|start|>", "<|channel|>"), "gpt-oss"),
    (("<|im_middle|>",), "kimi-k2"),
    (("<seed:bos>",), "seed_oss"),
)


def detect_builtin(source: str) -> str | None:
    """The name of the format that a template's text shows, if it is a known one."""
    for signs, name in _SIGNS:
        if all(sign in source for sign in signs):
            return name
    return None


def render_builtin(name: str, messages: Sequence[Message], add_generation_prompt: bool) -> str:
    """Writes a chat out in the format called `name`."""
    form = BUILTIN[name]
    parts = [form.start]
    if form.no_system and (not messages or messages[0]["role"] != "system"):
        parts.append(form.no_system)
    in_turn = form.turn is not None and bool(form.start)
    merged = ""
    for index, message in enumerate(messages):
        role = "system" if message["role"] in ("system", "developer") else message["role"]
        role = role if role in ("system", "assistant") else "user"
        content = str(message.get("content") or "")
        if role in form.strip.split():
            content = content.strip()
        if role == "system" and form.system is None:
            merged += content
            continue
        before, after = getattr(form, role)
        if role == "user" and merged and form.merge_system is not None:
            content, merged = merged + form.merge_system + content, ""
        if form.turn is not None:
            if role == "assistant":
                in_turn = False
            elif not in_turn:
                before, in_turn = form.turn + before, True
        parts += [form.between if index else "", before, content, after]
    if add_generation_prompt:
        parts.append(form.generate)
    return "".join(parts)
