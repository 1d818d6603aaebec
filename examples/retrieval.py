"""The documents nearest to a question: `python examples/retrieval.py [MODEL.gguf]`, best with an embedding model."""

import sys

from rustllm import LLM

DOCUMENTS = [
    "Cats sleep for most of the day.",
    "The Nile flows through Egypt into the Mediterranean.",
    "Bread rises because yeast makes gas.",
    "Mercury is the planet nearest to the sun.",
]


def main(model: str | None = None, question: str = "Which river is in Africa?") -> None:
    with LLM(model) as llm:
        index = llm.embed(DOCUMENTS, use_tqdm=False)
        [asked] = llm.embed(question)
        found = sorted(zip(DOCUMENTS, index, strict=True), key=lambda pair: -asked.similarity(pair[1]))
        for document, vector in found[:2]:
            print(f"{asked.similarity(vector):.2f}  {document}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
