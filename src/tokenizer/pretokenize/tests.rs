//! Every scheme against a slow twin: its expressions, run by a regex engine that backtracks.

use std::collections::BTreeSet;

use cpu_time::ThreadTime;
use fancy_regex::Regex;
use proptest::prelude::*;

use super::PreTokenizer;
use super::charset::{self, Set};
use super::schemes::SCHEMES;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const CONTRACTION: &str = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
/// After words and numbers, in most schemes.
const REST: &str = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const REST_SLASHES: &str = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const WORD: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+";
const MARKED: &str = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+";
const EAST_ASIAN: &str = r"[\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+";
const IDEOGRAPHS: &str = r"[一-龥\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+";
const SIGN_AND_LATIN: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##;
const MARKED_NO_SIGN: &str = r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+";
const LINES: &str = r"[^\n]+|[\n]+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
/// Groups of three from the right, the first with the text before it.
const FROM_THE_RIGHT: &str = r"\P{N}*\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))|\P{N}+";
const HAN: &str =
    r"\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2EBEF}\x{2F800}-\x{2FA1F}";
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝ\x{1F5F}-\x{1F7D}ᾀ-ᾴᾶ-ᾼ\x{1FBE}ῂ-ῄῆ-ῌ\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

const DEEPSEEK_SIGNS: &str = r"\s?[!-/:-~！-／：-～‘-‟　-。]+";
const UNSPACED_SCRIPT: &str = r"[一-\x{9FFF}\x{3400}-\x{4DBF}\x{F900}-\x{FAFF}\x{3040}-ゟ゠-ヿ･-ﾟ⼀-\x{2FDF}\x{E40}-\x{E7F}\x{E80}-\x{EFF}\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+";

/// The expressions of a scheme, by one of its names. llama.cpp's regex engine has one class for all
/// letters, so that `\p{Lu}` and `\p{Ll}` are both `\p{L}` where it meets them.
fn expressions(name: &str) -> Vec<String> {
    let own = |expressions: &[&str]| expressions.iter().map(|e| (*e).to_owned()).collect();
    let llama3 = |numbers: &str| format!("{CONTRACTION}|{WORD}|{numbers}|{REST}");
    let cased = |upper: &str, lower: &str, end: &str| {
        let lead = r"[^\r\n\p{L}\p{N}]?";
        format!("{lead}[{upper}]*[{lower}]+{end}|{lead}[{upper}]+[{lower}]*{end}")
    };
    let (upper, lower) = (r"\p{L}&&[^a-z]", r"\p{L}&&[^A-Z]");
    let contracted = format!("{CONTRACTION}?");
    let deepseek3 = format!(r"{SIGN_AND_LATIN}|{MARKED_NO_SIGN}| ?[\p{{P}}\p{{S}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+");
    match name {
        "default" => own(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
        "llama3" | "dbrx" | "glm4" => vec![llama3(r"\p{N}{1,3}")],
        "minicpm5" => vec![r"\p{N}{1,3}".into(), llama3(r"\p{N}+")],
        "jais-2" => {
            let cascade = [512, 256, 128, 64, 32, 16, 8, 4].map(|n| format!(r"\s{{{n}}}(?!\S)|")).concat();
            let rest = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
            vec![format!(r"{CONTRACTION}|{WORD}|\p{{N}}{{1,3}}|{rest}|{cascade}\s{{1,2}}(?!\S)|\s{{1}}")]
        }
        "qwen2" => vec![llama3(r"\p{N}")],
        "qwen35" => vec![format!(
            r"{CONTRACTION}|{MARKED}|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        "ufakzeka" => vec![format!(r"{WORD}|\p{{N}}|{REST}")],
        "bailingmoe" => vec![format!(
            r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|{WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
        )],
        "seed-coder" => {
            vec![format!(r"{CONTRACTION}|{WORD}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+")]
        }
        "exaone-moe" => vec![format!(
            r"{CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
        )],
        "laguna" => vec![LINES.into(), llama3(r"\p{N}")],
        "gpt-2" => own(&[GPT2]),
        "starcoder" => own(&[r"\p{N}", GPT2]),
        "falcon" => own(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"]),
        "chameleon" => own(&[
            "<sentinel:[0-9]+>",
            "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            "([\\t\\n]|    |  )",
            r"\p{N}",
            r"[\p{P}!-/:-@\[-`{-~]",
            GPT2,
        ]),
        "deepseek-coder" => own(&[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", EAST_ASIAN, r"\p{N}"]),
        "deepseek-llm" => own(&[r"[\r\n]", DEEPSEEK_LETTERS, DEEPSEEK_SIGNS, r"\s+$", EAST_ASIAN, r"\p{N}+"]),
        "deepseek-v3" => own(&[r"\p{N}{1,3}", IDEOGRAPHS, &deepseek3]),
        "spark2_5" => vec![
            r"\p{N}{1,3}".into(),
            IDEOGRAPHS.into(),
            format!(r"{SIGN_AND_LATIN}|{MARKED_NO_SIGN}| ?[\p{{P}}\p{{S}}]+|[\r\n]|\s+(?!\S)|\s+"),
            r"\p{N}".into(),
        ],
        "afmoe" => own(&[FROM_THE_RIGHT, UNSPACED_SCRIPT, &deepseek3]),
        "youtu" => vec![
            format!("[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|{IDEOGRAPHS}"),
            format!(r"{}|\p{{N}}|{REST_SLASHES}", cased(r"\p{L}\p{M}", r"\p{L}\p{M}", &contracted)),
        ],
        "poro-chat" => own(&[BLOOM]),
        "viking" => own(&[BLOOM, r"\p{N}"]),
        "tekken" => vec![format!(r"{}|\p{{N}}|{REST_SLASHES}", cased(upper, lower, ""))],
        "gpt-4o" => vec![format!(r"{}|\p{{N}}{{1,3}}|{REST_SLASHES}", cased(upper, lower, &contracted))],
        "granite-embed-multi-97m" => vec![format!(
            r"{}|\p{{N}}{{1,3}}|{REST_SLASHES}",
            cased(r"[\p{L}\p{M}]&&[^a-z]", r"[\p{L}\p{M}]&&[^A-Z]", &contracted)
        )],
        "tiny_aya" => vec![
            FROM_THE_RIGHT.into(),
            format!(r"{}|\p{{N}}{{1,3}}|{REST_SLASHES}", cased(r"\p{L}\p{M}", r"\p{L}\p{M}", &contracted)),
        ],
        "kimi-k2" => {
            vec![format!(r"[{HAN}]+|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^{HAN}]]+{contracted}|\p{{N}}{{1,3}}|{REST}")]
        }
        "superbpe" => own(&[r"\p{N}+", "(?=([0-9]{3})+(?![0-9]))"]),
        "gemma4" | "sarvam-moe" => own(&[LINES]),
        "whitespace" => own(&[r"\S+"]),
        other => panic!("{other} has no expressions here"),
    }
}

/// Matches and what lies between them, stage by stage.
fn split_slowly<'a>(stages: &[Regex], text: &'a str) -> Vec<&'a str> {
    let mut pieces = vec![text];
    for stage in stages {
        pieces = pieces.into_iter().flat_map(|piece| isolate(stage, piece)).collect();
    }
    pieces
}

fn isolate<'a>(regex: &Regex, piece: &'a str) -> Vec<&'a str> {
    let found = regex.find_iter(piece).map(|found| found.expect("the engine's limit is far").range());
    let mut cuts: BTreeSet<usize> = found.flat_map(|range| [range.start, range.end]).collect();
    cuts.extend([0, piece.len()]);
    let cuts: Vec<usize> = cuts.into_iter().collect();
    cuts.windows(2).map(|cut| &piece[cut[0]..cut[1]]).collect()
}

/// Texts that a scheme knows by heart, or cuts in a way of its own.
const TEXTS: [&str; 26] = [
    "'s",
    "'T",
    "'re",
    "'VE",
    "'ll",
    "'Ll",
    "'d",
    "'x",
    "'",
    "’s",
    "IMGIMGABZ",
    "IMGIMGABCDEZ",
    "<sentinel:12>",
    "<sentinel:>",
    "...",
    "!?\n",
    "/\n/",
    "e.g. ",
    "a b c",
    "1,234,567",
    "3.14",
    "x²",
    "½",
    "٣٤",
    "Ⅷ",
    "९९९",
];

/// Pieces in which rules differ: letters of several scripts with and without case, marks, numbers,
/// blanks, line breaks, signs.
fn fragment() -> impl Strategy<Value = String> {
    let letters = "[a-zA-ZéÉßǅʰΣσжЖאبहไทอกຍកᄀ가힣ㄱㄅあアｱー々中文龥鿿㐀𠀀豈ၐꩠꧠ⼀აႠⅎªº𝐀]{1,4}";
    let signs = "[!-/:-@\\[-`{-~$+<=>^`|~。，、！？：；“”‘’—…〿・।۔،€©™°\u{AD}\u{200B}\u{200D}🎉👩\u{1F3FD}☃]{1,4}";
    prop_oneof![
        2 => proptest::sample::select(&TEXTS[..]).prop_map(str::to_owned),
        4 => letters.prop_map(|text| text),
        2 => "[A-ZÉ]{1,5}".prop_map(|text| text),
        2 => "[\u{300}\u{301}\u{93F}\u{E31}\u{20DD}]{1,2}".prop_map(|text| text),
        3 => "[0-9]{1,8}".prop_map(|text| text),
        1 => "[0-9²٣½]{1,5}".prop_map(|text| text),
        4 => "[ \t\u{A0}\u{3000}\u{2003}\u{B}\u{85}]{1,5}".prop_map(|text| text),
        3 => " {1,2}".prop_map(|text| text),
        2 => "[ \r\n\t]{1,5}".prop_map(|text| text),
        3 => signs.prop_map(|text| text),
        1 => any::<char>().prop_filter("older Unicode", |c| u32::from(*c) < 0x800 || c.is_whitespace()).prop_map(String::from),
    ]
}

fn twins() -> Vec<(PreTokenizer, Vec<Regex>)> {
    let compile = |e: &String| Regex::new(e).unwrap_or_else(|error| panic!("{e}: {error}"));
    let twin = |name: &str| expressions(name).iter().map(compile).collect();
    SCHEMES.iter().map(|scheme| (PreTokenizer(scheme), twin(scheme.names[0]))).collect()
}

#[test]
fn words_are_those_of_the_expressions() {
    let twins = twins();
    let text = proptest::collection::vec(fragment(), 0..16).prop_map(|parts| parts.concat());
    proptest!(ProptestConfig::with_cases(2000), |(text in text)| {
        for (scheme, stages) in &twins {
            let words = scheme.split(&text);
            prop_assert_eq!(words.concat(), text.as_str());
            prop_assert_eq!(words, split_slowly(stages, &text), "{:?}", scheme);
        }
    });
}

#[test]
fn long_blanks_are_halved_alike() {
    for (scheme, stages) in &twins() {
        for n in [3, 4, 5, 7, 8, 9, 511, 512, 513, 514, 1030] {
            for end in ["", "a", "\n", "\n\n a", "中", "1"] {
                let text = format!("a{}{end}", " ".repeat(n));
                assert_eq!(scheme.split(&text), split_slowly(stages, &text), "{scheme:?}, {n} blanks, then {end:?}");
            }
        }
    }
}

#[test]
fn every_character_of_the_listed_sets() {
    let sets: [(Set, &str); 10] = [
        (charset::bloom_word, BLOOM),
        (charset::han, &format!("[{HAN}]")),
        (charset::east_asian, EAST_ASIAN),
        (charset::ideograph_or_kana, IDEOGRAPHS),
        (charset::hangul, "[가-힣ㄱ-ㆎ]"),
        (charset::bopomofo, "[ㄅ-ㄯ]"),
        (charset::wide_punctuation, "[！…“”‘’—：；，、-〿︰-﹏]"),
        (charset::unspaced_script, UNSPACED_SCRIPT),
        (charset::deepseek_sign, DEEPSEEK_SIGNS),
        (charset::deepseek_letter, DEEPSEEK_LETTERS),
    ];
    for (set, expression) in sets {
        let regex = Regex::new(expression).expect("the expression is right");
        for c in '\0'..=char::MAX {
            let is_in = regex.is_match(c.encode_utf8(&mut [0; 4])).expect("no limit is near");
            assert_eq!(set(c), is_in, "U+{:04X} in {expression}", u32::from(c));
        }
    }
}

#[test]
fn names_are_unique() {
    let names: Vec<&str> = SCHEMES.iter().flat_map(|scheme| scheme.names).copied().collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    assert!(names.iter().all(|name| PreTokenizer::from_name(name).is_some() && PreTokenizer::known().contains(name)));
    assert!(PreTokenizer::from_name("gpt2").is_none());
}

#[test]
fn time_is_linear_for_every_scheme() {
    let units =
        ["a", "A", "ÉA", "aB", "1", "12 ", "²1", " ", " \n", "\n", "-", " -", "中", "\u{301}", "'s", "<sentinel:"];
    for scheme in SCHEMES.iter().map(PreTokenizer) {
        for unit in units {
            let seconds = |n: usize, end: &str| {
                let text = unit.repeat(n) + end;
                let start = ThreadTime::now();
                assert!(!scheme.split(&text).is_empty());
                start.elapsed().as_secs_f64()
            };
            for end in ["", "中", "A", "x"] {
                let (short, long) = (seconds(8_000, end), seconds(128_000, end));
                // 16 times the text; quadratic would be 256 times the time, some seconds.
                assert!(long < 80.0 * short + 0.3, "{scheme:?}, {unit:?}: {short} s, {long} s");
            }
        }
    }
}
