"""Tool calls: one file a format, with its descriptor.

`format_of` finds the format of a template by its source, never by a model's name. A descriptor
gives the grammar of calls, the markers that start it, and the reading of answers; the machinery is
in `rustllm.chat.syntax`. `rustllm.chat.tool` checks what a request says of tools.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from rustllm.chat.reasoning import thought_of
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.tools.apertus import APERTUS
from rustllm.chat.tools.cohere import COMMAND_R7B
from rustllm.chat.tools.deepseek import DEEPSEEK_R1, DEEPSEEK_V4, DEEPSEEK_V31, DEEPSEEK_V32
from rustllm.chat.tools.descriptor import ToolFormat
from rustllm.chat.tools.firefunction import FIREFUNCTION_V2
from rustllm.chat.tools.functionary import FUNCTIONARY_V31, FUNCTIONARY_V32
from rustllm.chat.tools.generic import GENERIC
from rustllm.chat.tools.gigachat import GIGACHAT_3
from rustllm.chat.tools.glm import GLM_45, GLM_47
from rustllm.chat.tools.gpt_oss import GPT_OSS
from rustllm.chat.tools.granite import GRANITE_3
from rustllm.chat.tools.hermes import HERMES
from rustllm.chat.tools.hunyuan import HUNYUAN_3
from rustllm.chat.tools.kimi import KIMI_K2
from rustllm.chat.tools.lfm2 import LFM2
from rustllm.chat.tools.llama3 import LLAMA3
from rustllm.chat.tools.minicpm import MINICPM_5
from rustllm.chat.tools.minimax import MINIMAX_M2
from rustllm.chat.tools.mistral import MISTRAL_NEMO, MISTRAL_SMALL
from rustllm.chat.tools.nemotron import NEMOTRON_V2
from rustllm.chat.tools.qwen3_coder import QWEN3_CODER
from rustllm.chat.tools.seed_oss import SEED_OSS

#: All formats; of those that recognise a template the first one counts.
FORMATS = (
    GPT_OSS,
    FUNCTIONARY_V32,
    SEED_OSS,
    HUNYUAN_3,
    MINICPM_5,
    GIGACHAT_3,
    MINIMAX_M2,
    DEEPSEEK_V32,
    DEEPSEEK_V4,
    DEEPSEEK_R1,
    DEEPSEEK_V31,
    KIMI_K2,
    COMMAND_R7B,
    MISTRAL_SMALL,
    MISTRAL_NEMO,
    NEMOTRON_V2,
    APERTUS,
    LFM2,
    FIREFUNCTION_V2,
    GRANITE_3,
    GLM_47,
    GLM_45,
    QWEN3_CODER,
    FUNCTIONARY_V31,
    HERMES,
    LLAMA3,
    GENERIC,
)


@lru_cache(maxsize=64)
def format_of(source: str) -> ToolFormat:
    """The format of a template with this source; the generic one where none is recognised.

    Whether the models think is not the format's to say: Qwen 2.5 and Qwen 3 write calls alike.
    """
    found = next((each for each in FORMATS if each.recognises(source)), GENERIC)
    if not isinstance(found.answer, PlainAnswer):
        return found
    return replace(found, answer=replace(found.answer, thought=thought_of(source)))
