"""From the text around a gap to a prompt, in llama-server's order of parts."""

from __future__ import annotations

from dataclasses import dataclass

from rustllm._rustllm import Tokenizer
from rustllm.invalid import shown
from rustllm.server.errors import ApiError
from rustllm.server.generation import Job
from rustllm.server.native.completion import service as completion
from rustllm.server.native.completion.service import tokenize_mixed
from rustllm.server.native.infill.schemas import InfillRequest
from rustllm.server.sampling import SamplingFields
from rustllm.server.state import Model, ServerState

#: The project that further files are said to belong to.
PROJECT = "myproject"

#: The name of a further file that has none.
UNNAMED = "tmp"

#: What separates further files for models without a token for it.
SNIPPET = "\n\n--- snippet ---\n\n"

_NAMES = {"pre": "prefix", "suf": "suffix", "mid": "middle"}


@dataclass(frozen=True)
class Room:
    """How many tokens the parts of a prompt may have: a batch for what stands around the gap, three
    quarters of it before, and what the context has beyond for further files."""

    n_batch: int
    n_ctx: int
    #: The server's limit of answers, -1 without one; llama-server does not look at the request's.
    n_predict: int

    @property
    def prefix(self) -> int:
        return 3 * (self.n_batch // 4)

    def suffix(self, n_prompt: int) -> int:
        return max(0, self.n_batch // 4 - (2 + n_prompt))

    @property
    def extra(self) -> int:
        return max(0, self.n_ctx - self.n_batch - 2 * self.n_predict)


def check_model(model: Model) -> None:
    """501 for a model without the tokens."""
    fim = model.native.tokenizer.fim
    missing = [f"{name} token is missing. " for key, name in _NAMES.items() if key not in fim]
    if missing:
        raise ApiError(501, f"Infill is not supported by this model: {''.join(missing)}")


def tokens_of(tokenizer: Tokenizer, request: InfillRequest, room: Room, *, suffix_first: bool) -> list[int]:
    """The prompt: further files, prefix with the answer's beginning, suffix, and the token that asks."""
    fim = tokenizer.fim

    def plain(text: str) -> list[int]:
        return tokenizer.encode(text, add_special=False, parse_special=False)

    beginning = plain(request.prompt or "")
    before = tokenize_mixed(tokenizer, request.input_prefix, "input_prefix")
    after = tokenize_mixed(tokenizer, request.input_suffix, "input_suffix")
    prefix = [fim["pre"], *before[max(0, len(before) - room.prefix) :], *beginning]
    suffix = [fim["suf"], *after[: room.suffix(len(beginning))]]
    extra = _extra_tokens(tokenizer, request) if room.extra else []
    bos = [tokenizer.bos] if tokenizer.adds_bos and tokenizer.bos is not None else []
    parts = (suffix, prefix) if suffix_first else (prefix, suffix)
    return [*extra[max(0, len(extra) - room.extra) :], *bos, *parts[0], *parts[1], fim["mid"]]


def _extra_tokens(tokenizer: Tokenizer, request: InfillRequest) -> list[int]:
    fim = tokenizer.fim

    def plain(text: str) -> list[int]:
        return tokenizer.encode(text, add_special=False, parse_special=False)

    out = [fim["rep"], *plain(f"{PROJECT}\n")] if "rep" in fim else []
    for file in request.input_extra or []:
        name = file.get("filename") or UNNAMED
        out += [fim["sep"], *plain(f"{name}\n")] if "sep" in fim else plain(SNIPPET)
        out += plain(file["text"])
    if "sep" in fim:
        out += [fim["sep"], *plain("filename\n")]
    return out


async def gap_job(state: ServerState, model: Model, prompt: object, suffix: str, fields: SamplingFields) -> Job:
    """The job of another API's request for the text between `prompt` and `suffix`. Raises ApiError 400 for a
    model that cannot."""
    try:
        check_model(model)
    except ApiError as error:
        raise ApiError(400, f"suffix: {shown(suffix)} cannot be led up to. {error}", param="suffix") from None
    request = InfillRequest.model_validate({"input_prefix": prompt, "input_suffix": suffix})
    return await make_job(state, model, request, fields)


async def make_job(
    state: ServerState, model: Model, request: InfillRequest, fields: SamplingFields | None = None
) -> Job:
    """The request, ready for the engine; `fields` say how to sample, by default the request's own."""
    check_model(model)
    fields = request if fields is None else fields
    job = await completion.make_job(state, model, [model.native.tokenizer.fim["mid"]], fields)
    room = Room(state.settings.n_batch, model.native.n_ctx, int(state.settings.sampling_defaults.get("n_predict", -1)))
    texts = [text for text in (request.input_prefix, request.input_suffix, request.prompt) if isinstance(text, str)]
    texts += [file["text"] for file in request.input_extra or []]
    mixed = sum(len(part) for part in (request.input_prefix, request.input_suffix) if isinstance(part, list))

    def tokenize() -> list[int]:
        suffix_first = state.settings.spm_infill
        return tokens_of(model.native.tokenizer, request, room, suffix_first=suffix_first)

    # A list's texts are not measured; one that could be long goes to a worker as well.
    size = 1 << 30 if mixed else sum(len(text) for text in texts)
    job.prompt = await state.off_loop(size, tokenize)
    return job
