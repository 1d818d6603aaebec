"""`POST /v1/audio/transcriptions`, which says that no model here takes sound."""

from __future__ import annotations

from fastapi import APIRouter

from rustllm.server import schema_docs
from rustllm.server.errors import ApiError
from rustllm.server.openai.audio.schemas import Transcription, TranscriptionRequest

router = APIRouter(tags=["OpenAI"])

_BODY = schema_docs.body(TranscriptionRequest)
_ANSWERS = schema_docs.answers(Transcription, None, 501)


@router.post("/v1/audio/transcriptions", response_model=None, openapi_extra=_BODY, responses=_ANSWERS)
@router.post("/audio/transcriptions", response_model=None, openapi_extra=_BODY, responses=_ANSWERS)
async def transcriptions() -> None:
    """Refuses: the models that are served take text only."""
    raise ApiError(501, "file: sounds are not supported by this model, which takes text only", param="file")
