//! The schemes that `tokenizer.ggml.pre` names, one row each.
//!
//! A row's stages are the regular expressions that llama.cpp runs for the scheme; the rules of a
//! stage are an expression's alternatives in their order.

use super::charset::{
    ascii_sign, before_marked_word, before_word, blank, bloom_word, bopomofo, deepseek_letter, deepseek_sign,
    east_asian, han, hangul, ideograph_or_kana, latin, letter, letter_not_han, letter_not_lower, letter_not_upper,
    letter_or_mark, letter_or_mark_not_lower, letter_or_mark_not_upper, line_end, line_end_or_slash, line_feed,
    no_line_feed, no_space, number, other, other_no_mark, punctuation, punctuation_or_ascii_sign, punctuation_or_sign,
    punctuation_or_symbol, punctuation_sign_or_backtick, space, unspaced_script, wide_punctuation,
};
use super::rule::Rule::{AnyContraction, Contraction, LineBreaks, Own, Spaces};
use super::rule::{
    Cased, Rule, halving_spaces, image_token, last_spaces, numbers_from_the_right, run, sentinel, spaced_words,
    tab_or_indent, three_digits, to_group_of_three,
};
use Trait::{AddsBos, AlwaysBos, EscapesSpaces, NeedsNoMerges, NoUsualBos, RawText, WholeLineBreaks, WholeWords};

/// What a scheme settles beside the splitting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trait {
    /// A word that is a token is not merged.
    WholeWords,
    /// BOS is added where the file does not say.
    AddsBos,
    /// BOS is added whatever the file says.
    AlwaysBos,
    /// There is no BOS where the file names none.
    NoUsualBos,
    /// Tokens are text, not the characters that stand for bytes; unknown characters become the
    /// tokens of their bytes.
    RawText,
    /// Spaces are written `▁`, as SentencePiece does.
    EscapesSpaces,
    /// A run of line feeds that is a token is not merged.
    WholeLineBreaks,
    /// The file may lack the merges.
    NeedsNoMerges,
}

/// One way to split.
pub struct Scheme {
    pub names: &'static [&'static str],
    pub stages: &'static [&'static [Rule]],
    pub traits: &'static [Trait],
}

const fn scheme(names: &'static [&'static str], stages: &'static [&'static [Rule]]) -> Scheme {
    Scheme { names, stages, traits: &[] }
}

impl Scheme {
    const fn with(self, traits: &'static [Trait]) -> Self {
        Self { traits, ..self }
    }
}

const WORD: Rule = run(letter).lead(before_word).rule();
const MARKED_WORD: Rule = run(letter_or_mark).lead(before_word).rule();
const MARKED_WORD_CONTRACTED: Rule = run(letter_or_mark).lead(before_word).contracts().rule();
const MARKED_WORD_NO_SIGN: Rule = run(letter_or_mark).lead(before_marked_word).rule();
const SIGN_AND_LATIN: Rule = run(latin).after(ascii_sign).rule();
const NUMBER: Rule = run(number).most(1).rule();
const THREE_NUMBERS: Rule = run(number).most(3).rule();
const NUMBERS: Rule = run(number).rule();
const SIGNS: Rule = run(other).lead(blank).tail(line_end, usize::MAX).rule();
const SIGNS_SLASHES: Rule = run(other).lead(blank).tail(line_end_or_slash, usize::MAX).rule();
const LINE_BREAK: Rule = run(line_end).most(1).rule();
const EAST_ASIAN: Rule = run(east_asian).rule();
const IDEOGRAPHS: Rule = run(ideograph_or_kana).rule();
const LINES: &[Rule] = &[run(no_line_feed).rule(), run(line_feed).rule()];

const fn cased(contracts: bool) -> Rule {
    Rule::Cased(Cased { lead: before_word, upper: letter_not_lower, lower: letter_not_upper, contracts })
}

const GPT2: &[Rule] = &[
    Contraction,
    run(letter).lead(blank).rule(),
    run(number).lead(blank).rule(),
    run(other).lead(blank).rule(),
    Spaces,
];
const LLAMA3: &[Rule] = &[AnyContraction, WORD, THREE_NUMBERS, SIGNS, LineBreaks, Spaces];
const QWEN2: &[Rule] = &[AnyContraction, WORD, NUMBER, SIGNS, LineBreaks, Spaces];
const GPT4O: &[Rule] = &[cased(true), THREE_NUMBERS, SIGNS_SLASHES, LineBreaks, Spaces];
const DEEPSEEK3: &[Rule] = &[
    SIGN_AND_LATIN,
    MARKED_WORD_NO_SIGN,
    run(punctuation_or_symbol).lead(blank).tail(line_end, usize::MAX).rule(),
    LineBreaks,
    Spaces,
];
const BLOOM: &[Rule] = &[run(bloom_word).lead(blank).rule()];

/// All schemes. The names of one row split alike.
pub const SCHEMES: &[Scheme] = &[
    scheme(&["default"], &[&[run(punctuation_or_sign).rule()], GPT2, &[NUMBERS], &[Own(three_digits)]]),
    scheme(
        &["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
        &[LLAMA3],
    )
    .with(&[WholeWords, AddsBos]),
    scheme(&["dbrx", "smaug-bpe"], &[LLAMA3]),
    scheme(&["glm4", "chatglm-bpe"], &[LLAMA3]).with(&[NoUsualBos]),
    scheme(&["minicpm5"], &[&[THREE_NUMBERS], &[AnyContraction, WORD, NUMBERS, SIGNS, LineBreaks, Spaces]])
        .with(&[WholeWords]),
    scheme(&["jais-2"], &[&[AnyContraction, WORD, THREE_NUMBERS, SIGNS, LineBreaks, Own(halving_spaces)]]),
    scheme(
        &["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"],
        &[QWEN2],
    ),
    scheme(
        &["qwen35"],
        &[&[
            AnyContraction,
            MARKED_WORD,
            NUMBER,
            run(other_no_mark).lead(blank).tail(line_end, usize::MAX).rule(),
            LineBreaks,
            Spaces,
        ]],
    ),
    scheme(&["ufakzeka"], &[&[WORD, NUMBER, SIGNS, LineBreaks, Spaces]]),
    // One line break at a time would match as far as all: the spaces before it take the others.
    scheme(&["bailingmoe", "bailingmoe2", "llada-moe"], &[QWEN2]),
    scheme(&["seed-coder"], &[&[AnyContraction, WORD, NUMBER, run(other).lead(blank).rule(), LineBreaks, Spaces]]),
    scheme(
        &["exaone-moe"],
        &[&[
            AnyContraction,
            Own(spaced_words),
            NUMBER,
            run(other).lead(blank).tail(line_end_or_slash, 1).rule(),
            LineBreaks,
            Spaces,
        ]],
    ),
    scheme(&["laguna"], &[LINES, QWEN2]),
    scheme(
        &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
        ],
        &[GPT2],
    ),
    scheme(
        &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[&[NUMBER], GPT2],
    ),
    scheme(&["falcon"], &[&[run(punctuation_sign_or_backtick).rule()], GPT2, &[Own(three_digits)]]),
    scheme(
        &["chameleon"],
        &[
            &[Own(sentinel)],
            &[Own(image_token)],
            &[Own(tab_or_indent)],
            &[NUMBER],
            &[run(punctuation_or_ascii_sign).most(1).rule()],
            GPT2,
        ],
    )
    .with(&[AddsBos]),
    scheme(
        &["deepseek-coder"],
        &[
            &[LINE_BREAK],
            &[run(letter).lead(space).rule()],
            &[run(punctuation).lead(space).rule()],
            &[EAST_ASIAN],
            &[NUMBER],
        ],
    ),
    scheme(
        &["deepseek-llm"],
        &[
            &[LINE_BREAK],
            &[run(deepseek_letter).lead(space).rule()],
            &[run(deepseek_sign).lead(space).rule()],
            &[Own(last_spaces)],
            &[EAST_ASIAN],
            &[NUMBERS],
        ],
    ),
    scheme(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], &[&[THREE_NUMBERS], &[IDEOGRAPHS], DEEPSEEK3]),
    scheme(
        &["spark2_5"],
        &[
            &[THREE_NUMBERS],
            &[IDEOGRAPHS],
            &[SIGN_AND_LATIN, MARKED_WORD_NO_SIGN, run(punctuation_or_symbol).lead(blank).rule(), LINE_BREAK, Spaces],
            &[NUMBER],
        ],
    ),
    scheme(&["afmoe"], &[&[Own(numbers_from_the_right)], &[run(unspaced_script).rule()], DEEPSEEK3]),
    scheme(
        &["youtu"],
        &[
            &[run(hangul).rule(), run(wide_punctuation).rule(), run(bopomofo).rule(), IDEOGRAPHS],
            &[MARKED_WORD_CONTRACTED, NUMBER, SIGNS_SLASHES, LineBreaks, Spaces],
        ],
    )
    .with(&[WholeWords]),
    scheme(&["poro-chat", "bloom", "gpt3-finnish"], &[BLOOM]),
    scheme(&["viking"], &[BLOOM, &[NUMBER]]),
    scheme(&["tekken"], &[&[cased(false), NUMBER, SIGNS_SLASHES, LineBreaks, Spaces]]).with(&[WholeWords, AddsBos]),
    scheme(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[GPT4O]),
    scheme(
        &["granite-embed-multi-97m"],
        &[&[
            Rule::Cased(Cased {
                lead: before_word,
                upper: letter_or_mark_not_lower,
                lower: letter_or_mark_not_upper,
                contracts: true,
            }),
            THREE_NUMBERS,
            SIGNS_SLASHES,
            LineBreaks,
            Spaces,
        ]],
    )
    .with(&[WholeWords]),
    scheme(
        &["tiny_aya", "cohere2moe"],
        &[&[Own(numbers_from_the_right)], &[MARKED_WORD_CONTRACTED, THREE_NUMBERS, SIGNS_SLASHES, LineBreaks, Spaces]],
    ),
    scheme(
        &["kimi-k2"],
        &[&[
            run(han).rule(),
            run(letter_not_han).lead(before_word).contracts().rule(),
            THREE_NUMBERS,
            SIGNS,
            LineBreaks,
            Spaces,
        ]],
    )
    .with(&[NeedsNoMerges]),
    scheme(&["superbpe"], &[&[NUMBERS], &[Own(to_group_of_three)]]),
    scheme(&["gemma4", "granite-embed-multi-311m"], &[LINES]).with(&[
        RawText,
        EscapesSpaces,
        WholeLineBreaks,
        AlwaysBos,
    ]),
    scheme(&["sarvam-moe"], &[LINES]).with(&[RawText, EscapesSpaces]),
    scheme(&["whitespace"], &[&[run(no_space).rule()]]).with(&[RawText]),
];
