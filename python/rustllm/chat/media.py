"""Content that is no text, which no model here can take."""

from __future__ import annotations

from rustllm.invalid import shown

#: What OpenAI, Anthropic and llama-server call parts of a content, and what they are.
_WHAT = {
    **dict.fromkeys(("image", "image_url", "input_image", "image_file"), "images"),
    **dict.fromkeys(("audio", "audio_url", "input_audio"), "sounds"),
    **dict.fromkeys(("video", "video_url", "input_video"), "videos"),
    **dict.fromkeys(("file", "input_file", "file_url"), "files"),
}


def unsupported(kind: object) -> str:
    """Why a part of this kind is refused."""
    what = _WHAT.get(kind) if isinstance(kind, str) else None
    return (
        f"{shown(kind, 40)} is not supported" if what is None else f"{what} are not supported by this model ({kind!r})"
    )
