"""Flags and environment variables become settings, or one clear line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustllm._rustllm import SamplingParams
from rustllm.config import EMBEDDED_MODEL, ServerSettings, UsageError, parse
from rustllm.flags.kinds import AdapterFiles, Bias, Integer, Switch
from rustllm.flags.parse import FLAGS
from rustllm.flags.resolve import SAMPLER_LETTERS, unescaped
from rustllm.flags.table import Flag, Ignored, Refused

PEER_FLAGS = Path(__file__).parents[1] / "data" / "llama-server-flags.txt"


def settings(*argv: str, **environ: str) -> ServerSettings:
    return ServerSettings.from_arguments(parse(argv, environ))


def error(*argv: str, **environ: str) -> str:
    with pytest.raises(UsageError) as caught:
        settings(*argv, **environ)
    message = str(caught.value)
    assert "\n" not in message
    return message


def effective() -> list[Flag]:
    return [flag for flag in FLAGS if isinstance(flag, Flag)]


# The table


def test_no_two_flags_share_a_name_or_a_variable() -> None:
    names = [name for flag in FLAGS for name in (*flag.names, *getattr(flag, "off_names", ()))]
    assert len(names) == len(set(names))
    envs = [env for flag in FLAGS for env in (flag.env or "").split(", ") if env]
    assert len(envs) == len(set(envs))


def test_every_flag_and_variable_of_llama_server_is_known() -> None:
    """Served, accepted without effect, or refused with a reason; the list is that of its --help."""
    listed = PEER_FLAGS.read_text().split()
    assert len(listed) > 500
    known = {name for flag in FLAGS for name in (*flag.names, *getattr(flag, "off_names", ()), *flag.envs)}
    assert [name for name in listed if name not in known] == []


def test_flags_of_guessing_ahead_are_warned_of() -> None:
    found = parse(["-Cd", "f", "--spec-ngram-size-n", "3"], {"LLAMA_ARG_DRAFT_MAX": "16"}).warnings
    assert [line.split()[0] for line in found] == ["-Cd", "--spec-ngram-size-n", "LLAMA_ARG_DRAFT_MAX"]


def test_every_sampling_flag_is_a_field_of_the_engine_and_shows_its_default() -> None:
    defaults = SamplingParams().as_dict()
    shown_elsewhere = {"samplers", "stop", "logit_bias", "dry_sequence_breakers", "seed", "sampler_letters"}
    for flag in effective():
        group, _, field = flag.target.partition("sampling.")
        if group or field in shown_elsewhere:
            continue
        value = defaults[field]
        if isinstance(value, bool):
            assert flag.default == ("on" if value else "off"), field
        else:
            assert float(flag.default) == pytest.approx(value), field


def test_the_default_sampler_chain_is_the_engines() -> None:
    shown = {flag.target: flag.default for flag in effective()}
    names = [name for name in SamplingParams().as_dict()["samplers"]]
    assert shown["sampling.samplers"].split(";") == names
    assert [SAMPLER_LETTERS[letter] for letter in shown["sampling.sampler_letters"]] == names


def test_the_sampler_letters_name_what_the_engine_knows() -> None:
    for name in SAMPLER_LETTERS.values():
        assert SamplingParams(samplers=[name]).as_dict()["samplers"] == [name]


def test_every_other_target_is_a_setting_or_is_resolved() -> None:
    """Giving each flag a fitting value yields settings without a stray field."""
    examples = {
        "--chat-template-kwargs": '{"a": 1}',
        "--logit-bias": "1+1",
        "--samplers": "top_k",
        "--sampling-seq": "k",
        "--json-schema": "{}",
        "--webui-config": "{}",
        "--api-prefix": "/v",
        "--hf-repo": "a/b",
        "--max-all-bodies-bytes": str(1 << 20),
        "--max-body-bytes": "4096",
        "--max-header-bytes": "4096",
        "--max-schema-bytes": "4096",
        "--slot-save-path": ".",
        "--path": ".",
        "--lora": str(EMBEDDED_MODEL),
        "--lora-scaled": f"{EMBEDDED_MODEL}:0.5",
        "--models-dir": ".",
        "--models-preset": __file__,
    }
    for flag in effective():
        name = flag.names[-1]
        if "file" in flag.target or flag.target in ("help", "version", "hf_file"):
            continue
        argv = [name]
        if flag.metavar:
            words = getattr(flag.kind, "words", None)
            argv.append(examples.get(name) or (words[0] if words else "1"))
        assert isinstance(settings(*argv), ServerSettings), name


# Values


def test_defaults_are_llama_servers() -> None:
    plain = settings()
    assert plain == ServerSettings(n_parallel=None)
    assert (plain.host, plain.port, plain.n_ctx, plain.n_batch) == ("127.0.0.1", 8080, 0, 2048)
    assert (plain.cache_type_k, plain.cache_type_v, plain.jinja, plain.slots) == ("f16", "f16", True, True)
    assert plain.model_path == EMBEDDED_MODEL
    assert EMBEDDED_MODEL.is_file()


def test_short_and_long_forms() -> None:
    short = settings(
        "-m", "a.gguf", "-c", "512", "-np", "2", "-b", "64", "-t", "3", "-ctk", "f32", "-ctv", "f32", "-a", "x"
    )
    long = settings(
        "--model", "a.gguf", "--ctx-size", "512", "--parallel", "2", "--batch-size", "64", "--threads", "3",
        "--cache-type-k", "f32", "--cache-type-v", "f32", "--alias", "x",
    )  # fmt: skip
    assert short == long
    assert short.model == Path("a.gguf")
    assert (short.n_ctx, short.n_parallel, short.n_batch, short.n_threads) == (512, 2, 64, 3)
    assert (short.cache_type_k, short.aliases, short.name) == ("f32", ("x",), "x")


def test_values_may_follow_an_equals_sign_and_names_may_have_underscores() -> None:
    assert settings("--ctx-size=256").n_ctx == 256
    assert settings("--ctx_size", "256").n_ctx == 256
    assert settings("--jinja=off").jinja is False


def test_a_value_may_look_like_a_flag() -> None:
    assert settings("-r", "--port").sampling_defaults["stop"] == ["--port"]
    assert settings("-n", "-1").sampling_defaults["n_predict"] == -1


@pytest.mark.parametrize("text", ["-1", "0"])
def test_threads_are_automatic(text: str) -> None:
    assert settings("-t", text).n_threads == 0


def test_slots_are_automatic_or_given() -> None:
    assert settings("-np", "-1").n_parallel is None
    assert settings("-np", "3").n_parallel == 3
    assert "'0'" in error("-np", "0")
    assert "-1 (automatic) or a whole number from 1 to 1024" in error("-np", "-2")


def test_sharing_the_context_goes_with_any_number_of_slots() -> None:
    shared = settings("-kvu", "-np", "3")
    assert (shared.n_parallel, shared.kv_unified) == (3, True)
    divided = settings("--no-kv-unified")
    assert (divided.n_parallel, divided.kv_unified) == (None, False)
    assert settings().kv_unified is None


def test_all_aliases_and_tags_are_kept() -> None:
    given = settings("--alias", "a, b,a", "--tags", "small,fast")
    assert (given.aliases, given.name, given.tags) == (("a", "b"), "a", ("small", "fast"))
    assert settings().name == "stories260K.gguf"


def test_pings_are_every_thirty_seconds_or_never() -> None:
    assert settings().sse_ping_interval == 30
    assert settings("--sse-ping-interval", "-1").sse_ping_interval == -1
    assert "-1 (never)" in error("--sse-ping-interval", "0")


def test_seed() -> None:
    assert settings("-s", "-1").sampling_defaults["seed"] == 0xFFFF_FFFF
    assert settings("--seed", "42").sampling_defaults["seed"] == 42
    assert "4294967295" in error("-s", str(2**32))


def test_flash_attention_takes_a_value_or_none() -> None:
    assert settings("-fa", "off").flash_attn == "off"
    assert settings("-fa", "-c", "64").n_ctx == 64
    assert settings("-fa").flash_attn == "on"


def test_sampling_defaults() -> None:
    given = settings(
        "--temp", "0", "--top-k", "5", "--samplers", "top_k;typical_p;Temperature", "-l", "5+1.5", "-l", "7-inf",
        "--ignore-eos", "--mirostat-lr", "0.2", "--keep", "-1", "--no-cache-prompt",
    ).sampling_defaults  # fmt: skip
    assert given["temperature"] == 0.0
    assert given["top_k"] == 5
    assert given["samplers"] == ["top_k", "typ_p", "temperature"]
    assert given["logit_bias"] == [(5, 1.5), (7, float("-inf"))]
    assert (given["ignore_eos"], given["mirostat_eta"], given["n_keep"], given["cache_prompt"]) == (
        True,
        0.2,
        -1,
        False,
    )
    SamplingParams(**given)


def test_sampler_letters() -> None:
    assert settings("--sampler-seq", "kt").sampling_defaults["samplers"] == ["top_k", "temperature"]
    assert "'z'" in error("--sampler-seq", "kz")


def test_escapes_are_read_unless_switched_off() -> None:
    assert settings("-r", r"a\n").sampling_defaults["stop"] == ["a\n"]
    assert settings("--no-escape", "-r", r"a\n").sampling_defaults["stop"] == [r"a\n"]
    assert settings("--dry-sequence-breaker", r"\t").sampling_defaults["dry_sequence_breakers"] == ["\t"]
    assert settings("--dry-sequence-breaker", "none").sampling_defaults["dry_sequence_breakers"] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [(r"\x41", "A"), (r"\x4", r"\x4"), (r"\q", r"\q"), ("\\", "\\"), (r"\\n", r"\n"), (r"\"", '"'), ("", "")],
)
def test_unescaped(text: str, expected: str) -> None:
    assert unescaped(text) == expected


def test_keys_add_up_and_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# team\nc\n\n d \n")
    keys = settings("--api-key", "a,b", "--api-key-file", str(file)).api_keys
    assert [(one.key, one.name, one.is_plain) for one in keys] == [
        (key, f"key-{number}", True) for number, key in enumerate("abcd", 1)
    ]
    file.write_text("# none\n")
    assert "no keys" in error("--api-key-file", str(file))


def test_keys_and_tokens_are_not_shown() -> None:
    shown = repr(settings("--api-key", "hush1", "--hf-token", "hush2"))
    assert "hush" not in shown


def test_cors_is_localhost_or_more() -> None:
    assert settings().cors_origins == ()
    assert settings("--cors-origins", "localhost").cors_origins == ()
    assert settings("--cors-origins", "https://a.example, https://b.example").cors_origins == (
        "https://a.example",
        "https://b.example",
    )


def test_template_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "t.jinja"
    file.write_text("{{ messages }}", encoding="utf-8")
    assert settings("--chat-template-file", str(file)).chat_template == "{{ messages }}"
    assert "exclude" in error("--chat-template-file", str(file), "--chat-template", "chatml")
    file.write_bytes(b"ab\xff")
    assert "byte 2" in error("--chat-template-file", str(file))
    assert "No such file" in error("--chat-template-file", str(tmp_path / "absent"))


def test_reasoning_flags_reach_the_template() -> None:
    assert settings("--reasoning", "off").template_kwargs == {"enable_thinking": False}
    assert settings("-rea", "on").template_kwargs == {"enable_thinking": True}
    assert settings("--reasoning-budget", "0").template_kwargs == {"enable_thinking": False}
    assert settings("--reasoning-effort", "low").template_kwargs == {"reasoning_effort": "low"}
    assert settings("--no-reasoning-preserve").template_kwargs == {"preserve_reasoning": False}
    assert settings("--reasoning-preserve").template_kwargs == {"preserve_reasoning": True}
    explicit = settings("--chat-template-kwargs", '{"enable_thinking": true}', "--reasoning", "off")
    assert explicit.template_kwargs == {"enable_thinking": True}


def test_grammar_and_schema(tmp_path: Path) -> None:
    assert settings("--grammar", 'root ::= "a"').grammar == ("gbnf", 'root ::= "a"')
    file = tmp_path / "s.json"
    file.write_text('{"type": "object"}')
    assert settings("-jf", str(file)).grammar == ("json_schema", '{"type": "object"}')
    assert "not JSON" in error("-j", "{")
    assert "not JSON" in error("-j", "[" * 100_000)
    assert "exclude" in error("-j", "{}", "--grammar", 'root ::= "a"')


def test_verbosity() -> None:
    assert settings().verbose is False
    assert settings("-v").verbose is True
    assert settings("-lv", "2").verbosity == 2
    assert settings("--log-disable").verbosity == 0
    assert settings("--log-jsonl").log_format == "json"


def test_tls_needs_both_files(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text("x")
    assert "both" in error("--ssl-key-file", str(file))
    assert "is not a file" in error("--ssl-key-file", str(tmp_path / "absent"), "--ssl-cert-file", str(file))
    both = settings("--ssl-key-file", str(file), "--ssl-cert-file", str(file))
    assert both.ssl_key_file == both.ssl_cert_file == file


# Environment


def test_the_command_line_wins_over_the_environment() -> None:
    assert settings(LLAMA_ARG_CTX_SIZE="128").n_ctx == 128
    assert settings("-c", "256", LLAMA_ARG_CTX_SIZE="128").n_ctx == 256
    assert settings("-hf", "a/b", LLAMA_ARG_MODEL="m.gguf").model is None
    assert settings("--no-jinja", LLAMA_ARG_JINJA="on").jinja is False


def test_an_empty_variable_counts_as_unset() -> None:
    assert settings(LLAMA_ARG_CTX_SIZE="", LLAMA_ARG_MODEL="") == settings()


@pytest.mark.parametrize(
    ("word", "value"), [("1", True), ("on", True), ("TRUE", True), ("0", False), ("disabled", False)]
)
def test_switches_in_the_environment(word: str, value: bool) -> None:
    assert settings(LLAMA_ARG_JINJA=word).jinja is value


def test_negative_names_in_the_environment() -> None:
    assert settings(LLAMA_ARG_NO_JINJA="1").jinja is False


def test_messages_name_the_variable() -> None:
    assert error(LLAMA_ARG_CTX_SIZE="many").startswith("LLAMA_ARG_CTX_SIZE: 'many'")
    assert error(LLAMA_ARG_JINJA="maybe").startswith("LLAMA_ARG_JINJA: 'maybe'")


# Adapters


def test_adapters_are_loaded_in_the_order_of_their_flags(tmp_path: Path) -> None:
    a, b, odd = (tmp_path / name for name in ("a.gguf", "b.gguf", 'c,"d:1.gguf'))
    for file in (a, b, odd):
        file.touch()
    quoted = '"' + str(odd).replace('"', '""') + '"'
    given = settings("--lora", f"{a},{quoted}", "--lora-scaled", f"{b}:-0.5", "--lora", str(b))
    assert given.lora == ((a, 1.0), (odd, 1.0), (b, -0.5), (b, 1.0))
    assert given.lora_init_without_apply is False
    scaled = settings("--lora-scaled", f"{b}:2,{a}:1e-3", "--lora-init-without-apply")
    assert (scaled.lora, scaled.lora_init_without_apply) == (((b, 2.0), (a, 0.001)), True)
    assert settings("--lora-scaled", f"{quoted[:-1]}:0.25{quoted[-1]}").lora == ((odd, 0.25),)


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (("--lora", "nowhere.gguf"), ("--lora: 'nowhere.gguf' is not a file",)),
        (("--lora", ""), ("--lora: ''", "files between commas")),
        (("--lora", "a,,b"), ("--lora: 'a,,b'", "files between commas")),
        (("--lora", '"a'), ("--lora: '\"a'", "files between commas")),
        (("--lora-scaled", "a.gguf"), ("--lora-scaled: 'a.gguf'", "FILE:SCALE")),
        (("--lora-scaled", "a.gguf:"), ("--lora-scaled: 'a.gguf:'", "FILE:SCALE")),
        (("--lora-scaled", ":1"), ("--lora-scaled: ':1'", "FILE:SCALE")),
        (("--lora-scaled", "a.gguf:nan"), ("--lora-scaled: 'a.gguf:nan'", "FILE:SCALE")),
        (("--lora-scaled", "a.gguf:1,b.gguf"), ("--lora-scaled: 'a.gguf:1,b.gguf'", "FILE:SCALE")),
    ],
)
def test_wrong_adapters_are_named(argv: tuple[str, ...], parts: tuple[str, ...]) -> None:
    message = error(*argv)
    for part in parts:
        assert part in message


# What has no effect, is refused or unknown


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if isinstance(flag, Ignored)], ids=lambda flag: flag.names[0])
def test_ignored_flags_warn_once_and_take_their_values(flag: Ignored) -> None:
    for name in flag.names:
        values = ["1"] * (1 if flag.values == "?" else int(flag.values))
        asked = parse([name, *values, "-c", "64"], {})
        assert asked.values == {"n_ctx": 64}
        assert len(asked.warnings) == 1
        assert name in asked.warnings[0]
    if flag.env:
        assert flag.env in parse([], {flag.env: "1"}).warnings[0]


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if isinstance(flag, Refused)], ids=lambda flag: flag.names[0])
def test_refused_flags_say_why(flag: Refused) -> None:
    for name in flag.names:
        assert error(name, *["x"] * flag.values) == f"{name} is refused: {flag.why}"
    if flag.env:
        assert error(**{flag.env: "on"}) == f"{flag.env} is refused: {flag.why}"
    for value in flag.harmless:
        assert settings(flag.names[0], value) == settings()


def test_switches_that_are_off_in_the_environment_are_not_refused() -> None:
    assert settings(LLAMA_ARG_EMBEDDINGS="0", LLAMA_ARG_RERANKING="off") == settings()


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("--prot", "--port"), ("--ctx-szie", "--ctx-size"), ("--modle", "--model"), ("--temprature", "--temperature")],
)
def test_an_unknown_flag_suggests_the_nearest(typo: str, meant: str) -> None:
    assert error(typo, "1") == f"unknown flag {typo!r}; did you mean {meant}?"


def test_unknown_without_a_neighbour() -> None:
    assert error("--zzzzzzzzqqqq") == "unknown flag '--zzzzzzzzqqqq'; see --help"
    assert "-m" in error("model.gguf")


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["-c", "x"], ["-c", "'x'", "whole number"]),
        (["-c", "-1"], ["-c", "'-1'", "0 to"]),
        (["--port", "65536"], ["--port", "65536", "65535"]),
        (["-ctk", "q4_0"], ["-ctk", "'q4_0'", "f16, f32, q8_0"]),
        (["-ctv", "bf16"], ["-ctv", "'bf16'", "f16, f32, q8_0"]),
        (["--temp", "warm"], ["--temp", "'warm'", "number"]),
        (["--temp", "nan"], ["--temp", "'nan'", "number"]),
        (["-l", "x"], ["-l", "'x'", "15043+1"]),
        (["--chat-template-kwargs", "[]"], ["--chat-template-kwargs", "'[]'", "JSON object"]),
        (["--host", "a,b"], ["--host", "'a,b'", "one address"]),
        (["--api-prefix", "v1"], ["--api-prefix", "'v1'", "/"]),
        (["-hf", "justaname"], ["-hf", "'justaname'", "USER/REPO"]),
        (["-hff", "x.gguf"], ["-hff", "-hf"]),
        (["-m", "a", "-hf", "b/c"], ["-m", "-hf"]),
        (["-c"], ["-c", "missing"]),
    ],
)
def test_messages_name_flag_value_and_what_is_allowed(argv: list[str], parts: list[str]) -> None:
    message = error(*argv)
    for part in parts:
        assert part in message


# Properties

WORDS = st.one_of(
    st.sampled_from([name for flag in FLAGS for name in flag.names]), st.text(max_size=12), st.integers().map(str)
)


@given(st.lists(WORDS, max_size=8))
def test_any_command_line_is_read_or_refused_in_one_line(argv: list[str]) -> None:
    try:
        asked = parse(argv, {})
        asked.values = {name: value for name, value in asked.values.items() if "file" not in name}
        ServerSettings.from_arguments(asked)
    except UsageError as failure:
        message = str(failure)
    else:
        message = "read"
    assert message


@given(st.sampled_from([flag for flag in effective() if flag.env]), st.text(max_size=20))
def test_any_variable_is_read_or_refused(flag: Flag, text: str) -> None:
    try:
        parse([], {flag.envs[0]: text})
    except UsageError as failure:
        message = str(failure)
    else:
        message = flag.envs[0]
    assert message.startswith(flag.envs[0])


@given(st.integers(-(2**40), 2**40))
def test_integers_keep_their_bounds(value: int) -> None:
    kind = Integer(-5, 1000)
    if -5 <= value <= 1000:
        assert kind.read(str(value)) == value
    else:
        with pytest.raises(ValueError, match=r"^$"):
            kind.read(str(value))


@given(st.text(max_size=8))
def test_kinds_raise_nothing_but_value_errors(text: str) -> None:
    for kind in (Integer(0), Bias(), Switch(), AdapterFiles(scaled=False), AdapterFiles(scaled=True)):
        try:
            kind.read(text)
        except ValueError:
            continue


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().port = 1  # type: ignore[misc]
