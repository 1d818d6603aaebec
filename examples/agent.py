"""A model that calls a Python function and gets its result: `python examples/agent.py [MODEL.gguf]`."""

import sys
from typing import Any

from rustllm import LLM, SamplingParams

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "temperature",
            "description": "The temperature of a city now, in degrees Celsius.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Berlin", "Cairo", "Oslo"]}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]


def temperature(city: str) -> int:
    """The temperature of a city; a real one would ask a weather service."""
    return {"Berlin": 11, "Cairo": 29, "Oslo": 3}[city]


def main(model: str | None = None) -> None:
    params = SamplingParams(max_tokens=96, temperature=0)
    messages: list[dict[str, Any]] = [{"role": "user", "content": "How warm is it in Cairo?"}]
    # The description of tools takes some context, of which the story model has little.
    with LLM(model, n_ctx=4096, n_parallel=1) as llm:
        # The first answer must be a call, so that the smallest model makes one.
        reply = llm.chat(messages, params, tools=TOOLS, tool_choice="required", parallel_tool_calls=False)
        messages.append(reply.message)
        for call in reply.tool_calls:
            result = temperature(**call.args)
            print(f"{call.name}({call.args['city']!r}) = {result}")
            messages.append({"role": "tool", "tool_call_id": call.id, "content": str(result)})
        print(llm.chat(messages, params, tools=TOOLS, tool_choice="none").text)


if __name__ == "__main__":
    main(*sys.argv[1:2])
