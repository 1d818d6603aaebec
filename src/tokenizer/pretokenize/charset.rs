//! Sets of characters that the rules name.

use unicode_general_category::{GeneralCategory as G, get_general_category};

use crate::tokenizer::unicode::is_punctuation;

/// A set of characters.
pub type Set = fn(char) -> bool;

/// `\p{L}`
pub fn letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphabetic();
    }
    use G::{LowercaseLetter, ModifierLetter, OtherLetter, TitlecaseLetter, UppercaseLetter};
    matches!(
        get_general_category(c),
        LowercaseLetter | UppercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter
    )
}

/// `\p{M}`
pub fn mark(c: char) -> bool {
    !c.is_ascii() && matches!(get_general_category(c), G::NonspacingMark | G::SpacingMark | G::EnclosingMark)
}

/// `\p{N}`
pub fn number(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_digit();
    }
    matches!(get_general_category(c), G::DecimalNumber | G::LetterNumber | G::OtherNumber)
}

/// `\p{P}`
pub fn punctuation(c: char) -> bool {
    is_punctuation(c)
}

/// `[\p{P}\p{S}]`
pub fn punctuation_or_symbol(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_punctuation();
    }
    use G::{CurrencySymbol, MathSymbol, ModifierSymbol, OtherSymbol};
    is_punctuation(c) || matches!(get_general_category(c), CurrencySymbol | MathSymbol | ModifierSymbol | OtherSymbol)
}

/// `\s`
pub fn space(c: char) -> bool {
    c.is_whitespace()
}

/// `\S`
pub fn no_space(c: char) -> bool {
    !c.is_whitespace()
}

/// The space character alone.
pub fn blank(c: char) -> bool {
    c == ' '
}

/// `[\r\n]`
pub fn line_end(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// `[\r\n/]`
pub fn line_end_or_slash(c: char) -> bool {
    matches!(c, '\r' | '\n' | '/')
}

/// `\n`
pub fn line_feed(c: char) -> bool {
    c == '\n'
}

/// `[^\n]`
pub fn no_line_feed(c: char) -> bool {
    c != '\n'
}

/// `[0-9]`
pub fn digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// `[A-Za-z]`
pub fn latin(c: char) -> bool {
    c.is_ascii_alphabetic()
}

/// The 32 signs of ASCII.
pub fn ascii_sign(c: char) -> bool {
    c.is_ascii_punctuation()
}

/// `[\p{L}\p{M}]`
pub fn letter_or_mark(c: char) -> bool {
    letter(c) || mark(c)
}

/// `[\p{L}&&[^a-z]]`
pub fn letter_not_lower(c: char) -> bool {
    letter(c) && !c.is_ascii_lowercase()
}

/// `[\p{L}&&[^A-Z]]`
pub fn letter_not_upper(c: char) -> bool {
    letter(c) && !c.is_ascii_uppercase()
}

/// `[[\p{L}\p{M}]&&[^a-z]]`
pub fn letter_or_mark_not_lower(c: char) -> bool {
    letter_or_mark(c) && !c.is_ascii_lowercase()
}

/// `[[\p{L}\p{M}]&&[^A-Z]]`
pub fn letter_or_mark_not_upper(c: char) -> bool {
    letter_or_mark(c) && !c.is_ascii_uppercase()
}

/// `[^\s\p{L}\p{N}]`
pub fn other(c: char) -> bool {
    !c.is_whitespace() && !letter(c) && !number(c)
}

/// `[^\s\p{L}\p{M}\p{N}]`
pub fn other_no_mark(c: char) -> bool {
    other(c) && !mark(c)
}

/// `[^\r\n\p{L}\p{N}]`
pub fn before_word(c: char) -> bool {
    !line_end(c) && !letter(c) && !number(c)
}

/// `[^\r\n\p{L}\p{P}\p{S}]`
pub fn before_marked_word(c: char) -> bool {
    !line_end(c) && !letter(c) && !punctuation_or_symbol(c)
}

/// `[\p{P}$+<=>^~|]`
pub fn punctuation_or_sign(c: char) -> bool {
    is_punctuation(c) || "$+<=>^~|".contains(c)
}

/// The same with a backtick.
pub fn punctuation_sign_or_backtick(c: char) -> bool {
    punctuation_or_sign(c) || c == '`'
}

/// `[\p{P}!-/:-@\[-`{-~]`
pub fn punctuation_or_ascii_sign(c: char) -> bool {
    is_punctuation(c) || ascii_sign(c)
}

/// Neither space nor one of the signs at which BLOOM's words end.
pub fn bloom_word(c: char) -> bool {
    !c.is_whitespace() && !"(|.,!?…。，、।۔،)".contains(c)
}

/// Han as Kimi K2 takes it: the unified ideographs, extensions A to F and the compatibility blocks.
pub fn han(c: char) -> bool {
    matches!(c,
        '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{2A6DF}' | '\u{2A700}'..='\u{2EBEF}' | '\u{2F800}'..='\u{2FA1F}')
}

/// A letter that is not Han.
pub fn letter_not_han(c: char) -> bool {
    letter(c) && !han(c)
}

/// `[一-龥ࠀ-一가-퟿]`: DeepSeek's first models write ࠀ (U+0800) where it is hardly meant.
pub fn east_asian(c: char) -> bool {
    matches!(c, '\u{800}'..='\u{9FA5}' | '\u{AC00}'..='\u{D7FF}')
}

/// `[一-龥぀-ゟ゠-ヿ]`: ideographs and kana.
pub fn ideograph_or_kana(c: char) -> bool {
    matches!(c, '\u{4E00}'..='\u{9FA5}' | '\u{3040}'..='\u{30FF}')
}

/// `[가-힣ㄱ-ㆎ]`
pub fn hangul(c: char) -> bool {
    matches!(c, '\u{AC00}'..='\u{D7A3}' | '\u{3131}'..='\u{318E}')
}

/// `[ㄅ-ㄯ]`
pub fn bopomofo(c: char) -> bool {
    matches!(c, '\u{3105}'..='\u{312F}')
}

/// `[！…“”‘’—：；，、-〿︰-﹏]`
pub fn wide_punctuation(c: char) -> bool {
    "！…“”‘’—：；，".contains(c) || matches!(c, '\u{3001}'..='\u{303F}' | '\u{FE30}'..='\u{FE4F}')
}

/// The scripts without spaces between words that AFMoE's tokenizer sets apart.
pub fn unspaced_script(c: char) -> bool {
    matches!(c,
        '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{3040}'..='\u{30FF}' | '\u{FF65}'..='\u{FF9F}' | '\u{2F00}'..='\u{2FDF}'
        | '\u{E40}'..='\u{EFF}' | '\u{1780}'..='\u{17FF}' | '\u{1000}'..='\u{109F}'
        | '\u{AA60}'..='\u{AA7F}' | '\u{A9E0}'..='\u{A9FF}' | '\u{AC00}'..='\u{D7AF}'
        | '\u{1100}'..='\u{11FF}')
}

/// `[!-/:-~！-／：-～‘-‟　-。]`
pub fn deepseek_sign(c: char) -> bool {
    matches!(c, '!'..='/' | ':'..='~' | '！'..='／' | '：'..='～' | '‘'..='‟' | '\u{3000}'..='。')
}

/// The letters of alphabets with case, as DeepSeek LLM's tokenizer lists them.
pub fn deepseek_letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphabetic();
    }
    let c = u32::from(c);
    let after = CASED.partition_point(|(first, _)| *first <= c);
    after > 0 && c <= CASED[after - 1].1
}

/// First and last letters, ascending; an older Unicode than today's, without Georgian's small letters.
#[rustfmt::skip]
const CASED: [(u32, u32); 82] = [
    (0xB5, 0xB5), (0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x1BA), (0x1BC, 0x1BF), (0x1C4, 0x293), (0x295, 0x2AF),
    (0x370, 0x373), (0x376, 0x377), (0x37B, 0x37D), (0x37F, 0x37F), (0x386, 0x386), (0x388, 0x38A), (0x38C, 0x38C),
    (0x38E, 0x3A1), (0x3A3, 0x3F5), (0x3F7, 0x481), (0x48A, 0x52F), (0x531, 0x556), (0x10A0, 0x10C5),
    (0x13A0, 0x13F5), (0x13F8, 0x13FD), (0x1C90, 0x1CBA), (0x1CBD, 0x1CBF), (0x1D00, 0x1D2B), (0x1D6B, 0x1D77),
    (0x1D79, 0x1D9A), (0x1E00, 0x1F15), (0x1F18, 0x1F1D), (0x1F20, 0x1F45), (0x1F48, 0x1F4D), (0x1F50, 0x1F57),
    (0x1F59, 0x1F59), (0x1F5B, 0x1F5B), (0x1F5D, 0x1F5D), (0x1F5F, 0x1F7D), (0x1F80, 0x1FB4), (0x1FB6, 0x1FBC),
    (0x1FBE, 0x1FBE), (0x1FC2, 0x1FC4), (0x1FC6, 0x1FCC), (0x1FD0, 0x1FD3), (0x1FD6, 0x1FDB), (0x1FE0, 0x1FEC),
    (0x1FF2, 0x1FF4), (0x1FF6, 0x1FFC), (0x2102, 0x2102), (0x2107, 0x2107), (0x210A, 0x2113), (0x2115, 0x2115),
    (0x2119, 0x211D), (0x2124, 0x2124), (0x2126, 0x2126), (0x2128, 0x2128), (0x212A, 0x212D), (0x212F, 0x2134),
    (0x2139, 0x2139), (0x213C, 0x213F), (0x2145, 0x2149), (0x214E, 0x214E), (0x2183, 0x2184), (0x2C00, 0x2C7B),
    (0x2C7E, 0x2CE4), (0x2CEB, 0x2CEE), (0x2CF2, 0x2CF3), (0xA640, 0xA66D), (0xA680, 0xA69B), (0xA722, 0xA76F),
    (0xA771, 0xA787), (0xA78B, 0xA78E), (0xAB70, 0xABBF), (0xFB00, 0xFB06), (0xFB13, 0xFB17), (0xFF21, 0xFF3A),
    (0xFF41, 0xFF5A), (0x10400, 0x1044F), (0x104B0, 0x104D3), (0x104D8, 0x104FB), (0x10C80, 0x10CB2),
    (0x10CC0, 0x10CF2), (0x118A0, 0x118DF), (0x1E900, 0x1E943),
];
